//! `verify` names what is damaged: the file, and what it costs.

use std::ops::ControlFlow;
use std::path::Path;

use towpath_broker::offline::verify_folder;
use towpath_storage::verify::{Finding, Told};
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{DirectoryLine, FrameForm, OpenError};

use crate::trial::{Subject, entries, overwrite, write_file};

const LOG: &str = "topics/1-orders/0/00000000000000000000.log";
const INDEX: &str = "topics/1-orders/0/00000000000000000000.index";

/// What is found in a copy of the folder that `damage` was done to.
fn findings(subject: &Subject, damage: impl FnOnce(&SimDisk)) -> Vec<Finding> {
    let disk = subject.golden.disk.fork();
    damage(&disk);
    let mut found = Vec::new();
    let summary = verify_folder(disk.vfs(), &mut |told| {
        if let Told::Finding(finding) = told {
            found.push(finding.clone());
        }
        ControlFlow::Continue(())
    });
    let told_count = summary.unwrap().finding_count;
    assert_eq!(told_count, found.len() as u64, "all are told");
    found
}

/// There is a finding about a file that has this effect, and none about another one that costs anything.
fn check(subject: &Subject, path: &str, effect: &str, damage: impl FnOnce(&SimDisk)) {
    let found = findings(subject, damage);
    let is_it = |it: &Finding| it.path == Path::new(path);
    let has_effect = |it: &&Finding| it.effect.name() == effect;
    assert!(
        found
            .iter()
            .filter(|it| is_it(it))
            .any(|it| has_effect(&it)),
        "{path}: {found:#?}"
    );
    let others = found.iter().filter(|it| !is_it(it));
    let is_harmless = |it: &Finding| it.effect.name() == "harmless";
    assert!(others.clone().all(is_harmless), "{path}: {found:#?}");
}

fn flip(disk: &SimDisk, path: &str, position: u64) {
    disk.flip_bit(Path::new(path), position, 3).unwrap();
}

fn unlink(disk: &SimDisk, path: &str) {
    disk.vfs().unlink(Path::new(path)).unwrap();
}

fn names(subject: &Subject, folder: &str) -> Vec<String> {
    let names = subject.files.keys().filter(|it| it.starts_with(folder));
    names.cloned().collect()
}

#[test]
fn what_is_whole_has_no_findings() {
    let subject = Subject::new();
    assert_eq!(findings(&subject, |_| {}), []);
}

#[test]
fn a_damaged_copy_of_a_checkpoint_is_named() {
    let subject = Subject::new();
    let copies = names(&subject, "checkpoint/");
    let [first, second] = copies.as_slice() else {
        panic!("{copies:?}");
    };
    check(&subject, first, "harmless", |disk| flip(disk, first, 40));
    // The one that is whole has no other copy then.
    check(&subject, second, "harmless", |disk| unlink(disk, first));
    let found = findings(&subject, |disk| {
        flip(disk, first, 40);
        flip(disk, second, 40);
    });
    let refused = |path: &str| {
        let of_path = |it: &&Finding| it.path == Path::new(path);
        let mut found = found.iter().filter(of_path);
        found.any(|it| it.effect.name() == "refused")
    };
    assert!(refused(first) && refused(second), "{found:#?}");
    check(&subject, "checkpoint", "refused", |disk| {
        copies.iter().for_each(|it| unlink(disk, it));
    });
}

#[test]
fn damage_to_runs_is_named() {
    let subject = Subject::new();
    let run = &names(&subject, "index/")[0];
    check(&subject, run, "refused", |disk| flip(disk, run, 20));
    check(&subject, run, "index_rows", |disk| flip(disk, run, 64 + 40));
}

#[test]
fn damage_to_the_journal_is_named() {
    let subject = Subject::new();
    // Where the journal goes on behind the checkpoint.
    let first = &names(&subject, "journal/")[0];
    check(&subject, first, "refused", |disk| unlink(disk, first));
    let path = subject.last_journal_file().to_owned();
    // The header of an entry, of which later ones say that it was durable.
    let mut entries = entries(&subject.golden.disk);
    entries.retain(|entry| entry.path == path);
    for entry in &entries[..2] {
        check(&subject, &path, "refused", |disk| {
            flip(disk, &path, entry.position + 20);
        });
    }
    // The next one was made ready when this one was being written.
    check(&subject, &path, "refused", |disk| unlink(disk, &path));
}

/// Appends behind the checkpoint that are settled: the file and the position of their entry, and their line.
fn appends(subject: &Subject) -> Vec<(String, u64, DirectoryLine)> {
    let name = &names(subject, "checkpoint/")[0]["checkpoint/".len()..];
    let lsn: u64 = name[..20].parse().unwrap();
    let mut appends = Vec::new();
    for entry in entries(&subject.golden.disk) {
        let behind = entry
            .appends
            .iter()
            .filter(|line| line.frame.lsn.get() > lsn);
        appends.extend(behind.map(|line| (entry.path.clone(), entry.position, *line)));
    }
    appends
}

#[test]
fn damage_to_what_is_appended_behind_the_checkpoint_is_named() {
    let subject = Subject::new();
    let appends = appends(&subject);
    let of_form = |form| {
        let mut appends = appends.iter();
        appends.find(|(_, _, line)| line.form == form).unwrap()
    };
    // By reference: the segment alone holds the records, the journal what makes the header.
    let (_, _, line) = of_form(FrameForm::Reference);
    let partition = line.place.segment.partition.partition;
    let base = line.place.segment.base.get();
    let log = format!("topics/1-orders/{partition}/{base:020}.log");
    let at = line.place.position;
    check(&subject, &log, "harmless", |disk| flip(disk, &log, at + 12));
    check(&subject, &log, "lost", |disk| flip(disk, &log, at + 70));
    // Inline: the segment has it too. Behind the header of the entry are a line and the header of the frame.
    let (journal, entry, _) = of_form(FrameForm::Inline);
    let at = entry + 80 + 80 + 64 + 5;
    check(&subject, journal, "harmless", |disk| {
        flip(disk, journal, at);
    });
}

#[test]
fn damage_to_segments_and_indexes_is_named() {
    let subject = Subject::new();
    let bytes = &subject.files[LOG];
    check(&subject, LOG, "harmless", |disk| flip(disk, LOG, 20));
    check(&subject, LOG, "harmless", |disk| {
        let other = &subject.files["topics/1-orders/1/00000000000000000000.log"];
        overwrite(disk, LOG, 0, &other[..64]).unwrap();
    });
    check(&subject, LOG, "lost", |disk| flip(disk, LOG, 4096 + 12));
    check(&subject, LOG, "lost", |disk| flip(disk, LOG, 4096 + 70));
    check(&subject, LOG, "lost", |disk| unlink(disk, LOG));
    check(&subject, LOG, "lost", |disk| {
        write_file(disk, LOG, &bytes[..bytes.len() / 4]).unwrap();
    });
    check(&subject, INDEX, "harmless", |disk| flip(disk, INDEX, 5));
    check(&subject, INDEX, "harmless", |disk| unlink(disk, INDEX));
    check(&subject, INDEX, "harmless", |disk| {
        let other = &subject.files["topics/1-orders/1/00000000000000000000.index"];
        write_file(disk, INDEX, other).unwrap();
    });
}

#[test]
fn lost_records_are_named_one_by_one() {
    let subject = Subject::new();
    let found = findings(&subject, |disk| flip(disk, LOG, 4096 + 70));
    let lost: Vec<_> = found
        .iter()
        .filter(|it| it.effect.name() == "lost")
        .collect();
    let [
        Finding {
            positions: Some(positions),
            effect: towpath_storage::verify::Effect::Lost { partition, range },
            ..
        },
    ] = lost.as_slice()
    else {
        panic!("{found:#?}");
    };
    assert_eq!((partition.topic.get(), partition.partition), (1, 0));
    assert_eq!((range.start.get(), range.end.get()), (0, 1), "a record");
    assert_eq!(positions.start, 4096, "its frame");
}

#[test]
fn damage_to_how_far_it_was_read_is_named() {
    let subject = Subject::new();
    check(&subject, "SCRUB", "harmless", |disk| {
        flip(disk, "SCRUB", 20);
    });
}

#[test]
fn what_is_no_folder_or_is_in_use_is_not_checked() {
    let subject = Subject::new();
    let disk = subject.golden.disk.fork();
    let lock = disk.vfs().lock(Path::new("LOCK")).unwrap();
    let in_use = verify_folder(disk.vfs(), &mut |_| ControlFlow::Continue(()));
    assert!(
        matches!(in_use, Err(OpenError::Locked { .. })),
        "{in_use:?}"
    );
    drop(lock);
    flip(&disk, "FORMAT", 30);
    let damaged = verify_folder(disk.vfs(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(damaged, Err(OpenError::NotUsable { .. })));
}
