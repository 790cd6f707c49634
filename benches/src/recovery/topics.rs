//! The topics of the measurement: what is stored, what a round adds, and a first write.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use towpath_client::{Client, NewTopic, Producer, Receipt, Record};

use crate::payload::Payloads;
use crate::size::KIB;
use crate::{Error, Result};

/// Bytes of the value of each record.
pub(super) const RECORD_BYTES: usize = KIB;

/// What the folder is filled with.
const STORED: &str = "stored";
/// What the first write goes to.
const PROBE: &str = "probe";
/// The broker removes files with a checkpoint, a second after their topic.
const REMOVAL_PATIENCE: Duration = Duration::from_mins(2);
const REMOVAL_INTERVAL: Duration = Duration::from_millis(50);

/// Makes the topics that stay.
///
/// # Errors
/// Those of the broker.
pub(crate) async fn create(client: &Client, partitions: u32) -> Result<()> {
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new(STORED).partitions(partitions))
        .await?;
    admin
        .create_topic(NewTopic::new(PROBE).partitions(1))
        .await?;
    Ok(())
}

/// Writes until so many bytes are stored, all of it acknowledged; returns the number of records.
///
/// # Errors
/// Those of the broker, such as a full disk.
pub(crate) async fn fill(client: &Client, size_bytes: u64) -> Result<u64> {
    let admin = client.admin();
    loop {
        let topic = admin.topic(STORED).await?;
        let missing_bytes = size_bytes.saturating_sub(topic.size_bytes);
        if missing_bytes == 0 {
            return Ok(topic.record_count);
        }
        let record_count = missing_bytes.div_ceil(RECORD_BYTES as u64);
        let producer = client.producer(STORED).build();
        write(&producer, Some(record_count), &AtomicU64::new(0)).await?;
        producer.close().await?;
    }
}

/// Writes one record; it is on disk when this returns.
///
/// # Errors
/// Those of the broker.
pub(super) async fn probe(client: &Client) -> Result<()> {
    let producer = client.producer(PROBE).build();
    producer.send(Record::new("probe")).await?;
    Ok(())
}

/// Bytes and records that are stored, without those of rounds.
///
/// # Errors
/// Those of the broker.
pub(super) async fn stored(client: &Client) -> Result<(u64, u64)> {
    let topic = client.admin().topic(STORED).await?;
    Ok((topic.size_bytes, topic.record_count))
}

/// Somebody who writes at full speed to a topic of its own, until told to stop.
#[derive(Debug)]
pub(super) struct Load {
    topic: String,
    writing: JoinHandle<Result<()>>,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    /// Begins to write; the first record is acknowledged when this returns.
    ///
    /// # Errors
    /// Those of the broker.
    pub(super) async fn start(client: &Client, topic: String, partitions: u32) -> Result<Self> {
        let new = NewTopic::new(&topic).partitions(partitions);
        client.admin().create_topic(new).await?;
        let producer = client.producer(&topic).build();
        producer.send(Record::new("first")).await?;
        let acknowledged = Arc::new(AtomicU64::new(1));
        let count = Arc::clone(&acknowledged);
        let writing = tokio::spawn(async move { write(&producer, None, &count).await });
        Ok(Self {
            topic,
            writing,
            acknowledged,
        })
    }

    /// Stops writing and returns the number of records that were acknowledged.
    ///
    /// # Errors
    /// [`Error::Client`] if it had stopped before because the broker refused.
    pub(super) async fn stop(&mut self) -> Result<u64> {
        self.writing.abort();
        if let Ok(ended) = (&mut self.writing).await {
            ended?;
        }
        Ok(self.acknowledged.load(Ordering::Relaxed))
    }

    /// Bytes and records that the broker has of it.
    ///
    /// # Errors
    /// Those of the broker.
    pub(super) async fn stored(&self, client: &Client) -> Result<(u64, u64)> {
        let topic = client.admin().topic(&self.topic).await?;
        Ok((topic.size_bytes, topic.record_count))
    }

    /// Deletes the topic and waits until its files are gone.
    ///
    /// # Errors
    /// Those of the broker; [`Error::Void`] if the files stay.
    pub(super) async fn remove(self, client: &Client, data_dir: &Path) -> Result<()> {
        client.admin().delete_topic(self.topic.as_str()).await?;
        let deadline = Instant::now() + REMOVAL_PATIENCE;
        while has_folder(data_dir, &self.topic)? {
            if Instant::now() >= deadline {
                return Err(Error::Void(format!("the files of {} stay", self.topic)));
            }
            sleep(REMOVAL_INTERVAL).await;
        }
        Ok(())
    }
}

/// Writes so many records, or without end. Counts those that were acknowledged.
async fn write(
    producer: &Producer,
    record_count: Option<u64>,
    acknowledged: &AtomicU64,
) -> Result<()> {
    let payloads = Payloads::of(RECORD_BYTES);
    // As many as the producer has room for.
    let mut waiting = VecDeque::new();
    for sequence in 0..record_count.unwrap_or(u64::MAX) {
        while let Some(receipt) =
            waiting.pop_front_if(|receipt: &mut Receipt| receipt.is_complete())
        {
            receipt.await?;
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        let value = payloads.get(sequence).bytes.clone();
        waiting.push_back(producer.enqueue(Record::new(value)).await?);
    }
    for receipt in waiting {
        receipt.await?;
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether there is a folder `topics/<id>-<topic>`.
fn has_folder(data_dir: &Path, topic: &str) -> Result<bool> {
    let suffix = format!("-{topic}");
    let entries =
        std::fs::read_dir(data_dir.join("topics")).map_err(Error::io("list the topics"))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list the topics"))?;
        if entry.file_name().to_string_lossy().ends_with(&suffix) {
            return Ok(true);
        }
    }
    Ok(false)
}
