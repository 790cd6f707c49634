//! Checking a whole data folder that no broker uses: every byte that means something, against its checksum
//! and against what else is said of it.
//!
//! Reads as recovery and readers do, so that what it calls lost is what they would call lost; writes
//! nothing, and takes no lock. Who understands the rows, the broker, says which partitions there are.

mod checkpoints;
mod finding;
mod journal;
mod runs;
mod segments;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub use finding::{Effect, Finding};

use crate::environment::{Environment, SystemClock, SystemEntropy};
use crate::error::{OpenError, StorageError};
use crate::folder;
use crate::ids::{BrokerId, PartitionRef};
use crate::partition_log::PartitionBounds;
use crate::recovery::{StateMachine, is_initialized, read_format};
use crate::scrub_progress::{ScrubFile, read_scrub_file};
use crate::vfs::Vfs;

/// A state that says which partitions there are.
pub trait VerifiedState: StateMachine {
    /// All partitions as the rows and appends that were applied have them.
    fn partitions(&self) -> Vec<(PartitionRef, PartitionBounds)>;
}

/// What is told while a folder is checked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Told<'a> {
    /// Something that is not as it should be.
    Finding(&'a Finding),
    /// So much more was checked.
    Checked {
        /// Bytes since the last time.
        bytes: u64,
        /// Records among them.
        record_count: u64,
    },
}

/// What was checked, in sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were checked.
    pub file_count: u64,
    /// Bytes that were checked.
    pub byte_count: u64,
    /// Records that can be read.
    pub record_count: u64,
    /// Records that are lost.
    pub lost_record_count: u64,
    /// Findings that cost nothing.
    pub harmless_count: u64,
    /// All findings.
    pub finding_count: u64,
    /// Whether the broker would refuse to start.
    pub is_refused: bool,
}

/// Whether to go on.
type Flow<T = ()> = ControlFlow<(), T>;

/// Checks a data folder.
///
/// `tell` may break off; then the summary is of what was checked until then.
///
/// # Errors
/// [`OpenError`]: this is no data folder of this or an older release, or it is in use.
pub fn verify(
    vfs: Arc<dyn Vfs>,
    state: &mut dyn VerifiedState,
    tell: &mut dyn FnMut(Told<'_>) -> ControlFlow<()>,
) -> Result<Summary, OpenError> {
    // Neither time nor randomness is asked for by anything that reads.
    let environment = Environment {
        vfs,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let broker_id = check_folder(&environment)?;
    let mut verification = Verification {
        environment: &environment,
        broker_id,
        tell,
        summary: Summary::default(),
    };
    // Broken off or finished: the summary says what was checked.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = verification.run(state);
    Ok(verification.summary)
}

/// Returns the identity of a folder that can be checked.
pub(crate) fn check_folder(environment: &Environment) -> Result<BrokerId, OpenError> {
    let not_usable = |what: &str| OpenError::NotUsable {
        path: environment.vfs.describe(Path::new("")),
        what: what.to_owned(),
    };
    let format = read_format(environment)?;
    if !is_initialized(environment)? {
        return Err(not_usable("it is no data folder"));
    }
    let user = environment.vfs.lock_holder(Path::new(folder::LOCK));
    if let Ok(Some(pid)) = user {
        return Err(OpenError::Locked {
            path: environment.vfs.describe(Path::new("")),
            pid: (pid > 0).then_some(pid),
        });
    }
    let format = format.ok_or_else(|| not_usable("there is no FORMAT file"))?;
    Ok(format.broker_id)
}

struct Verification<'a> {
    environment: &'a Environment,
    broker_id: BrokerId,
    tell: &'a mut dyn FnMut(Told<'_>) -> ControlFlow<()>,
    summary: Summary,
}

impl Verification<'_> {
    fn run(&mut self, state: &mut dyn VerifiedState) -> Flow {
        self.scrub_file()?;
        let loaded = self.checkpoints(state)?;
        let Some(loaded) = loaded else {
            return Flow::Continue(());
        };
        self.runs(&loaded.runs)?;
        let settled = state.partitions();
        let journaled = self.journal(&loaded.footer, state)?;
        self.partitions(&settled, &state.partitions(), &journaled)
    }

    /// Checks what is known of how far all of this was read.
    fn scrub_file(&mut self) -> Flow {
        let why = "everything is read once more";
        let read = read_scrub_file(&*self.environment.vfs, self.broker_id);
        match self.attempt(read, Effect::Harmless { why })? {
            Some(ScrubFile::Whole(_)) => self.note_file(0),
            Some(ScrubFile::Damaged) => {
                let what = "it does not match its checksum, or is that of another folder";
                let effect = Effect::Harmless { why };
                self.find(Finding::new(Path::new(folder::SCRUB), what, effect))
            }
            Some(ScrubFile::Missing) | None => Flow::Continue(()),
        }
    }

    fn find(&mut self, finding: Finding) -> Flow {
        self.summary.finding_count += 1;
        match &finding.effect {
            Effect::Harmless { .. } => self.summary.harmless_count += 1,
            Effect::Lost { range, .. } => {
                self.summary.lost_record_count += range.end.get() - range.start.get();
            }
            Effect::IndexRows => {}
            Effect::Refused => self.summary.is_refused = true,
        }
        (self.tell)(Told::Finding(&finding))
    }

    fn note_file(&mut self, bytes: u64) -> Flow {
        self.summary.file_count += 1;
        self.note_bytes(bytes)
    }

    fn note_bytes(&mut self, bytes: u64) -> Flow {
        self.note_records(bytes, 0)
    }

    fn note_records(&mut self, bytes: u64, record_count: u64) -> Flow {
        self.summary.byte_count += bytes;
        self.summary.record_count += record_count;
        (self.tell)(Told::Checked {
            bytes,
            record_count,
        })
    }

    /// The result; none after telling what is wrong, which has this effect.
    fn attempt<T>(&mut self, result: Result<T, StorageError>, effect: Effect) -> Flow<Option<T>> {
        match result {
            Ok(value) => Flow::Continue(Some(value)),
            Err(error) => {
                self.find(Finding::of_error(&error, effect))?;
                Flow::Continue(None)
            }
        }
    }
}
