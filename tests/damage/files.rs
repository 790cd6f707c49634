//! Files that are missing, old, or those of others; and writes that went elsewhere or nowhere.

use std::ops::ControlFlow;
use std::path::Path;

use towpath_storage::dump::{Dump, Item, Selection};
use towpath_storage::vfs::sim::SimDisk;

use crate::cases::{Extent, random};
use crate::trial::{Outcome, Subject, Tally, overwrite, write_file};

const SECTOR_BYTES: usize = 512;

/// Nothing but the journal file that was being written says what its last entries were: where all of it is
/// another, or its end with all that stood behind, what was before is right.
fn allow_shorter(outcome: Outcome, is_allowed: bool) -> Outcome {
    match outcome {
        Outcome::Shorter if !is_allowed => Outcome::Wrong("shorter".to_owned()),
        outcome => outcome,
    }
}

#[test]
fn a_file_that_is_missing_is_never_silent() {
    let subject = Subject::new();
    let mut tally = Tally::default();
    for path in subject.files.keys() {
        let outcome = subject.try_damage(true, |disk| disk.vfs().unlink(Path::new(path)));
        println!("{path} is missing: {outcome:?}");
        // The journal file that was being written is missed by the one that was made ready behind it.
        tally.note(allow_shorter(outcome, false), || {
            format!("{path} is missing")
        });
    }
    tally.conclude("missing files");
}

#[test]
fn a_file_in_the_place_of_another_is_never_silent() {
    let subject = Subject::new();
    let (extent, mut random) = (Extent::asked(), random("swaps"));
    let mut tally = Tally::default();
    let files: Vec<_> = subject.files.iter().collect();
    let pairs = files.len() * files.len();
    for (number, pick) in extent.pick(&mut random, pairs, 200).into_iter().enumerate() {
        let (from, bytes) = files[pick / files.len()];
        let (to, _) = files[pick % files.len()];
        if from == to {
            continue;
        }
        let damage = |disk: &SimDisk| write_file(disk, to, bytes);
        let outcome = subject.try_damage(number.is_multiple_of(5), damage);
        let is_last = to == subject.last_journal_file();
        tally.note(allow_shorter(outcome, is_last), || {
            format!("{from} copied to {to}")
        });
    }
    tally.conclude("files in the place of others");
}

#[test]
fn an_old_copy_of_a_file_is_never_silent() {
    let subject = Subject::new();
    let mut tally = Tally::default();
    for (age, earlier) in subject.golden.earlier.iter().enumerate() {
        for path in earlier.paths() {
            let Ok(bytes) = earlier.read(Path::new(&path)) else {
                continue;
            };
            if subject.files.get(&path) == Some(&bytes) {
                continue;
            }
            let outcome = subject.try_damage(true, |disk| write_file(disk, &path, &bytes));
            let is_last = path == subject.last_journal_file();
            println!("{path} as in copy {age}: {outcome:?}");
            tally.note(allow_shorter(outcome, is_last), || {
                format!("{path} as in copy {age}")
            });
        }
    }
    tally.conclude("old copies of files");
}

#[test]
fn a_write_that_was_lost_is_never_silent() {
    let subject = Subject::new();
    let (extent, mut random) = (Extent::asked(), random("lost writes"));
    let mut tally = Tally::default();
    let mut lost = Vec::new();
    for earlier in &subject.golden.earlier {
        for (path, bytes) in &subject.files {
            let Ok(old) = earlier.read(Path::new(path)) else {
                continue;
            };
            let sectors = bytes.chunks(SECTOR_BYTES).zip(old.chunks(SECTOR_BYTES));
            let differing = sectors.enumerate().filter(|(_, (now, old))| now != old);
            lost.extend(differing.map(|(number, (_, old))| (path, number, old.to_vec())));
        }
    }
    for (number, pick) in extent
        .pick(&mut random, lost.len(), 150)
        .into_iter()
        .enumerate()
    {
        let (path, sector, old) = &lost[pick];
        let position = (sector * SECTOR_BYTES) as u64;
        let damage = |disk: &SimDisk| overwrite(disk, path, position, old);
        let outcome = subject.try_damage(number.is_multiple_of(5), damage);
        tally.note(allow_shorter(outcome, false), || {
            format!("{path} at {position} as before")
        });
    }
    tally.conclude("lost writes of a sector");
}

/// Where each frame of the segments and each entry of the journal lies: path, position, bytes.
fn pieces(disk: &SimDisk) -> Vec<(String, u64, Vec<u8>)> {
    let (mut pieces, mut path) = (Vec::new(), String::new());
    let mut note = |path: &str, position: u64, length: u64| {
        let bytes = disk.read(Path::new(path)).unwrap();
        let start = position as usize;
        let end = (start + length as usize).min(bytes.len());
        pieces.push((path.to_owned(), position, bytes[start..end].to_vec()));
    };
    Dump::new(disk.vfs()).run(&Selection::default(), &mut |item| {
        match item {
            Item::Segment { path: of, .. } | Item::JournalFile { path: of, .. } => {
                path = of.display().to_string();
            }
            Item::Frame {
                position, header, ..
            } => note(&path, *position, header.padded_bytes()),
            Item::Entry { at, header, .. } => note(&path, at.position, header.entry_bytes()),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    pieces
}

#[test]
fn a_frame_or_an_entry_in_the_wrong_place_is_never_silent() {
    let subject = Subject::new();
    let (extent, mut random) = (Extent::asked(), random("misplaced pieces"));
    let mut tally = Tally::default();
    let pieces = pieces(&subject.golden.disk);
    println!("{} frames and entries", pieces.len());
    let pairs = pieces.len() * pieces.len();
    for (number, pick) in extent.pick(&mut random, pairs, 200).into_iter().enumerate() {
        let (from_path, from, bytes) = &pieces[pick / pieces.len()];
        let (path, to, old) = &pieces[pick % pieces.len()];
        if (from_path, from) == (path, to) {
            continue;
        }
        // A part of a longer one, so that what follows is whole; and all of it.
        for length in [bytes.len().min(old.len()), bytes.len()] {
            let damage = |disk: &SimDisk| overwrite(disk, path, *to, &bytes[..length]);
            let outcome = subject.try_damage(number.is_multiple_of(9), damage);
            let is_long = length > old.len() && path == subject.last_journal_file();
            tally.note(allow_shorter(outcome, is_long), || {
                format!("{length} bytes of {from_path} at {from} in {path} at {to}")
            });
        }
    }
    tally.conclude("misplaced frames and entries");
}
