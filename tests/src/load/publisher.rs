//! One that writes a few records at once, all of them or none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::timeout;
use towpath_client::{Client, PartitionId, Record};

use super::content::{digest, noise_bytes, value_of};
use super::notebook::Notebook;
use super::target::{Target, Targets};
use crate::history::{Item, Place};

const RECORDS_MAX: usize = 8;
const KEYS: u32 = 30;
const PAUSE_MS_MAX: u64 = 20;
/// Numbers from here on are those of calls: what one call has written says nothing of the order of
/// another, since a call whose connection broke may be carried out late.
const CALLS: u64 = 1 << 32;

/// Publishes to the topics that producers write to.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    targets: Arc<Targets>,
    notebook: Arc<Notebook>,
    random: Rng,
    calls: u64,
}

impl Publisher {
    pub(super) fn new(
        client: Client,
        targets: Arc<Targets>,
        notebook: Arc<Notebook>,
        seed: u64,
    ) -> Self {
        Self {
            client,
            targets,
            notebook,
            random: Rng::with_seed(seed.wrapping_mul(43)),
            calls: CALLS,
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.publish().await;
            let pause = Duration::from_millis(self.random.u64(..PAUSE_MS_MAX));
            // Either of both is an end of the pause.
            drop(timeout(pause, stop.changed()).await);
        }
    }

    async fn publish(&mut self) {
        let target = self.targets.0[self.random.usize(..self.targets.0.len())].clone();
        let partition = self.random.bool().then(|| {
            let number = self.random.u32(..target.partition_count.get());
            PartitionId::new(number)
        });
        self.calls += 1;
        let mut sequences = BTreeMap::new();
        let (mut items, mut records) = (Vec::new(), Vec::new());
        for _ in 0..self.random.usize(1..=RECORDS_MAX) {
            let (item, record, digest) = self.record(&target, partition, &mut sequences);
            self.notebook.note_sent(item, digest);
            self.notebook.note_together(self.calls, item);
            items.push(item);
            records.push(record);
        }
        match self.client.publish(target.name.as_str(), records).await {
            Ok(positions) => {
                for (item, position) in items.into_iter().zip(positions) {
                    self.notebook.note_position(item, position);
                }
            }
            Err(error) => {
                for item in items {
                    self.notebook.note_error(item, &error, false);
                }
            }
        }
    }

    fn record(
        &mut self,
        target: &Target,
        partition: Option<PartitionId>,
        sequences: &mut BTreeMap<Place, u64>,
    ) -> (Item, Record, u64) {
        let key = format!("published-{}", self.random.u32(..KEYS)).into_bytes();
        let place = match partition {
            Some(partition) => target.place(partition),
            None => target.place_of_key(&key),
        };
        let sequence = sequences.entry(place).or_default();
        let item = Item {
            producer: self.calls,
            place,
            sequence: *sequence,
        };
        *sequence += 1;
        let value = value_of(item, noise_bytes(&mut self.random));
        let digest = digest(Some(&key), &value);
        let record = Record::new(value).key(key);
        match partition {
            Some(partition) => (item, record.partition(partition), digest),
            None => (item, record, digest),
        }
    }
}
