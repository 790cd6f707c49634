//! Durable subscriptions, interrupted: after every crash each record is in one place, the one that was
//! acknowledged or the one that was asked for.

use towpath_broker::runtime::subscription_command::DeadLetterVerdict;
use towpath_storage::{Offset, StorageError};
use towpath_tests::stepper::{Stepper, Verdict};

use super::{TARGET, check_script};

/// A topic of two partitions with keys 1 to 3, and its subscription.
fn begin(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.send_keys("orders", 0, &[1, 2, 1, 3, 1]);
    broker.send_keys("orders", 1, &[1, 2, 2]);
    broker.settle_down()?;
    broker.note_answers();
    broker.subscribe("billing", "orders", [5, 3])
}

fn checkpoint(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()
}

#[test]
fn settling_survives_every_crash() {
    check_script("settling", settling);
}

/// Acks in and out of order and a nack with its row, before, with and behind checkpoints.
fn settling(broker: &mut Stepper) -> Result<(), StorageError> {
    begin(broker)?;
    broker.say("billing", (0, 1), Verdict::Ack, &[])?;
    broker.say("billing", (0, 0), Verdict::Nack, &[])?;
    broker.engine.sequencer.take_checkpoint();
    // Behind the checkpoint, and not in it.
    broker.say("billing", (0, 3), Verdict::Ack, &[])?;
    broker.say("billing", (1, 0), Verdict::Ack, &[])?;
    broker.settle_down()?;
    broker.pass(std::time::Duration::from_secs(1))?;
    broker.say("billing", (0, 0), Verdict::Nack, &[])?;
    broker.pass(std::time::Duration::from_secs(1))?;
    broker.say("billing", (0, 0), Verdict::Ack, &[])?;
    checkpoint(broker)?;
    broker.say("billing", (0, 2), Verdict::Ack, &[])
}

#[test]
fn burying_and_parking_survive_every_crash() {
    check_script("burying", burying);
}

/// A record dies, its key follows; then one with nothing behind it.
fn burying(broker: &mut Stepper) -> Result<(), StorageError> {
    begin(broker)?;
    broker.say("billing", (0, 0), Verdict::DeadLetter, &[2, 4])?;
    broker.say("billing", (0, 1), Verdict::Ack, &[])?;
    checkpoint(broker)?;
    broker.say("billing", (1, 1), Verdict::DeadLetter, &[2])?;
    broker.say("billing", (1, 0), Verdict::DeadLetter, &[])?;
    checkpoint(broker)?;
    // What comes later of a parked key follows still.
    broker.send_parked("billing", "orders", (0, 5), 1)?;
    checkpoint(broker)
}

#[test]
fn redriving_and_discarding_survive_every_crash() {
    check_script("redriving", redriving);
}

/// In two steps; one fails again, one dies again, one is discarded.
fn redriving(broker: &mut Stepper) -> Result<(), StorageError> {
    begin(broker)?;
    broker.say("billing", (0, 0), Verdict::DeadLetter, &[2, 4])?;
    broker.move_letters("billing", 0, &[0, 2], DeadLetterVerdict::Redrive, &[])?;
    broker.say_of_letter("billing", (0, 0), Verdict::Nack, &[])?;
    checkpoint(broker)?;
    let behind = DeadLetterVerdict::RedriveBehind(Offset::new(1));
    broker.move_letters("billing", 0, &[4], behind, &[])?;
    broker.pass(std::time::Duration::from_secs(1))?;
    broker.say_of_letter("billing", (0, 0), Verdict::Ack, &[])?;
    broker.say_of_letter("billing", (0, 2), Verdict::DeadLetter, &[4])?;
    broker.move_letters("billing", 0, &[2], DeadLetterVerdict::Discard, &[4])?;
    checkpoint(broker)?;
    broker.say_of_letter("billing", (0, 4), Verdict::Ack, &[])
}

#[test]
fn republishing_survives_every_crash() {
    check_script("republishing", republishing);
}

fn republishing(broker: &mut Stepper) -> Result<(), StorageError> {
    begin(broker)?;
    broker.create_target(TARGET)?;
    broker.say("billing", (0, 0), Verdict::DeadLetter, &[2, 4])?;
    broker.republish("billing", 0, &[0, 2], TARGET)?;
    checkpoint(broker)?;
    broker.republish("billing", 0, &[4], TARGET)
}

#[test]
fn moving_and_deleting_a_subscription_survive_every_crash() {
    check_script("moving", moving);
}

fn moving(broker: &mut Stepper) -> Result<(), StorageError> {
    begin(broker)?;
    broker.say("billing", (0, 1), Verdict::Ack, &[])?;
    broker.say("billing", (0, 3), Verdict::Nack, &[])?;
    broker.say("billing", (0, 0), Verdict::DeadLetter, &[2, 4])?;
    broker.seek_subscription("billing", 0)?;
    broker.say("billing", (0, 1), Verdict::Ack, &[])?;
    checkpoint(broker)?;
    broker.unsubscribe("billing")?;
    checkpoint(broker)
}
