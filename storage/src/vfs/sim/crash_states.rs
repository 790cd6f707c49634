//! All the disks that a restart may find after one crash, or a sample of them.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;

use super::SimDisk;
use super::crash::{LossMode, Plan};
use super::extents::pages_of;
use super::file::File;
use super::loss::{Filling, Lengths, Loss, Sectors, possible_lengths, sectors_of};
use super::names::{Names, NodeId};
use super::state::State;
use crate::environment::random::SplitMix;

/// One disk that a restart may find.
#[derive(Debug)]
pub struct CrashState {
    /// What survived.
    pub description: String,
    /// The disk.
    pub disk: SimDisk,
}

/// The disks that a restart may find after one crash; see [`SimDisk::crash_states`].
#[derive(Debug)]
pub struct CrashStates {
    kill: Option<SimDisk>,
    state: State,
    ways: Ways,
    seen: BTreeSet<u64>,
    /// Number of states still to be given; only a sample is bounded by it.
    left: usize,
}

#[derive(Debug)]
enum Ways {
    All {
        combinations: Combinations,
        next: u64,
    },
    Sample {
        characteristic: vec::IntoIter<Plan>,
        random: SplitMix,
        draws_left: usize,
    },
}

impl CrashStates {
    pub(super) fn new(state: State, limit: usize) -> Self {
        let combinations = Combinations::new(&state, limit);
        let ways = if combinations.count <= limit as u64 {
            Ways::All {
                combinations,
                next: 0,
            }
        } else {
            Ways::Sample {
                characteristic: characteristic(&state, limit).into_iter(),
                random: state.gate.random.clone(),
                // Draws that repeat a state are cheap beside what a caller does with a new one.
                draws_left: limit * 4,
            }
        };
        let kill = Some(SimDisk::from_state(state.after_kill()));
        Self {
            kill,
            state,
            ways,
            seen: BTreeSet::new(),
            left: limit,
        }
    }

    /// Whether every state is visited, rather than a sample.
    pub fn is_complete(&self) -> bool {
        matches!(self.ways, Ways::All { .. })
    }

    fn next_plan(&mut self) -> Option<Plan> {
        match &mut self.ways {
            Ways::All { combinations, next } => {
                let plan = combinations.plan(*next, &self.state)?;
                *next += 1;
                Some(plan)
            }
            Ways::Sample {
                characteristic,
                random,
                draws_left,
            } => {
                if let Some(plan) = characteristic.next() {
                    return Some(plan);
                }
                *draws_left = draws_left.checked_sub(1)?;
                let seed = random.next_u64();
                Some(Plan::of(LossMode::Mixed { seed }, &self.state))
            }
        }
    }
}

impl Iterator for CrashStates {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        if let Some(disk) = self.kill.take() {
            return Some(CrashState {
                description: "kill".to_owned(),
                disk,
            });
        }
        while self.left > 0 {
            let plan = self.next_plan()?;
            let crashed = plan.carry_out(&self.state);
            if self.seen.insert(crashed.content_hash()) {
                self.left -= 1;
                let description = plan.describe(&self.state);
                return Some(CrashState {
                    description,
                    disk: SimDisk::from_state(crashed),
                });
            }
        }
        None
    }
}

/// Every choice for the names combined with every choice for each file.
#[derive(Debug)]
struct Combinations {
    names: Vec<BTreeSet<usize>>,
    files: Vec<(NodeId, FileChoices)>,
    count: u64,
    sector_bytes: u64,
}

impl Combinations {
    /// Looks no further than `limit` for the names.
    fn new(state: &State, limit: usize) -> Self {
        let names = subsets(&state.volume.names, limit);
        let pending = state
            .volume
            .files()
            .filter(|(_, file)| !file.pending.is_empty());
        let files: Vec<_> = pending
            .map(|(id, file)| (id, FileChoices::new(file, state.sector_bytes)))
            .collect();
        let counts = files.iter().map(|(_, choices)| choices.count());
        let count = counts.fold(names.len() as u64, u64::saturating_mul);
        Self {
            names,
            files,
            count,
            sector_bytes: state.sector_bytes,
        }
    }

    /// The combination of a number, which is read as digits of mixed base.
    fn plan(&self, number: u64, state: &State) -> Option<Plan> {
        if number >= self.count {
            return None;
        }
        let mut digits = Digits { rest: number };
        let names = self.names[digits.take(self.names.len())].clone();
        let mut files = BTreeMap::new();
        for (id, choices) in &self.files {
            files.insert(*id, choices.loss(&mut digits, self.sector_bytes));
        }
        let title = format!("power loss {number} of {}", self.count);
        Some(Plan {
            files,
            ..Plan::new(title, names, state, |_| Loss::everything())
        })
    }
}

/// What can become of one file.
#[derive(Debug)]
struct FileChoices {
    lengths: Vec<Lengths>,
    /// For each sector the numbers of changes after which its versions end.
    versions: Vec<(u64, Vec<usize>)>,
    fillings: Vec<Filling>,
}

impl FileChoices {
    fn new(file: &File, sector_bytes: u64) -> Self {
        Self {
            lengths: possible_lengths(file),
            versions: versions(file, sector_bytes),
            fillings: fillings(file),
        }
    }

    fn count(&self) -> u64 {
        let versions = self.versions.iter().map(|(_, ends)| ends.len() as u64);
        let bases = [self.lengths.len() as u64, self.fillings.len() as u64];
        versions.chain(bases).fold(1, u64::saturating_mul)
    }

    fn loss(&self, digits: &mut Digits, sector_bytes: u64) -> Loss {
        let lengths = self.lengths[digits.take(self.lengths.len())];
        let filling = self.fillings[digits.take(self.fillings.len())];
        let choose = |(sector, ends): &(u64, Vec<usize>)| (*sector, ends[digits.take(ends.len())]);
        let sectors = Sectors::Listed(self.versions.iter().map(choose).collect());
        Loss {
            lengths,
            sectors,
            filling,
            sector_bytes,
        }
    }
}

fn versions(file: &File, sector_bytes: u64) -> Vec<(u64, Vec<usize>)> {
    let mut ends_by_sector: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for step in file.steps() {
        for sector in sectors_of(&step.bytes, sector_bytes) {
            ends_by_sector
                .entry(sector)
                .or_insert_with(|| vec![0])
                .push(step.index + 1);
        }
    }
    ends_by_sector.into_iter().collect()
}

/// Anything but zeros only where a write may have allocated blocks.
fn fillings(file: &File) -> Vec<Filling> {
    let allocates = file.steps().any(|step| {
        let written = step.pending.change.written();
        let pages = pages_of(written.start, written.end - written.start);
        // What is cut away and written again is allocated anew.
        step.cut.is_some() || file.durable.extents.missing(&pages) > 0
    });
    if allocates {
        vec![Filling::Zeros, Filling::Noise(NOISE_SEED), Filling::Stale]
    } else {
        vec![Filling::Zeros]
    }
}

/// The subsets of pending name changes that can survive, as many as `limit` and one more.
fn subsets(names: &Names, limit: usize) -> Vec<BTreeSet<usize>> {
    let mut subsets = vec![BTreeSet::new()];
    for index in 0..names.pending.len() {
        for place in 0..subsets.len() {
            if subsets.len() > limit {
                return subsets;
            }
            let mut larger = subsets[place].clone();
            larger.insert(index);
            if names.without_those_that_miss_some(&larger).len() == larger.len() {
                subsets.push(larger);
            }
        }
    }
    subsets
}

/// The power losses that break most programs, at most about half of `limit`.
fn characteristic(state: &State, limit: usize) -> Vec<Plan> {
    let mut plans: Vec<Plan> = [
        LossMode::Everything,
        LossMode::Nothing,
        LossMode::SizeFirst(Filling::Zeros),
        LossMode::SizeFirst(Filling::Noise(NOISE_SEED)),
        LossMode::SizeFirst(Filling::Stale),
    ]
    .map(|mode| Plan::of(mode, state))
    .into();
    let (names, files) = (&state.volume.names, &plans[1].files);
    let (all_names, all_bytes) = (plans[1].names.clone(), files.clone());
    let all_files: Vec<_> = files.keys().copied().collect();
    plans.push(Plan {
        title: "names lost, bytes kept".to_owned(),
        names: BTreeSet::new(),
        files: all_bytes.clone(),
    });
    for file in &all_files {
        let mut without = all_bytes.clone();
        without.remove(file);
        let only = [(*file, all_bytes[file].clone())].into();
        let path = state.volume.path_of(*file);
        let kept = |title, files| Plan {
            title,
            names: all_names.clone(),
            files,
        };
        plans.push(kept(format!("only {path} lost"), without));
        plans.push(kept(format!("only {path} kept"), only));
        for (title, sectors) in odd_sectors(state, *file) {
            let mut files = all_bytes.clone();
            files.entry(*file).and_modify(|loss| {
                *loss = Loss {
                    sectors,
                    sector_bytes: state.sector_bytes,
                    ..loss.clone()
                };
            });
            plans.push(kept(format!("of {path} {title}"), files));
        }
    }
    for index in 0..names.pending.len() {
        let mut without = all_names.clone();
        without.remove(&index);
        let without = names.without_those_that_miss_some(&without);
        let only = names.with_all_they_rest_on(&[index].into());
        let kept = |title, names| Plan {
            title,
            names,
            files: all_bytes.clone(),
        };
        plans.push(kept(format!("only name {index} lost"), without));
        plans.push(kept(format!("only name {index} kept"), only));
    }
    plans.truncate(limit.div_ceil(4).max(5));
    plans.extend(moments(state, limit.div_ceil(4)));
    plans
}

/// The first pending sector of a file lost alone, its last one, and its last one kept alone.
fn odd_sectors(state: &State, id: NodeId) -> Vec<(&'static str, Sectors)> {
    let Ok(file) = state.volume.file(id) else {
        return Vec::new();
    };
    let sectors = file
        .steps()
        .map(|step| sectors_of(&step.bytes, state.sector_bytes));
    let (mut first, mut end) = (u64::MAX, 0);
    for sectors in sectors.filter(|sectors| !sectors.is_empty()) {
        (first, end) = (first.min(sectors.start), end.max(sectors.end));
    }
    if first >= end {
        return Vec::new();
    }
    vec![
        ("the first sector lost", Sectors::Without { sector: first }),
        ("the last sector lost", Sectors::Without { sector: end - 1 }),
        (
            "only the last sector kept",
            Sectors::Only { sector: end - 1 },
        ),
    ]
}

/// The states of a disk that keeps everything in order up to some moment, and tears the write that
/// comes next; `count` moments spread over what is pending.
fn moments(state: &State, count: usize) -> Vec<Plan> {
    let names = &state.volume.names;
    let files = || state.volume.files().flat_map(|(_, file)| &file.pending);
    let mut stamps: Vec<u64> = names.pending.iter().map(|change| change.stamp).collect();
    stamps.extend(files().map(|pending| pending.stamp));
    stamps.sort_unstable();
    stamps.dedup();
    let step = stamps.len().div_ceil(count.max(1)).max(1);
    let mut random = SplitMix::new(0);
    let at = |stamp: u64| {
        let before = (0..names.pending.len()).filter(|index| names.pending[*index].stamp < stamp);
        Plan::new(
            format!("in order up to {stamp}"),
            before.collect(),
            state,
            |file| {
                let changes = file
                    .pending
                    .partition_point(|pending| pending.stamp < stamp);
                let next = file
                    .pending
                    .get(changes)
                    .filter(|pending| pending.stamp == stamp);
                let written = next.map_or(0..0, |pending| pending.change.written());
                let sectors = sectors_of(&written, state.sector_bytes);
                let torn = random.below(sectors.end - sectors.start + 1);
                Loss::prefix(changes, torn, state.sector_bytes)
            },
        )
    };
    stamps.into_iter().step_by(step).map(at).collect()
}

/// Digits of a number, lowest first, each of its own base.
struct Digits {
    rest: u64,
}

impl Digits {
    fn take(&mut self, base: usize) -> usize {
        let base = base as u64;
        let digit = self.rest % base;
        self.rest /= base;
        digit as usize
    }
}

const NOISE_SEED: u64 = 1;
