//! Those that write.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use towpath_client::{Client, PartitionId, Producer, Receipt, Record};

use super::content::{digest, noise_bytes, value_of};
use super::notebook::Notebook;
use super::options::LoadOptions;
use super::target::{Target, Targets};
use crate::history::{Item, Place};

const KEYS_PER_PRODUCER: u32 = 12;
const BURST_MAX: u32 = 40;
const BULK_BURST_RECORDS: u32 = 60;
const BULK_NOISE_BYTES: usize = 16_000;
const PAUSE_MS_MAX: u64 = 8;
const IMPATIENT_UNANSWERED_MAX: usize = 50;

/// Writes bursts of records to all topics: by keys of its own, by keys that all producers share, and
/// without key; now and then much at once to one partition.
#[derive(Debug)]
pub(super) struct ProducerActor {
    number: u64,
    topics: Vec<ProducedTopic>,
    random: Rng,
    notebook: Arc<Notebook>,
    /// Whether none of its records should fail.
    is_patient: bool,
    unanswered_max: usize,
}

#[derive(Debug)]
struct ProducedTopic {
    target: Target,
    producer: Producer,
    /// By partition.
    next_sequences: Vec<u64>,
}

/// Where a record goes.
#[derive(Debug, Clone)]
enum Address {
    Key(Vec<u8>),
    Partition(PartitionId),
}

impl ProducerActor {
    pub(super) fn new(
        number: u64,
        client: &Client,
        targets: &Targets,
        notebook: Arc<Notebook>,
        options: &LoadOptions,
    ) -> Self {
        let is_patient = number < options.producer_count;
        let patience = match is_patient {
            true => options.patience,
            false => options.impatience,
        };
        let topics = targets.0.iter().map(|target| ProducedTopic {
            target: target.clone(),
            producer: client
                .producer(target.name.to_string())
                .give_up_after(patience)
                .build(),
            next_sequences: vec![0; target.partition_count.get() as usize],
        });
        Self {
            number,
            topics: topics.collect(),
            random: Rng::with_seed(options.seed.wrapping_mul(31).wrapping_add(number)),
            notebook,
            is_patient,
            unanswered_max: match is_patient {
                true => options.unanswered_max,
                // Or it would make and lose records without end while no broker is there.
                false => options.unanswered_max.min(IMPATIENT_UNANSWERED_MAX),
            },
        }
    }

    /// Writes until it is told to stop, and ends when everything is settled.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (receipts, unsettled) = mpsc::channel(self.unanswered_max);
        let settling = settle(unsettled, Arc::clone(&self.notebook), self.is_patient);
        let settling = tokio::spawn(settling);
        while !*stop.borrow() {
            self.send_burst(&receipts).await;
            let pause = Duration::from_millis(self.random.u64(..PAUSE_MS_MAX));
            // Either of both is an end of the pause.
            drop(timeout(pause, stop.changed()).await);
        }
        drop(receipts);
        settling.await.expect("settling does not panic");
        for topic in &self.topics {
            // What became of the records is known from their receipts.
            drop(topic.producer.close().await);
        }
    }

    async fn send_burst(&mut self, receipts: &mpsc::Sender<(Item, Receipt)>) {
        let topic = self.random.usize(..self.topics.len());
        if self.random.u8(..) == 0 {
            let address = self.random_address(topic);
            for _ in 0..BULK_BURST_RECORDS {
                let sending = self.send(topic, address.clone(), BULK_NOISE_BYTES, receipts);
                sending.await;
            }
            return;
        }
        for _ in 0..self.random.u32(1..BURST_MAX) {
            let address = self.random_address(topic);
            let noise_bytes = noise_bytes(&mut self.random);
            self.send(topic, address, noise_bytes, receipts).await;
        }
    }

    fn random_address(&mut self, topic: usize) -> Address {
        let key = self.random.u32(..KEYS_PER_PRODUCER);
        match self.random.u8(..8) {
            0 => {
                let partition_count = self.topics[topic].target.partition_count.get();
                Address::Partition(PartitionId::new(self.random.u32(..partition_count)))
            }
            1 | 2 => Address::Key(format!("shared-{key}").into_bytes()),
            _ => Address::Key(format!("{}-{key}", self.number).into_bytes()),
        }
    }

    async fn send(
        &mut self,
        topic: usize,
        address: Address,
        noise_bytes: usize,
        receipts: &mpsc::Sender<(Item, Receipt)>,
    ) {
        let is_patient = self.is_patient;
        let topic = &mut self.topics[topic];
        let place = match &address {
            Address::Key(key) => topic.target.place_of_key(key),
            Address::Partition(partition) => topic.target.place(*partition),
        };
        let item = topic.next_item(self.number, place);
        let value = value_of(item, noise_bytes);
        let (record, digest) = match address {
            Address::Key(key) => {
                let digest = digest(Some(&key), &value);
                (Record::new(value).key(key), digest)
            }
            Address::Partition(partition) => {
                let digest = digest(None, &value);
                (Record::new(value).partition(partition), digest)
            }
        };
        self.notebook.note_sent(item, digest);
        match topic.producer.enqueue(record).await {
            // Waits while too much is not settled.
            Ok(receipt) => receipts.send((item, receipt)).await.expect("it is settled"),
            Err(error) => self.notebook.note_error(item, error.error(), is_patient),
        }
    }
}

impl ProducedTopic {
    fn next_item(&mut self, producer: u64, place: Place) -> Item {
        let next_sequence = &mut self.next_sequences[place.partition as usize];
        let item = Item {
            producer,
            place,
            sequence: *next_sequence,
        };
        *next_sequence += 1;
        item
    }
}

/// Notes what becomes of the records, in the order in which they were sent.
async fn settle(
    mut unsettled: mpsc::Receiver<(Item, Receipt)>,
    notebook: Arc<Notebook>,
    is_patient: bool,
) {
    while let Some((item, receipt)) = unsettled.recv().await {
        match receipt.await {
            Ok(position) => notebook.note_position(item, position),
            Err(error) => notebook.note_error(item, &error, is_patient),
        }
    }
}
