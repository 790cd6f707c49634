//! The operations to be interrupted, one script for each.

use std::time::Duration;

use towpath_storage::StorageError;
use towpath_tests::stepper::Stepper;

use super::check_script;

#[test]
fn an_inline_append_survives_every_crash() {
    check_script("inline append", append_inline);
}

fn append_inline(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    for length in [100, 3000, 8] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, length);
        broker.settle_down()?;
        broker.note_answers();
    }
    Ok(())
}

#[test]
fn an_append_by_reference_survives_every_crash() {
    check_script("append by reference", append_by_reference);
}

fn append_by_reference(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.send("orders", 0, 50);
    broker.settle_down()?;
    broker.note_answers();
    // One round: a run of one partition, and a bystander that goes inline.
    for length in [7000, 6001, 20] {
        broker.send("orders", 0, length);
    }
    broker.send("orders", 1, 333);
    broker.settle_down()?;
    broker.note_answers();
    broker.send("orders", 0, 77);
    broker.settle_down()?;
    broker.note_answers();
    Ok(())
}

#[test]
fn settling_late_survives_every_crash() {
    check_script("late settling", settle_late);
}

/// Rounds are committed while nothing is settled, then all of it is.
fn settle_late(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 1)?;
    broker.send("orders", 0, 10);
    broker.settle_down()?;
    for _ in 0..4 {
        broker.send("orders", 0, 2000);
        broker.engine.step_round()?;
        broker.note_answers();
    }
    broker.settle_down()?;
    broker.note_answers();
    Ok(())
}

#[test]
fn rolling_to_a_new_segment_survives_every_crash() {
    check_script("roll", roll);
}

fn roll(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 1)?;
    for _ in 0..5 {
        broker.send("orders", 0, 9000);
        broker.send("orders", 0, 9000);
        broker.settle_down()?;
        broker.note_answers();
    }
    Ok(())
}

#[test]
fn a_checkpoint_survives_every_crash() {
    check_script("checkpoint", checkpoint);
}

fn checkpoint(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.send("orders", 0, 100);
    broker.settle_down()?;
    for length in [200, 15_000, 300] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, length);
        broker.engine.step_round()?;
        broker.engine.sequencer.take_checkpoint();
        // An entry behind the checkpoint, not settled when it is written.
        broker.send("orders", 0, 40);
        broker.engine.step_round()?;
        // Not before everything is settled: this is refused, and done later.
        broker.engine.step_maintenance()?;
        broker.settle_down()?;
        broker.note_answers();
    }
    Ok(())
}

#[test]
fn recycling_journal_files_survives_every_crash() {
    check_script("recycle", recycle);
}

/// Several files full, freed by checkpoints, used again.
fn recycle(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    for step in 0..24 {
        broker.send("orders", step % 2, 40_000);
        broker.send("orders", (step + 1) % 2, 11_000);
        broker.settle_down()?;
        broker.note_answers();
        if step % 8 == 7 {
            broker.engine.sequencer.take_checkpoint();
            broker.settle_down()?;
        }
    }
    Ok(())
}

#[test]
fn deleting_and_creating_again_survives_every_crash() {
    check_script("delete and create again", delete_and_create_again);
}

fn delete_and_create_again(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 1)?;
    broker.create_topic("stock", 1)?;
    // By reference: replay needs the file until the deletion is in a checkpoint.
    broker.send("orders", 0, 15_000);
    broker.send("orders", 0, 500);
    broker.send("stock", 0, 500);
    broker.settle_down()?;
    broker.note_answers();
    broker.delete_topic("orders")?;
    broker.create_topic("orders", 1)?;
    broker.send("orders", 0, 600);
    broker.settle_down()?;
    broker.note_answers();
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.send("orders", 0, 700);
    broker.send("stock", 0, 700);
    broker.settle_down()?;
    broker.note_answers();
    Ok(())
}

#[test]
fn a_trim_survives_every_crash() {
    check_script("trim", trim);
}

/// Inside a segment, over several, and of everything; with what is appended behind.
fn trim(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    // Some by reference, some not: replay needs their files until the trim is in a checkpoint.
    for length in [30_000, 31_000, 9000, 40_000, 9000, 50_000] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, 300);
        broker.settle_down()?;
        broker.note_answers();
    }
    broker.trim("orders", 0, 2)?;
    broker.trim("orders", 0, 9)?;
    broker.send("orders", 0, 600);
    broker.settle_down()?;
    broker.note_answers();
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.trim("orders", 1, 11)?;
    broker.trim("orders", 0, 13)?;
    broker.send("orders", 1, 700);
    broker.engine.step_round()?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.send("orders", 0, 20_000);
    broker.settle_down()?;
    broker.note_answers();
    Ok(())
}

#[test]
fn retention_survives_every_crash() {
    check_script("retention", retention);
}

/// Records grow old: sealed segments go, then the active one, and appends go on.
fn retention(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    for length in [40_000, 30_000, 9000] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, 400);
        broker.settle_down()?;
        broker.note_answers();
        broker.pass(Duration::from_secs(40))?;
    }
    broker.keep_for("orders", 60_000)?;
    for length in [800, 20_000] {
        broker.pass(Duration::from_secs(50))?;
        broker.send("orders", 0, length);
        broker.settle_down()?;
        broker.note_answers();
        broker.engine.sequencer.take_checkpoint();
        broker.settle_down()?;
    }
    Ok(())
}

#[test]
fn compaction_survives_every_crash() {
    check_script("compaction", compaction);
}

/// Segments that are rewritten alone and together, and again behind what was rewritten before.
fn compaction(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_compacted(1)?;
    for (keys, padding) in [
        (&[(1, false), (2, false), (3, false)][..], 6_000),
        (&[(2, false), (2, false)], 10),
        (&[(4, false), (1, true), (5, false)], 9_000),
    ] {
        broker.publish_keyed(0, keys, padding)?;
    }
    broker.compact()?;
    broker.publish_keyed(0, &[(4, false), (6, false)], 9_000)?;
    broker.engine.sequencer.take_checkpoint();
    // Behind the checkpoint, and not in it.
    broker.publish_keyed(0, &[(3, false), (6, true)], 400)?;
    broker.compact()?;
    broker.publish_keyed(0, &[(5, false)], 20)
}

#[test]
fn a_group_survives_every_crash() {
    check_script("group", group);
}

/// Commits and seeks before, with and behind checkpoints; a group that is deleted and begins again.
fn group(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    for length in [100, 200, 300, 400] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, length);
        broker.settle_down()?;
        broker.note_answers();
    }
    broker.join_group("billing", "orders")?;
    broker.commit("billing", 0, 3)?;
    broker.commit("billing", 1, 1)?;
    broker.engine.sequencer.take_checkpoint();
    // Behind the checkpoint, and not in it.
    broker.commit("billing", 0, 6)?;
    broker.seek("billing", 1, 5)?;
    broker.settle_down()?;
    broker.commit("billing", 1, 7)?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.seek("billing", 0, 2)?;
    broker.delete_group("billing")?;
    broker.join_group("billing", "orders")?;
    broker.commit("billing", 0, 1)?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    broker.delete_group("billing")?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    Ok(())
}
