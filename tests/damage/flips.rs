//! Bits that flip at rest, and files that are cut.

use std::ops::ControlFlow;
use std::path::Path;

use towpath_storage::dump::{Dump, Item, Selection};
use towpath_storage::vfs::OpenMode;
use towpath_storage::vfs::sim::SimDisk;

use crate::cases::{Extent, random};
use crate::trial::{Outcome, Subject, Tally};

/// Bytes that are looked at together: where all of them are zero, and those before, one bit stands for all.
const CHUNK_BYTES: usize = 64;
const BLANK_STEP: usize = 8;
/// Where the header of a journal file's first entry ends.
const FIRST_ENTRY_BYTES: usize = 4096 + 80;

/// The bits of a file that are tried: all where something was written, few in the blank rest.
fn bits_of(bytes: &[u8]) -> Vec<(u64, u8)> {
    let chunks: Vec<_> = bytes.chunks(CHUNK_BYTES).collect();
    let is_blank = |chunk: &[u8]| chunk.iter().all(|byte| *byte == 0);
    let mut bits = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let start = number * CHUNK_BYTES;
        let before = number.checked_sub(1).and_then(|it| chunks.get(it));
        if is_blank(chunk) && before.is_none_or(|it| is_blank(it)) {
            if number.is_multiple_of(BLANK_STEP) {
                bits.push((start as u64, (number / BLANK_STEP % 8) as u8));
            }
            continue;
        }
        let of_chunk = (start..start + chunk.len())
            .flat_map(|position| (0..8).map(move |bit| (position as u64, bit)));
        bits.extend(of_chunk);
    }
    bits
}

#[test]
fn a_flipped_bit_is_never_silent() {
    let subject = Subject::new();
    let (extent, mut random) = (Extent::asked(), random("flips"));
    let mut tally = Tally::default();
    for (path, bytes) in &subject.files {
        let bits = bits_of(bytes);
        let mut of_file = Tally::default();
        for (number, pick) in extent
            .pick(&mut random, bits.len(), 30)
            .into_iter()
            .enumerate()
        {
            let (position, bit) = bits[pick];
            let flip = |disk: &SimDisk| disk.flip_bit(Path::new(path), position, bit);
            let outcome = match subject.try_damage(number.is_multiple_of(5), flip) {
                Outcome::Shorter => Outcome::Wrong("shorter".to_owned()),
                outcome => outcome,
            };
            of_file.note(outcome.clone(), String::new);
            tally.note(outcome, || format!("{path} at {position}, bit {bit}"));
        }
        println!("{path}: {of_file}");
    }
    tally.conclude("flips");
}

#[test]
fn a_file_that_is_cut_is_never_silent() {
    let subject = Subject::new();
    let (extent, mut random) = (Extent::asked(), random("cuts"));
    let mut tally = Tally::default();
    for (path, bytes) in &subject.files {
        // Behind the last byte that is not zero a cut takes only blank space.
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |it| it + 1);
        let lengths = (written + 2 * CHUNK_BYTES).min(bytes.len());
        for (number, length) in extent
            .pick(&mut random, lengths, 20)
            .into_iter()
            .enumerate()
        {
            let cut = |disk: &SimDisk| {
                let file = disk.vfs().open(Path::new(path), OpenMode::Write)?;
                file.set_len(length as u64)
            };
            let outcome = match subject.try_cut(number.is_multiple_of(5), cut) {
                Outcome::FewerLost if bytes[length] == 0 => Outcome::FewerLost,
                Outcome::FewerLost => Outcome::Wrong("fewer lost".to_owned()),
                // Without the header of an entry it looks like a file that was made ready and not used.
                Outcome::Shorter
                    if length < FIRST_ENTRY_BYTES && path == subject.last_journal_file() =>
                {
                    Outcome::Shorter
                }
                Outcome::Shorter => Outcome::Wrong("shorter".to_owned()),
                outcome => outcome,
            };
            tally.note(outcome, || format!("{path} cut to {length}"));
        }
    }
    tally.conclude("cuts");
}

/// Where the frames of the segments begin, behind the first.
fn frame_starts(disk: &SimDisk) -> Vec<(String, u64)> {
    let (mut starts, mut segment) = (Vec::new(), String::new());
    Dump::new(disk.vfs()).run(&Selection::default(), &mut |item| {
        match item {
            Item::Segment { path, .. } => segment = path.display().to_string(),
            Item::Frame { position, .. } if *position > 4096 => {
                starts.push((segment.clone(), *position));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    starts
}

/// What the journal still holds is written again behind zeros then, which are no gap between runs.
#[test]
fn a_segment_that_is_cut_between_its_frames_is_read_behind_the_cut() {
    let subject = Subject::new();
    let mut tally = Tally::default();
    for (path, position) in frame_starts(&subject.golden.disk) {
        let cut = |disk: &SimDisk| {
            let file = disk.vfs().open(Path::new(&path), OpenMode::Write)?;
            file.set_len(position)
        };
        tally.note(subject.try_damage(true, cut), || {
            format!("{path} cut to {position}")
        });
    }
    tally.conclude("cuts between frames");
}
