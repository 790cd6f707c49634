//! Scheduled records, interrupted: after every crash each is scheduled or delivered, once, and never early.

use std::time::Duration;

use towpath_broker::core::ScheduleTime;
use towpath_storage::StorageError;
use towpath_tests::stepper::Stepper;

use super::check_script;

const REMINDERS: &str = "reminders";

#[test]
fn scheduled_records_survive_every_crash() {
    check_script("schedules", scheduling);
}

/// Scheduled, cancelled, moved and delivered: before, with and behind checkpoints.
fn scheduling(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic(REMINDERS, 2)?;
    for delay_ms in [1_000, 2_000, 2_000, 9_000] {
        let when = ScheduleTime::After(delay_ms);
        broker.now(|it| it.begin_schedule(REMINDERS, 0, when))?;
    }
    broker.now(|it| it.begin_schedule(REMINDERS, 1, ScheduleTime::After(2_000)))?;
    broker.engine.sequencer.take_checkpoint();
    // Behind the checkpoint, and not in it.
    broker.now(|it| it.begin_cancel(1))?;
    broker.pass(Duration::from_millis(1_500))?;
    broker.now(|it| it.begin_reschedule(3, ScheduleTime::After(3_000)))?;
    broker.now(|it| it.begin_reschedule(2, ScheduleTime::After(20_000)))?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    // From the disk, into two partitions with one entry.
    broker.pass(Duration::from_secs(5))?;
    broker.now(|it| it.begin_schedule(REMINDERS, 1, ScheduleTime::After(0)))?;
    broker.now(|it| it.begin_cancel(2))
}
