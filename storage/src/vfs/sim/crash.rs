//! What a crash leaves: one choice for the names and one for each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::file::File;
use super::image::Image;
use super::loss::{Filling, Loss};
use super::names::NodeId;
use super::state::State;
use super::volume::Volume;
use crate::environment::random::SplitMix;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// The process is killed: the page cache survives, and what was pending still is, so that a
    /// later power loss may take it.
    Kill,
    /// The machine loses power.
    PowerLoss(LossMode),
}

/// What a power loss takes of the changes that are pending, that is newer than the last sync of
/// their file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossMode {
    /// All of them.
    Everything,
    /// None of them.
    Nothing,
    /// Each file and folder keeps a prefix of its changes; the last write kept may be torn at a
    /// sector.
    Prefix {
        /// Draws the prefixes.
        seed: u64,
    },
    /// Each sector keeps or loses its writes by itself, each file a suffix of its lengths, each
    /// name its changes.
    Sectors {
        /// Draws what is lost.
        seed: u64,
    },
    /// Names and lengths survive, and no bytes; blocks that are new to a file show the filling.
    SizeFirst(Filling),
    /// For each file and for the names one of the other modes.
    Mixed {
        /// Draws the modes, and what each takes.
        seed: u64,
    },
}

/// What survives of all pending changes.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) title: String,
    /// Numbers of the pending name changes that survive, with all that they rest on.
    pub(super) names: BTreeSet<usize>,
    /// A file that is not listed keeps what is durable.
    pub(super) files: BTreeMap<NodeId, Loss>,
}

impl Plan {
    pub(super) fn of(mode: LossMode, state: &State) -> Self {
        let title = format!("{mode:?}");
        let sector_bytes = state.sector_bytes;
        let all_names = || (0..state.volume.names.pending.len()).collect();
        match mode {
            LossMode::Everything => {
                Self::new(title, BTreeSet::new(), state, |_| Loss::everything())
            }
            LossMode::Nothing => Self::new(title, all_names(), state, Loss::nothing),
            LossMode::SizeFirst(filling) => Self::new(title, all_names(), state, |file| {
                Loss::size_first(file, filling, sector_bytes)
            }),
            LossMode::Prefix { seed } => {
                let random = &mut SplitMix::new(seed);
                let names = prefix_of_names(state, random);
                Self::new(title, names, state, |file| {
                    random_prefix(file, random, sector_bytes)
                })
            }
            LossMode::Sectors { seed } => {
                let random = &mut SplitMix::new(seed);
                let names = some_names(state, random);
                Self::new(title, names, state, |file| {
                    Loss::random(file, random, sector_bytes)
                })
            }
            LossMode::Mixed { seed } => {
                let random = &mut SplitMix::new(seed);
                let names = match random.below(4) {
                    0 => BTreeSet::new(),
                    1 => all_names(),
                    2 => prefix_of_names(state, random),
                    _ => some_names(state, random),
                };
                Self::new(title, names, state, |file| {
                    mixed(file, random, sector_bytes)
                })
            }
        }
    }

    /// Chooses for each file that has something to lose.
    pub(super) fn new(
        title: String,
        names: BTreeSet<usize>,
        state: &State,
        mut choose: impl FnMut(&File) -> Loss,
    ) -> Self {
        let pending = state
            .volume
            .files()
            .filter(|(_, file)| !file.pending.is_empty());
        let files = pending.map(|(id, file)| (id, choose(file))).collect();
        Self {
            title,
            names,
            files,
        }
    }

    /// The disk after the power came back.
    pub(super) fn carry_out(&self, state: &State) -> State {
        let names = state.volume.names.apply(&self.names);
        let volume = state
            .volume
            .after_power_loss(&names, |id, file| match self.files.get(&id) {
                Some(loss) if loss.filling == Filling::Stale => {
                    loss.apply_over(file, stale_image(&state.volume, id))
                }
                Some(loss) => loss.apply(file),
                None => file.durable.clone(),
            });
        state.restarted(volume)
    }

    /// What survives, for a person.
    pub(super) fn describe(&self, state: &State) -> String {
        let mut text = self.title.clone();
        let names = &state.volume.names;
        if !names.pending.is_empty() {
            let kept: Vec<_> = self.names.iter().collect();
            write_to(
                &mut text,
                format_args!("; of {} names kept {kept:?}", names.pending.len()),
            );
        }
        for (id, loss) in &self.files {
            let path = state.volume.path_of(*id);
            write_to(&mut text, format_args!("; {path}: {loss}"));
        }
        text
    }
}

/// What freed blocks of the disk hold: the file made before this one, or else after it.
fn stale_image(volume: &Volume, id: NodeId) -> Option<&Image> {
    let has_bytes = |(_, file): &(NodeId, &File)| !file.durable.pages.is_blank();
    let before = volume
        .files()
        .filter(|(other, _)| *other < id)
        .filter(has_bytes)
        .last();
    let after = || {
        volume
            .files()
            .filter(|(other, _)| *other > id)
            .find(has_bytes)
    };
    before.or_else(after).map(|(_, file)| &file.durable)
}

fn random_prefix(file: &File, random: &mut SplitMix, sector_bytes: u64) -> Loss {
    let changes = random.below(file.pending.len() as u64 + 1) as usize;
    let torn = file
        .pending
        .get(changes)
        .map_or(0..0, |pending| pending.change.written());
    let sectors = (torn.end - torn.start).div_ceil(sector_bytes);
    Loss::prefix(changes, random.below(sectors + 1), sector_bytes)
}

fn mixed(file: &File, random: &mut SplitMix, sector_bytes: u64) -> Loss {
    match random.below(6) {
        0 => Loss::everything(),
        1 => Loss::nothing(file),
        2 => random_prefix(file, random, sector_bytes),
        3 => Loss::size_first(file, Filling::Noise(random.next_u64()), sector_bytes),
        _ => Loss::random(file, random, sector_bytes),
    }
}

/// Of each folder's changes a prefix.
fn prefix_of_names(state: &State, random: &mut SplitMix) -> BTreeSet<usize> {
    let names = &state.volume.names;
    let mut cut_by_folder: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for (index, change) in names.pending.iter().enumerate() {
        let is_kept = change.steps.iter().all(|((folder, _), _)| {
            let cut = *cut_by_folder
                .entry(*folder)
                .or_insert_with(|| random.below(names.pending.len() as u64 + 1));
            (index as u64) < cut
        });
        if is_kept {
            kept.insert(index);
        }
    }
    names.without_those_that_miss_some(&kept)
}

/// Any subset that can survive.
fn some_names(state: &State, random: &mut SplitMix) -> BTreeSet<usize> {
    let names = &state.volume.names;
    let some = (0..names.pending.len())
        .filter(|_| random.one_in(2))
        .collect();
    match random.below(2) {
        0 => names.with_all_they_rest_on(&some),
        _ => names.without_those_that_miss_some(&some),
    }
}

fn write_to(text: &mut String, part: std::fmt::Arguments<'_>) {
    #[expect(
        clippy::expect_used,
        reason = "a string takes whatever is written to it"
    )]
    text.write_fmt(part).expect("a string can be written to");
}
