//! Commits, interrupted: after every crash all of a commit has happened, or nothing.

use towpath_storage::StorageError;
use towpath_tests::stepper::{Stepper, Verdict};

use super::{TARGET, check_script};

#[test]
fn commits_survive_every_crash() {
    check_script("commits", committing);
}

/// Before, with and behind checkpoints, between settlements of the subscription and commits of the group.
fn committing(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.create_target(TARGET)?;
    broker.create_audit()?;
    broker.send_keys("orders", 0, &[1, 2, 1, 3, 1]);
    broker.send_keys("orders", 1, &[1, 2, 2]);
    broker.settle_down()?;
    broker.note_answers();
    broker.join_group("billing", "orders")?;
    broker.subscribe("billing", "orders", [5, 3])?;
    broker.transform("billing", (0, 1), 1, TARGET)?;
    broker.say("billing", (0, 0), Verdict::Ack, &[])?;
    broker.engine.sequencer.take_checkpoint();
    // Behind the checkpoint, and not in it.
    broker.transform("billing", (1, 0), 3, TARGET)?;
    broker.settle_down()?;
    broker.transform("billing", (0, 3), 4, TARGET)?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.transform("billing", (0, 2), 5, TARGET)
}
