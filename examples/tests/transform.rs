//! Each order has exactly one invoice, in its customer's order: brokers are killed, workers are dropped
//! wherever they are, and connections break before the answers of commits arrive.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use towpath_client::{Client, Start};
use towpath_examples::Error;
use towpath_examples::billing::{ORDERS_TOPIC, Order, make_orders, place};
use towpath_examples::transform::{INVOICES_TOPIC, invoicing, transform};
use towpath_tests::process::BrokerSetup;

const NAME: &str = "invoicing";
const CUSTOMERS: u32 = 6;
const ORDERS_PER_CUSTOMER: u32 = 20;
/// So often the broker is killed.
const KILLS: u32 = 4;
const PATIENCE: Duration = Duration::from_mins(5);

/// A connection that breaks when so many bytes have come over it, or gone: what came or was to go then is
/// lost, so that either the answer to a call does not arrive, or the call itself.
struct Brittle {
    stream: TcpStream,
    bytes_left: usize,
    sendable_bytes_left: usize,
    breaks: Arc<AtomicU32>,
}

impl AsyncRead for Brittle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > self.bytes_left || self.sendable_bytes_left == 0 {
            self.breaks.fetch_add(1, Ordering::Relaxed);
            buf.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.bytes_left -= read;
        polled
    }
}

impl AsyncWrite for Brittle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.len() >= self.sendable_bytes_left {
            self.sendable_bytes_left = 0;
            // The same task finds out when it reads.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(sent)) = polled {
            self.sendable_bytes_left -= sent;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A client whose connections break again and again.
fn brittle_client(url: &str, breaks: &Arc<AtomicU32>) -> Result<Client, Error> {
    let address = url.trim_start_matches("http://").to_owned();
    let breaks = Arc::clone(breaks);
    let client = Client::builder().url(url).dial_with(move || {
        let (address, breaks) = (address.clone(), Arc::clone(&breaks));
        async move {
            Ok(Brittle {
                stream: TcpStream::connect(address).await?,
                bytes_left: fastrand::usize(500..20_000),
                sendable_bytes_left: fastrand::usize(500..10_000),
                breaks,
            })
        }
    });
    Ok(client.build()?)
}

/// Works with one client after the other, each dropped after a while wherever it is.
async fn work_in_short_lives(url: String, breaks: Arc<AtomicU32>) -> Result<(), Error> {
    loop {
        let client = brittle_client(&url, &breaks)?;
        // Few at a time, so that they come before the connection breaks.
        let subscriber = client.subscriber(NAME).max_in_flight(4).build();
        let life = Duration::from_millis(fastrand::u64(20..2_000));
        // What it ends with, if it does before it is dropped, does not matter: another one comes.
        drop(timeout(life, transform(subscriber)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_has_one_invoice_whatever_breaks_when() {
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    let client = Client::connect(setup.url()).unwrap();
    let admin = client.admin();
    admin.ensure_topic(ORDERS_TOPIC).await.unwrap();
    admin.ensure_topic(INVOICES_TOPIC).await.unwrap();
    let soon = Duration::from_millis(10);
    // Workers that are dropped have failed each time.
    let new = invoicing(NAME, Start::Beginning);
    let new = new.backoff(soon, 5 * soon).attempts_max(1_000);
    admin.create_subscription(new).await.unwrap();
    let orders = make_orders(CUSTOMERS, ORDERS_PER_CUSTOMER);
    place(&client, &orders).await.unwrap();

    let breaks = Arc::new(AtomicU32::new(0));
    let worker = || tokio::spawn(work_in_short_lives(setup.url(), Arc::clone(&breaks)));
    let workers = [worker(), worker()];
    for _ in 0..KILLS {
        sleep(Duration::from_millis(fastrand::u64(200..1_500))).await;
        broker.kill();
        broker = setup.start();
    }
    let settled = async {
        let lag = async || {
            let shown = admin.subscription(NAME).await.unwrap();
            let partitions = shown.partitions.iter();
            partitions.map(|it| it.lag_records).sum::<u64>()
        };
        while lag().await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, settled).await.unwrap();
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(
        breaks.load(Ordering::Relaxed) > 0,
        "no connection broke on the way"
    );

    let mut invoices: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut reader = client
        .reader([INVOICES_TOPIC])
        .from(Start::Beginning)
        .build();
    while let Some(invoice) = reader.next_record().await.unwrap() {
        let order: Order = invoice.json().unwrap();
        invoices
            .entry(order.customer)
            .or_default()
            .push(order.number);
    }
    let each: Vec<u32> = (1..=ORDERS_PER_CUSTOMER).collect();
    let customers = (0..CUSTOMERS).map(|it| (format!("customer-{it}"), each.clone()));
    assert_eq!(invoices, customers.collect::<BTreeMap<_, _>>());
}
