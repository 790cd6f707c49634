//! What a power loss leaves of one file.
//!
//! Lengths and cuts reach the disk in order, as a journal of the file system keeps them: some
//! prefix of the pending changes is kept. Bytes reach it sector by sector in any order, but the
//! versions of one sector in theirs: each sector keeps some prefix of the writes to it. A sector is
//! never torn. The zeros behind a cut, in the block that it leaves in part, are bytes like those of
//! a write.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::ops::Range;

use super::extents::{Extents, pages_of};
use super::file::{File, Step};
use super::image::{Change, Image};
use super::pages::BLOCK;
use crate::environment::random::{SplitMix, mix};

/// What of a file's pending changes survives.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) lengths: Lengths,
    /// Whose bytes survive.
    pub(super) sectors: Sectors,
    /// What stands where a block was allocated and its bytes did not survive.
    pub(super) filling: Filling,
    pub(super) sector_bytes: u64,
}

/// Which lengths, cuts and allocations survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Number of first changes that do.
    pub(super) changes: usize,
    /// The length in the middle of the next change: a file system grows a file as it writes it
    /// back.
    pub(super) then: Option<u64>,
}

/// Which pending writes of each sector survive: those among the first so many changes.
#[derive(Debug, Clone)]
pub(super) enum Sectors {
    /// All sectors of the first changes, then some leading sectors of the next.
    Prefix { changes: usize, then_sectors: u64 },
    /// Drawn for each sector from a seed.
    Random { seed: u64 },
    /// Listed, ascending by sector; a sector that is not listed keeps nothing.
    Listed(Vec<(u64, usize)>),
    /// All sectors of all changes but one sector.
    Without { sector: u64 },
    /// The sectors of all changes only in one sector.
    Only { sector: u64 },
}

/// What a power loss shows in blocks that were allocated and not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// Zeros, as file systems show that journal their metadata after the data.
    Zeros,
    /// Noise from the seed.
    Noise(u64),
    /// What the same place of another file holds, as if its freed block had been used again.
    Stale,
}

impl Loss {
    /// Everything pending survives.
    pub(super) fn nothing(file: &File) -> Self {
        Self::prefix(file.pending.len(), 0, 1)
    }

    /// Nothing pending survives.
    pub(super) fn everything() -> Self {
        Self::prefix(0, 0, 1)
    }

    /// The first changes survive, and some leading sectors of the next, with its length if there
    /// are any.
    pub(super) fn prefix(changes: usize, then_sectors: u64, sector_bytes: u64) -> Self {
        Self {
            lengths: Lengths {
                changes: changes + usize::from(then_sectors > 0),
                then: None,
            },
            sectors: Sectors::Prefix {
                changes,
                then_sectors,
            },
            filling: Filling::Zeros,
            sector_bytes,
        }
    }

    /// All lengths survive and no bytes.
    pub(super) fn size_first(file: &File, filling: Filling, sector_bytes: u64) -> Self {
        Self {
            lengths: Lengths {
                changes: file.pending.len(),
                then: None,
            },
            sectors: Sectors::Prefix {
                changes: 0,
                then_sectors: 0,
            },
            filling,
            sector_bytes,
        }
    }

    /// Draws a number of lengths, and for each sector which of its writes survive.
    pub(super) fn random(file: &File, random: &mut SplitMix, sector_bytes: u64) -> Self {
        let all = Lengths {
            changes: file.pending.len(),
            then: None,
        };
        let lengths = match random.below(3) {
            0 => pick(&possible_lengths(file), random).unwrap_or(all),
            _ => all,
        };
        let filling = match random.below(4) {
            0 => Filling::Noise(random.next_u64()),
            1 => Filling::Stale,
            _ => Filling::Zeros,
        };
        Self {
            lengths,
            sectors: Sectors::Random {
                seed: random.next_u64(),
            },
            filling,
            sector_bytes,
        }
    }

    pub(super) fn lengths_kept(&self, file: &File) -> usize {
        self.lengths.changes.min(file.pending.len())
    }

    /// The file as it is after the power came back. Nothing is stale; see [`Self::apply_over`].
    pub(super) fn apply(&self, file: &File) -> Image {
        self.apply_over(file, None)
    }

    /// As [`Self::apply`]; stale blocks show what `stale` holds at their place.
    pub(super) fn apply_over(&self, file: &File, stale: Option<&Image>) -> Image {
        let mut image = file.durable.clone();
        let mut fresh = Fresh::new(self, file);
        // Where cuts that do not survive begin to free blocks: bytes written there later belong to
        // blocks that only the cut made new.
        let mut lost_cuts: Vec<u64> = Vec::new();
        for step in file.steps() {
            let is_length_kept = step.index < self.lengths.changes;
            let is_length_torn = step.index == self.lengths.changes && self.lengths.then.is_some();
            if is_length_kept || is_length_torn {
                fresh.note(&step, &image);
            } else {
                lost_cuts.extend(step.cut.map(|cut| cut.next_multiple_of(BLOCK)));
            }
            if let (true, Some(cut)) = (is_length_kept, step.cut) {
                image.cut_blocks(cut);
            }
            for part in self.surviving(&step, file.pending.len(), &lost_cuts) {
                fresh.mark_written(&part);
                step.pending.change.write(&mut image.pages, part);
            }
            if is_length_kept && step.cut.is_none() {
                image.apply_length(&step.pending.change);
            }
        }
        if let Some(length) = self.lengths.then {
            let grown = length.saturating_sub(image.length);
            image.extents.insert(pages_of(image.length, grown));
            image.length = image.length.max(length);
        }
        fresh.fill(&mut image, self.filling, stale);
        image
    }

    /// The parts of the bytes of one of `count` changes that survive.
    fn surviving(&self, step: &Step<'_>, count: usize, lost_cuts: &[u64]) -> Vec<Range<u64>> {
        let bytes = &step.bytes;
        if let Sectors::Prefix {
            changes,
            then_sectors,
        } = self.sectors
        {
            let end = match step.index {
                index if index < changes => bytes.end,
                index if index > changes || then_sectors == 0 => bytes.start,
                _ => ((bytes.start / self.sector_bytes + then_sectors) * self.sector_bytes)
                    .min(bytes.end),
            };
            return iter::once(bytes.start..end)
                .filter(|part| !part.is_empty())
                .collect();
        }
        sectors_of(bytes, self.sector_bytes)
            .filter(|sector| self.sectors.keeps(*sector, step.index, count))
            .map(|sector| part_in(sector, self.sector_bytes, bytes))
            .filter(|part| lost_cuts.iter().all(|cut| part.end <= *cut))
            .collect()
    }
}

/// The sectors of blocks that surviving writes allocated: where none of their bytes survived, a
/// reader sees the filling.
struct Fresh {
    /// Whether bytes of the sector survived; none where the filling is zeros, which needs no care.
    written_by_sector: Option<BTreeMap<u64, bool>>,
    /// Blocks that read as zeros until they are written.
    zeroed: Extents,
    sector_bytes: u64,
}

impl Fresh {
    fn new(loss: &Loss, file: &File) -> Self {
        Self {
            written_by_sector: (loss.filling != Filling::Zeros).then(BTreeMap::new),
            zeroed: file.durable.extents.clone(),
            sector_bytes: loss.sector_bytes,
        }
    }

    /// Notes a change whose length survives; `image` does not have it yet.
    fn note(&mut self, step: &Step<'_>, image: &Image) {
        let Some(sectors) = &mut self.written_by_sector else {
            return;
        };
        let change = &step.pending.change;
        if let Some(cut) = step.cut {
            sectors.split_off(&(cut.next_multiple_of(BLOCK) / self.sector_bytes));
            self.zeroed.cut(cut.div_ceil(BLOCK));
        }
        if let Change::Allocate { position, length } = change {
            for page in pages_of(*position, *length) {
                if !image.extents.contains(page) {
                    self.zeroed.insert(page..page + 1);
                }
            }
        }
        for sector in sectors_of(&change.written(), self.sector_bytes) {
            if !self.zeroed.contains(sector * self.sector_bytes / BLOCK) {
                sectors.entry(sector).or_insert(false);
            }
        }
    }

    fn mark_written(&mut self, part: &Range<u64>) {
        if let Some(sectors) = &mut self.written_by_sector {
            for sector in sectors_of(part, self.sector_bytes) {
                sectors.insert(sector, true);
            }
        }
    }

    fn fill(self, image: &mut Image, filling: Filling, stale: Option<&Image>) {
        let mut bytes = vec![0; self.sector_bytes as usize];
        for (sector, is_written) in self.written_by_sector.unwrap_or_default() {
            if is_written {
                continue;
            }
            let position = sector * self.sector_bytes;
            match (filling, stale) {
                (Filling::Noise(seed), _) => fill_noise(&mut bytes, mix(seed ^ sector)),
                (Filling::Stale, Some(stale)) => stale.pages.read(&mut bytes, position),
                (Filling::Stale, None) | (Filling::Zeros, _) => bytes.fill(0),
            }
            image.pages.write(&bytes, position);
        }
        image.pages.cut(image.length);
    }
}

impl Sectors {
    /// Whether the write of change `index` of `count` to a sector survives.
    fn keeps(&self, sector: u64, index: usize, count: usize) -> bool {
        match self {
            Self::Prefix { changes, .. } => index < *changes,
            Self::Random { seed } => {
                let mut random = SplitMix::new(mix(seed ^ mix(sector)));
                let kept = match random.below(3) {
                    0 => 0,
                    1 => count as u64,
                    _ => random.below(count as u64 + 1),
                };
                (index as u64) < kept
            }
            Self::Listed(list) => list
                .binary_search_by_key(&sector, |(listed, _)| *listed)
                .is_ok_and(|place| index < list[place].1),
            Self::Without { sector: lost } => sector != *lost,
            Self::Only { sector: kept } => sector == *kept,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lengths of {} changes", self.lengths.changes)?;
        if let Some(length) = self.lengths.then {
            write!(f, " and up to {length}")?;
        }
        f.write_str(", bytes ")?;
        match &self.sectors {
            Sectors::Prefix {
                changes,
                then_sectors: 0,
            } => write!(f, "of {changes}")?,
            Sectors::Prefix {
                changes,
                then_sectors,
            } => {
                write!(f, "of {changes} and {then_sectors} sectors more")?;
            }
            other => write!(f, "{other:?}")?,
        }
        match self.filling {
            Filling::Zeros => Ok(()),
            filling => write!(f, ", new blocks {filling:?}"),
        }
    }
}

/// The lengths that can survive: after each change that makes a difference, and in the middle of
/// one that extends the file.
pub(super) fn possible_lengths(file: &File) -> Vec<Lengths> {
    let mut possible = vec![Lengths {
        changes: 0,
        then: None,
    }];
    for step in file.steps() {
        for then in block_borders(step.before.max(step.pending.change.start()), step.after) {
            possible.push(Lengths {
                changes: step.index,
                then: Some(then),
            });
        }
        if step.after != step.before {
            possible.push(Lengths {
                changes: step.index + 1,
                then: None,
            });
        }
    }
    possible
}

/// The first, the middle and the last block border between two positions.
fn block_borders(start: u64, end: u64) -> Vec<u64> {
    let (first, last) = (start / BLOCK + 1, end.div_ceil(BLOCK).saturating_sub(1));
    let mut borders = match first.cmp(&last) {
        Ordering::Greater => Vec::new(),
        _ => vec![first, first.midpoint(last), last],
    };
    borders.dedup();
    borders.into_iter().map(|border| border * BLOCK).collect()
}

pub(super) fn pick<T: Copy>(some: &[T], random: &mut SplitMix) -> Option<T> {
    some.get(random.below(some.len() as u64) as usize).copied()
}

/// The sectors that bytes lie in.
pub(super) fn sectors_of(range: &Range<u64>, sector_bytes: u64) -> Range<u64> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / sector_bytes..range.end.div_ceil(sector_bytes)
}

/// The bytes of a range that lie in one of its sectors.
fn part_in(sector: u64, sector_bytes: u64, range: &Range<u64>) -> Range<u64> {
    (sector * sector_bytes).max(range.start)..((sector + 1) * sector_bytes).min(range.end)
}

fn fill_noise(bytes: &mut [u8], seed: u64) {
    let mut random = SplitMix::new(seed);
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&random.next_u64().to_le_bytes()[..part.len()]);
    }
}
