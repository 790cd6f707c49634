//! A compacted topic: the last record of each key is always there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::crew::Stop;
use tokio::time::sleep;
use towpath_client::{Client, Error, Record};

use super::notes::Notes;
use super::writers::GIVE_UP_AFTER;

pub(super) const TOPIC: &str = "latest";
const KEY_COUNT: u64 = 100;
/// Keys that are written together.
const STEP: u64 = 20;
const WRITE_PAUSE: Duration = Duration::from_millis(100);
const READ_PAUSE: Duration = Duration::from_secs(7);
const VALUE_BYTES: usize = 1_000;

/// What was acknowledged last, by key. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Latest(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Latest {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the keys in turn until it is told to stop.
///
/// # Errors
/// A record was refused or given up.
pub(super) async fn write(client: Client, latest: Latest, stop: Stop) -> Result<(), Error> {
    let producer = client.producer(TOPIC).give_up_after(GIVE_UP_AFTER).build();
    let mut number = 0;
    while !stop.is_told() {
        sleep(WRITE_PAUSE).await;
        let mut receipts = Vec::new();
        for _ in 0..STEP {
            let key = number % KEY_COUNT;
            let value = format!("{number} {}", "x".repeat(VALUE_BYTES));
            let receipt = producer.enqueue(Record::new(value).key(key.to_string()));
            let receipt = receipt.await.map_err(|error| error.into_parts().1)?;
            receipts.push((key, number, receipt));
            number += 1;
        }
        for (key, number, receipt) in receipts {
            receipt.await?;
            latest.lock().insert(key, number);
        }
    }
    producer.close().await
}

/// Reads all of it again and again.
///
/// # Errors
/// It cannot be read.
pub(super) async fn read(client: Client, latest: Latest, notes: Notes) -> Result<(), Error> {
    loop {
        sleep(READ_PAUSE).await;
        let before = latest.lock().clone();
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        let mut reader = client.reader([TOPIC]).build();
        while let Some(record) = reader.next_record().await? {
            let key = record.key_str().and_then(|key| key.parse().ok());
            let number = record.value_str().and_then(|it| it.split(' ').next());
            let number = number.and_then(|number| number.parse().ok());
            if let (Some(key), Some(number)) = (key, number) {
                found.insert(key, number);
            }
        }
        for (key, number) in before {
            if found.get(&key).is_none_or(|found| *found < number) {
                let found = found.get(&key);
                notes.complain(format_args!(
                    "compacted: key {key} had {number}, and has {found:?}"
                ));
            }
        }
        notes.note_other("states");
    }
}
