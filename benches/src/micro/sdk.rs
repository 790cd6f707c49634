//! What a producer of the SDK does with a record before it is sent.

use std::sync::mpsc;

use bytes::Bytes;
use towpath_broker::{Broker, Config};
use towpath_client::{Client, NewTopic, Producer, Record};

use super::outside::{environment, folder};
use super::wire::void;
use super::{Shape, Subject, Work};
use crate::{Error, Result};

const TOPIC: &str = "micro";
/// More than all calls together.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;

/// Records given to a producer: checked, weighed, given a partition, encoded into their batch. Nothing is
/// sent meanwhile, since nothing is awaited.
pub(super) const ENQUEUE: Subject = Subject {
    name: "sdk enqueue",
    prepare: |shape, _| enqueuing(shape),
};

fn enqueuing(shape: &'static Shape) -> Result<Work> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?;
    let broker = ServedElsewhere::start()?;
    let producer = runtime.block_on(producer(&broker.url))?;
    let records: Vec<Record> = { shape.records() }
        .into_iter()
        .map(|(key, value)| record(key, value))
        .collect();
    Ok(Box::new(move || {
        // What is not used in the closure would be gone with this function.
        let _alive = (&broker, &runtime);
        for record in &records {
            let receipt = producer.try_enqueue(record.clone())?;
            drop(receipt);
        }
        Ok(())
    }))
}

fn record(key: Option<Bytes>, value: Bytes) -> Record {
    let record = Record::new(value);
    match key {
        Some(key) => record.key(key),
        None => record,
    }
}

async fn producer(url: &str) -> Result<Producer> {
    let client = Client::connect(url)?;
    client
        .admin()
        .create_topic(NewTopic::new(TOPIC).partitions(1))
        .await?;
    let producer = client.producer(TOPIC);
    let producer = producer.max_in_flight_bytes(IN_FLIGHT_BYTES_MAX).build();
    producer.ready().await?;
    Ok(producer)
}

/// A broker on threads of its own, until it is dropped: what it allocates is not counted.
struct ServedElsewhere {
    url: String,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ServedElsewhere {
    fn start() -> Result<Self> {
        let (started, url) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            // Whoever waits for the URL is told by the end of the channel.
            drop(serve(&started, ended));
        });
        let url = url.recv().map_err(|gone| void(&gone))?;
        Ok(Self {
            url,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

fn serve(
    started: &mpsc::Sender<String>,
    ended: tokio::sync::oneshot::Receiver<()>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = folder()?;
    let environment = environment(&folder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let config = Config {
            listen: Some(([127, 0, 0, 1], 0).into()),
            data_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let broker = Broker::start_in(config, environment).await?;
        let address = broker.local_addr().ok_or("it listens")?;
        started.send(format!("http://{address}"))?;
        // Dropping the sender says the same.
        drop(ended.await);
        broker.shutdown().await;
        Ok(())
    })
}

impl Drop for ServedElsewhere {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It has said what was wrong, if anything was.
            drop(thread.join());
        }
    }
}
