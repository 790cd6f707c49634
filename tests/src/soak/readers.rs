//! Readers: one that follows each topic, and one that begins again and again on disk.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;
use towpath_client::{Client, Error, Start};

use super::notes::{Key, Lane, Notes, Observer};

/// What is made of each record of a lane.
pub(super) const RESULTS: &str = "results";
const PAUSE: Duration = Duration::from_secs(2);

/// Reads everything once and in order.
///
/// # Errors
/// It cannot be read on.
pub(super) async fn follow(
    client: Client,
    topic: &'static str,
    observer: Observer,
    notes: Notes,
) -> Result<(), Error> {
    let mut reader = client.reader([topic]).follow().build();
    while let Some(batch) = reader.next_batch().await? {
        for record in batch.records() {
            notes.see_once(observer, &record);
        }
    }
    Ok(())
}

/// Reads one topic after the other from what retention has left; a key's records must follow each other.
///
/// # Errors
/// It cannot be read on.
pub(super) async fn read_again(client: Client, notes: Notes) -> Result<(), Error> {
    let mut random = Rng::new();
    loop {
        sleep(PAUSE).await;
        let lane = Lane::ALL[random.usize(..Lane::ALL.len())];
        let reader = client.reader([lane.topic()]).from(Start::Beginning);
        let mut reader = reader.build();
        let mut next: BTreeMap<Key, u64> = BTreeMap::new();
        while let Some(record) = reader.next_record().await? {
            let Some((key, number)) = Key::of(&record) else {
                notes.complain(format_args!("no such record: {record:?}"));
                continue;
            };
            let expected = next.insert(key, number + 1).unwrap_or(number);
            // Retention may overtake a reader that is slow; it never goes back.
            if number < expected {
                notes.complain(format_args!(
                    "from disk, {number} of {key} came behind {expected}"
                ));
            }
        }
        notes.note_other("passes");
    }
}
