//! The scenarios. Each asserts the syncs that it is about besides having them in its file.

use towpath_storage::vfs::sim::{CrashMode, LossMode, OperationKind};
use towpath_storage::{FrameForm, ProducerId, ProducerStamp};

use super::{Script, check};
use crate::driver::{Batch, Driver, P0, P1, TOPIC, note_row, payload};
use crate::tamper::{journal_path, paths};

const LOG: &str = "topics/1-topic-1/0/00000000000000000000.log";
const INDEX: &str = "topics/1-topic-1/0/00000000000000000000.index";

/// Writes and syncs of files that a step makes.
fn calls(script: &mut Script, heading: &str, act: impl FnOnce(&mut Driver)) -> (u64, u64) {
    let disk = script.disk.clone();
    let count = |kind| disk.count(kind);
    let before = (count(OperationKind::Write), count(OperationKind::SyncData));
    script.step(heading, act);
    (
        count(OperationKind::Write) - before.0,
        count(OperationKind::SyncData) - before.1,
    )
}

#[test]
fn first_open_of_an_empty_folder() {
    check("first-open", || {
        let mut script = Script::new("An empty folder becomes a data folder; FORMAT comes last.");
        script.open("first open");
        script.broker = None;
        script.dump();
        script.bytes("FORMAT");
        let [checkpoint, _] = &paths(&script.disk, "checkpoint/")[..] else {
            panic!("two copies");
        };
        script.bytes(checkpoint);
        script.bytes(journal_path(2));
        script
    });
}

#[test]
fn one_round_by_inline_append() {
    check("inline-round", || {
        let title = "Two entries, three batches and a row share one sync.";
        let mut script = Script::with_partitions(title, &[P0]);
        let path = journal_path(script.broker().position().file);
        let stamp = ProducerStamp {
            id: ProducerId::new(*b"producer number1"),
            epoch: 2,
            sequence: 7,
        };
        let counted = calls(&mut script, "one round by inline append", |broker| {
            let batches = vec![
                Batch::inline(P0, "first").records(2),
                Batch::inline(P0, "second").by(stamp),
            ];
            broker.entry(batches, vec![note_row("colour", Some("red"))]);
            broker.round([Batch::inline(P0, "third")]);
        });
        assert_eq!(
            counted,
            (1, 1),
            "one round by inline append: 1 write, 1 sync"
        );
        let counted = calls(&mut script, "settle", Driver::settle);
        assert_eq!(counted, (2, 0), "settling: segment and index, no sync");
        script.dump();
        script.bytes(path);
        script.bytes(LOG);
        script.bytes(INDEX);
        script
    });
}

#[test]
fn one_round_by_reference() {
    check("reference-round", || {
        let title = "A run goes to its segment first; the gaps around it are filled later.";
        let mut script = Script::with_partitions(title, &[P0]);
        script.step("an inline append", |broker| {
            broker.round([Batch::inline(P0, "inline")]);
        });
        let path = journal_path(script.broker().position().file);
        let counted = calls(&mut script, "one round by reference", |broker| {
            broker.round([
                Batch::reference(P0, payload(1, 40)),
                Batch::reference(P0, payload(2, 30)).records(3),
            ]);
        });
        let expected = (2, 2);
        assert_eq!(
            counted, expected,
            "one round by reference: segment, then journal, each 1 write and 1 sync"
        );
        script.step("an inline append behind the run", |broker| {
            broker.round([Batch::inline(P0, "behind")]);
        });
        script.step("settle", Driver::settle);
        script.dump();
        script.bytes(path);
        script.bytes(LOG);
        script
    });
}

#[test]
fn roll_to_a_new_segment() {
    check("roll", || {
        let title = "A new segment is named by an entry before its file is made.";
        let mut script = Script::with_partitions(title, &[P0]);
        script.step("append", |broker| {
            broker.round([Batch::inline(P0, "in the first")]);
        });
        script.step("roll", |broker| broker.roll(P0));
        script.step("append", |broker| {
            broker.round([Batch::inline(P0, "in the second")]);
        });
        script.step("settle", Driver::settle);
        script.dump();
        script.bytes("topics/1-topic-1/0/00000000000000000001.log");
        script
    });
}

#[test]
fn a_checkpoint() {
    check("checkpoint", || {
        let title = "Segments are synced, two copies written, older ones removed, in this order.";
        let mut script = Script::with_partitions(title, &[P0, P1]);
        script.step("append to both", |broker| {
            broker.round([Batch::inline(P0, "zero"), Batch::inline(P1, "one")]);
        });
        script.step("settle", Driver::settle);
        let counted = calls(&mut script, "checkpoint", Driver::checkpoint);
        assert_eq!(
            counted,
            (4, 6),
            "a checkpoint over 2 dirty segments: 4 writes, 2 syncs of segments, 2 of indexes, 2 of copies"
        );
        let counted = calls(&mut script, "checkpoint of nothing new", Driver::checkpoint);
        assert_eq!(counted, (4, 2), "only the copies");
        script.dump();
        let copies = paths(&script.disk, "checkpoint/");
        script.bytes(&copies[0]);
        script
    });
}

#[test]
fn a_journal_file_is_recycled() {
    check("recycle", || {
        let title = "A free file gets a new name and a new salt before its first entry.";
        let mut script = Script::with_partitions(title, &[P0]);
        script.step("two rounds", |broker| {
            broker.round([Batch::inline(P0, "first")]);
            broker.round([Batch::inline(P0, "second")]);
        });
        script.step("a round too long for the rest of the file", |broker| {
            broker.round([Batch::inline(P0, payload(1, 50_000))]);
        });
        script.step("checkpoint", Driver::checkpoint);
        let counted = calls(&mut script, "prepare a file", |broker| broker.provide(0));
        assert_eq!(counted, (1, 1), "recycling a file: 1 write, 1 sync");
        script.dump();
        script
    });
}

#[test]
fn recovery_after_a_kill_with_a_torn_tail() {
    check("recovery", || {
        let title = "What the journal holds is written again and synced, the torn tail set aside, a \
                     checkpoint written, and only then is anything served.";
        let mut script = Script::with_partitions(title, &[P0]);
        script.step("append, not settled", |broker| {
            broker.round([Batch::inline(P0, "kept")]);
        });
        script.step("append, killed in the middle of the write", |broker| {
            broker.disk.stop_within(broker.disk.operations(), 150);
            broker.entry(vec![Batch::inline(P0, "torn")], Vec::new());
            broker.try_commit().unwrap_err();
        });
        script.kill();
        script.dump();
        script.open("recovery");
        script.broker = None;
        script.dump();
        let [aside] = &paths(&script.disk, "quarantine/")[..] else {
            panic!("the torn round is set aside");
        };
        script.bytes(aside);
        script
    });
}

#[test]
fn a_topic_is_deleted() {
    check("delete", || {
        let title = "Files go after both copies of a checkpoint above the entry.";
        let mut script = Script::with_partitions(title, &[P0, P1]);
        script.step("append, settle and checkpoint", |broker| {
            broker.round([Batch::inline(P0, "zero"), Batch::inline(P1, "one")]);
            broker.checkpoint();
        });
        script.step("delete", |broker| broker.delete_topic(TOPIC));
        script.dump();
        script
    });
}

/// A longer run of everything, twice, with crashes: same calls, same bytes.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed: u64| {
        let mut trace = Vec::new();
        let mut script = Script::new("");
        script.broker = Some(Driver::open_seeded(&script.disk, seed).unwrap());
        script.step("create", |broker| broker.create(P0));
        for life in 0..4 {
            for number in 0..10 {
                let batch = Batch::inline(P0, payload(number, 2_000));
                let form = match number % 3 {
                    0 => FrameForm::Reference,
                    _ => FrameForm::Inline,
                };
                script.step("append", |broker| broker.round([Batch { form, ..batch }]));
            }
            script.step("settle", Driver::settle);
            if life % 2 == 0 {
                script.step("checkpoint", Driver::checkpoint);
            }
            script.broker = None;
            let mode = CrashMode::PowerLoss(LossMode::Mixed { seed: seed + life });
            script.disk = script.disk.crash(&mode);
            trace.push(script.disk.content_hash());
            script.broker = Some(Driver::open_seeded(&script.disk, seed + life).unwrap());
            script.step("make the segment ready", |broker| {
                broker.ensure(P0, 65_536).unwrap();
            });
        }
        script.dump();
        (script.text, trace)
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2), "the seed matters");
}
