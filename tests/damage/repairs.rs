//! Repairs: they give up what they have shown and nothing else, whatever interrupts them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use towpath_broker::offline::{plan_repair, repair_folder, verify_folder};
use towpath_storage::repair::Plan;
use towpath_storage::vfs::sim::{CrashMode, SimDisk};
use towpath_storage::{Environment, OpenError, SimClock, SimEntropy};

use crate::script::golden;
use crate::trial::{Outcome, Subject, entries, overwrite};
use crate::view::{View, open};

/// States that are opened for each interrupted operation.
const STATES_MAX: usize = 6;

fn environment(disk: &SimDisk) -> Environment {
    Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(1_700_000_100_000)),
        entropy: Arc::new(SimEntropy::new(5)),
    }
}

fn refusal(disk: &SimDisk) -> String {
    match open(disk, 81) {
        Err(OpenError::JournalDamaged { what, .. }) => what,
        other => panic!("not refused: {:?}", other.err()),
    }
}

/// What is found after a repair is what the plan has left.
fn check_repaired(subject: &Subject, disk: &SimDisk, plan: &Plan, what: &str) {
    let opened = open(disk, 82);
    let engine = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = View::of(&engine, disk).unwrap();
    for (partition, truth) in &subject.truth.partitions {
        let read = found.partitions.get(partition);
        let found_end = read.map_or(0, |it| it.end());
        let lost = plan.lost.iter().find(|(of, _)| of == partition);
        let (start, end) = lost.map_or((found_end, found_end), |(_, range)| {
            (range.start.get(), range.end.get())
        });
        assert_eq!(start, found_end, "{what}: partition {partition}");
        // What stood in a damaged entry is not to be seen, unless more of its partition follows.
        let is_all = end == truth.end() || end < truth.end() && plan.unreadable_count() > Some(0);
        assert!(is_all, "{what}: partition {partition} to {end}, {plan:?}");
        let is_true = read.is_none_or(|read| read.is_beginning_of(truth));
        assert!(is_true, "{what}: partition {partition}");
    }
}

/// What a repair has given up is there as it was.
fn check_kept_aside(before: &SimDisk, disk: &SimDisk, plan: &Plan, what: &str) {
    for path in &plan.kept_aside {
        let aside = Path::new("lost+found").join(path.file_name().unwrap());
        let (was, kept) = (before.read(path).unwrap(), disk.read(&aside));
        assert!(kept.is_ok_and(|it| it == was), "{what}: {}", path.display());
    }
}

/// Damages the journal so that entries behind it are lost.
fn damaged(subject: &Subject, part: usize) -> SimDisk {
    let disk = subject.golden.disk.fork();
    let path = subject.last_journal_file();
    let entries = subject.files[path].chunks(4096).skip(1);
    let used: Vec<_> = (1_u64..)
        .zip(entries)
        .filter(|(_, block)| block.starts_with(b"TENT"))
        .map(|(number, _)| number * 4096)
        .collect();
    let position = used[part * (used.len() - 2) / 4];
    overwrite(&disk, path, position + 8, &[0xff; 90]).unwrap();
    disk
}

#[test]
fn a_repair_gives_up_what_it_has_shown() {
    let subject = Subject::new();
    for part in 0..4 {
        let disk = damaged(&subject, part);
        let before = disk.content_hash();
        let plan = plan_repair(&environment(&disk)).unwrap().unwrap();
        assert_eq!(disk.content_hash(), before, "a plan changes nothing");
        assert!(refusal(&disk).contains(&plan.what), "{}", plan.what);
        assert!(
            plan.last_lsn > Some(plan.after_lsn),
            "something is seen behind"
        );
        println!("part {part}: {plan:?}");
        repair_folder(&environment(&disk), &plan).unwrap();
        for path in &plan.kept_aside {
            let name = path.file_name().unwrap();
            let kept = disk.read(&Path::new("lost+found").join(name));
            assert!(kept.is_ok(), "{} is kept aside", path.display());
        }
        check_repaired(&subject, &disk, &plan, &format!("part {part}"));
        let again = plan_repair(&environment(&disk)).unwrap();
        assert_eq!(again, None, "nothing is left to repair");
    }
}

#[test]
fn a_whole_folder_needs_no_repair() {
    let disk = golden().disk;
    assert_eq!(plan_repair(&environment(&disk)).unwrap(), None);
}

#[test]
fn a_folder_that_has_changed_since_the_plan_is_left_alone() {
    let subject = Subject::new();
    let plan = plan_repair(&environment(&damaged(&subject, 3)))
        .unwrap()
        .unwrap();
    let disk = damaged(&subject, 0);
    let before = refusal(&disk);
    assert!(repair_folder(&environment(&disk), &plan).is_err());
    assert_eq!(refusal(&disk), before);
}

#[test]
fn a_checkpoint_that_says_more_is_kept_aside() {
    let subject = Subject::new();
    // The folder before its newest checkpoint, without the last entry that this covers; of the checkpoint
    // there are the names, and nothing that is whole.
    let mut copies = subject.golden.earlier.iter().rev();
    let is_before = |it: &&SimDisk| {
        it.paths()
            .iter()
            .any(|it| is_older_checkpoint(&subject, it))
    };
    let before = copies.find(is_before).unwrap();
    let disk = before.crash(&CrashMode::Kill);
    let newest: Vec<_> = subject
        .files
        .keys()
        .filter(|it| it.ends_with(".checkpoint"))
        .collect();
    for path in &newest {
        crate::trial::write_file(&disk, path, &[0; 64]).unwrap();
    }
    let last = entries(&disk).pop().unwrap();
    overwrite(&disk, &last.path, last.position, &[0xff; 90]).unwrap();
    let what = refusal(&disk.fork());
    assert!(what.starts_with("a checkpoint names lsn"), "{what}");
    let plan = plan_repair(&environment(&disk)).unwrap().unwrap();
    repair_folder(&environment(&disk), &plan).unwrap();
    for path in newest {
        let aside = Path::new("lost+found").join(Path::new(path).file_name().unwrap());
        assert!(disk.read(Path::new(path)).is_err(), "{path} is moved");
        assert!(disk.read(&aside).is_ok(), "{path} is kept aside");
    }
    let opened = open(&disk, 84).map(drop);
    assert!(
        opened.is_ok(),
        "nothing says that there was more: {opened:?}"
    );
}

fn is_older_checkpoint(subject: &Subject, path: &str) -> bool {
    path.ends_with(".checkpoint") && !subject.files.contains_key(path)
}

#[test]
fn an_interrupted_repair_is_done_or_can_be_done_again() {
    let subject = Subject::new();
    let whole = damaged(&subject, 1);
    let plan = plan_repair(&environment(&whole)).unwrap().unwrap();
    let expected = refusal(&whole.fork());
    let count = {
        let disk = whole.fork();
        let before = disk.operations();
        repair_folder(&environment(&disk), &plan).unwrap();
        disk.operations() - before
    };
    let (mut state_count, mut done_count) = (0, 0);
    for k in 0..=count {
        let disk = whole.fork();
        disk.stop_before(disk.operations() + k);
        drop(repair_folder(&environment(&disk), &plan));
        for state in disk.crash_states(STATES_MAX) {
            let what = format!("operation {k}, {}", state.description);
            state_count += 1;
            match open(&state.disk.fork(), 85) {
                Ok(_) => done_count += 1,
                Err(OpenError::JournalDamaged { what: found, .. }) => {
                    assert_eq!(found, expected, "{what}: refused as before");
                    repair_folder(&environment(&state.disk), &plan).unwrap();
                }
                Err(error) => panic!("{what}: {error}"),
            }
            check_repaired(&subject, &state.disk, &plan, &what);
            check_kept_aside(&whole, &state.disk, &plan, &what);
        }
    }
    println!("{count} operations, {state_count} states, {done_count} of them repaired");
    assert!(
        done_count > 0 && done_count < state_count,
        "both kinds are found"
    );
}

#[test]
fn a_folder_is_checked_without_being_changed() {
    let subject = Subject::new();
    let disk = subject.golden.disk.fork();
    let (before, operations) = (disk.content_hash(), disk.operations());
    let summary = verify_folder(disk.vfs(), &mut |told| {
        if let towpath_storage::verify::Told::Finding(finding) = told {
            panic!("{finding}");
        }
        ControlFlow::Continue(())
    });
    let summary = summary.unwrap();
    assert_eq!(
        (disk.content_hash(), disk.operations()),
        (before, operations)
    );
    assert!(summary.record_count > 40, "{summary:?}");
    let outcome = subject.try_damage(false, |_| Ok(()));
    assert_eq!(outcome, Outcome::Harmless);
}
