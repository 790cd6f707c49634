//! A disk that takes its time with every sync.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use towpath_client::{Client, Error, Producer, Record};
use towpath_tests::fault::{Strace, report, resident_bytes};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::BrokerSetup;

use crate::{Need, PATIENCE, can, seed};

const SYNC_DELAY: Duration = Duration::from_millis(200);
/// Producers that together offer more than the disk takes, and more than the broker may hold.
const FLOODERS: usize = 48;
const FLOOD_RECORD_BYTES: usize = 10 * 1024;
/// How often it is asked and read while the disk is slow.
const QUESTIONS: u32 = 20;
/// How often it is tried to connect.
const CONNECT_INTERVAL: Duration = Duration::from_millis(10);
/// A sync that does not come back while anybody waits.
const STUCK: Duration = Duration::from_secs(60 * 60);
/// More than all that the broker may hold by its settings; the flood would have it hold as much again.
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;

#[test]
fn a_slow_disk_pushes_back_producers_and_nobody_else() {
    if !can("slow disk", &[Need::Strace]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    let pid = broker.ready().pid;
    let load = Load::start(&setup.url(), &LoadOptions::new(seed()));
    load.await_ack(PATIENCE).expect("acknowledged");
    let runtime = Runtime::new().unwrap();
    let asker = Asker {
        client: Client::connect(setup.url()).unwrap(),
    };
    let before = runtime.block_on(asker.ask());

    let producers = runtime.block_on(open_producers(&setup.url()));
    let strace = Strace::slow("fdatasync", SYNC_DELAY);
    let attached = strace.attach(pid);
    // Only now: a fast disk would be full before long.
    let mut flood = Flood::start(&runtime, producers);
    let mut figures = Figures::default();
    for _ in 0..QUESTIONS {
        let answer = runtime.block_on(asker.ask());
        figures.note(answer, resident_bytes(pid));
        load.run_for(SYNC_DELAY / 2);
    }
    load.forget_acks();
    load.await_ack(PATIENCE).expect("slow is not dead");
    let delays = strace.change_count();
    drop(attached);
    assert!(delays > 0, "syncs were slow");
    let attached = Strace::slow("fdatasync", STUCK).attach(pid);
    // Whoever waited for a sync now would wait for an hour.
    runtime.block_on(asker.ask());
    let is_flooded = flood.is_on();
    drop((flood, attached));
    assert!(is_flooded, "producers are pushed back, not refused");
    load.forget_acks();
    load.await_ack(PATIENCE).expect("stuck is not dead");
    assert!(figures.memory_bytes < MEMORY_BYTES_MAX, "{figures}");
    load.finish().assert_acknowledged("after a slow disk");
    broker.kill();
    report(
        "slow disk",
        format_args!("{figures}; on a fast one {before}"),
    );
}

#[test]
fn a_stop_does_not_wait_for_a_slow_start() {
    if !can("slow start", &[Need::Strace]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let strace = Strace::slow("fdatasync,fsync", 10 * SYNC_DELAY);
    let setup = BrokerSetup::new(folder.path().join("data")).under(strace.wrapper());
    let mut broker = setup.spawn();
    // It listens before it looks at its disk, which a new folder has it sync.
    let address: SocketAddr = setup.url()["http://".len()..].parse().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{}", broker.stderr_so_far());
        std::thread::park_timeout(CONNECT_INTERVAL);
    }
    let ended = broker.terminate(PATIENCE);
    assert_eq!(ended.code(), Some(0), "{ended}");
}

/// Producers, each with a connection of its own.
async fn open_producers(url: &str) -> Vec<Producer> {
    let mut producers = Vec::new();
    for _ in 0..FLOODERS {
        let client = Client::connect(url).unwrap();
        client.admin().ensure_topic("flood").await.unwrap();
        let producer = client.producer("flood").build();
        producer.send(flood_record()).await.unwrap();
        producers.push(producer);
    }
    producers
}

/// Producers that write as much as they may until they are dropped.
struct Flood {
    producers: JoinSet<()>,
}

impl Flood {
    fn start(runtime: &Runtime, producers: Vec<Producer>) -> Self {
        let mut flood = JoinSet::new();
        for producer in producers {
            let write = async move { while producer.enqueue(flood_record()).await.is_ok() {} };
            flood.spawn_on(write, runtime.handle());
        }
        Self { producers: flood }
    }

    /// Whether all of them write on.
    fn is_on(&mut self) -> bool {
        self.producers.try_join_next().is_none()
    }
}

fn flood_record() -> Record {
    Record::new(vec![b'f'; FLOOD_RECORD_BYTES])
}

/// Somebody who asks what needs no sync.
struct Asker {
    client: Client,
}

/// How long answers took.
struct Answer {
    state: Duration,
    record: Duration,
}

impl Asker {
    /// Asks how the broker is, and for the first record.
    async fn ask(&self) -> Answer {
        Answer {
            state: time(async { self.client.admin().server_info().await.map(drop) }).await,
            record: time(async {
                let mut reader = self.client.reader(["orders"]).build();
                reader.next_record().await.map(drop)
            })
            .await,
        }
    }
}

/// How long it takes until something is answered.
async fn time(answer: impl Future<Output = Result<(), Error>>) -> Duration {
    let start = Instant::now();
    let answer = timeout(PATIENCE, answer).await;
    answer.expect("it is answered").expect("it succeeds");
    start.elapsed()
}

/// The longest and the most.
#[derive(Default)]
struct Figures {
    state: Duration,
    record: Duration,
    memory_bytes: u64,
}

impl Figures {
    fn note(&mut self, answer: Answer, memory_bytes: u64) {
        self.state = self.state.max(answer.state);
        self.record = self.record.max(answer.record);
        self.memory_bytes = self.memory_bytes.max(memory_bytes);
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, record } = self;
        write!(f, "state after {state:.0?}, a record after {record:.0?}")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            state,
            record,
            memory_bytes,
        } = self;
        let mebibytes = memory_bytes >> 20;
        write!(
            f,
            "state after at most {state:.0?}, a record after {record:.0?}, {mebibytes} MiB of memory"
        )
    }
}
