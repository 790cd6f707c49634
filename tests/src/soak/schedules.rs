//! Scheduled records, some of which are cancelled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::crew::Stop;
use fastrand::Rng;
use tokio::time::sleep;
use towpath_client::{Client, Error, ErrorReason, ReceivedRecord, Record};

use super::notes::Notes;
use super::writers::GIVE_UP_AFTER;

pub(super) const TOPIC: &str = "later";
const KEY_COUNT: u64 = 16;
const PAUSE: Duration = Duration::from_millis(30);
const DELAY_MS: std::ops::Range<u64> = 0..5_000;
const CANCELLED_EACH: u64 = 10;

/// What is still to come. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedules(Arc<Mutex<BTreeMap<u64, Expected>>>);

#[derive(Debug, Clone, Copy)]
struct Expected {
    due_ms: u128,
    /// It may have been cancelled.
    is_in_doubt: bool,
}

/// Schedules one record after the other until it is told to stop.
///
/// # Errors
/// One was refused or given up.
pub(super) async fn schedule(
    client: Client,
    schedules: Schedules,
    notes: Notes,
    stop: Stop,
) -> Result<(), Error> {
    let admin = client.admin();
    let mut random = Rng::new();
    let mut number = 0;
    while !stop.is_told() {
        sleep(PAUSE).await;
        number += 1;
        let due = now() + Duration::from_millis(random.u64(DELAY_MS));
        let is_cancelled = random.u64(..CANCELLED_EACH) == 0;
        let expected = Expected {
            due_ms: since_epoch_ms(due),
            is_in_doubt: is_cancelled,
        };
        schedules.lock().insert(number, expected);
        let record = Record::new(number.to_string()).key((number % KEY_COUNT).to_string());
        let call = client.schedule(TOPIC, record).at(due);
        let call = call.id(number.to_string()).give_up_after(GIVE_UP_AFTER);
        call.send().await?;
        notes.note_other("scheduled");
        if is_cancelled {
            let cancelled = admin.cancel_schedule(TOPIC, number.to_string()).await;
            match cancelled {
                Ok(_due) => {
                    schedules.lock().remove(&number);
                    notes.note_other("cancelled");
                }
                // It has come, or an answer was lost.
                Err(error) if error.reason() == Some(ErrorReason::ScheduleNotFound) => {}
                Err(error) if error.may_have_happened() || error.reason().is_none() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads what becomes due.
///
/// # Errors
/// It cannot be read on.
pub(super) async fn read(client: Client, schedules: Schedules, notes: Notes) -> Result<(), Error> {
    let mut reader = client.reader([TOPIC]).follow().build();
    while let Some(record) = reader.next_record().await? {
        if let Err(problem) = schedules.take(&record) {
            notes.complain(format_args!("{problem}: {record:?}"));
        }
        notes.note_other("came due");
    }
    Ok(())
}

impl Schedules {
    /// How many must still come.
    pub(super) fn missing_count(&self) -> usize {
        let expected = self.lock();
        expected.values().filter(|it| !it.is_in_doubt).count()
    }

    fn take(&self, record: &ReceivedRecord) -> Result<(), &'static str> {
        let number = record.value_str().and_then(|text| text.parse().ok());
        let number: u64 = number.ok_or("it was not scheduled")?;
        let expected = self.lock().remove(&number);
        let expected = expected.ok_or("it came again, or was cancelled")?;
        match since_epoch_ms(record.append_time()) < expected.due_ms {
            true => Err("it came early"),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since_epoch_ms(time: SystemTime) -> u128 {
    let since = time.duration_since(UNIX_EPOCH);
    since.expect("later than 1970").as_millis()
}

#[expect(
    clippy::disallowed_methods,
    reason = "records are due by the clock of the machine, as the broker's is"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
