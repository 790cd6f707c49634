//! Telling what a data folder holds, for people who look into one that they cannot or will not start.
//!
//! Reads and never writes, takes no lock, and assumes nothing: what is damaged is told in its place, and
//! reading goes on behind it. Memory is bounded by the largest entry, block of rows or read window. A
//! folder that a broker is using can be read; what is being written may then look torn.
//!
//! ```
//! use std::ops::ControlFlow;
//! use towpath_storage::dump::{Dump, Selection};
//! # let disk = towpath_storage::vfs::sim::SimDisk::new(Default::default());
//! # let vfs = disk.vfs();
//! let mut text = String::new();
//! Dump::new(vfs).run(&Selection::default(), &mut |item| {
//!     text += &format!("{:width$}{item}\n", "", width = 2 * item.depth());
//!     ControlFlow::Continue(())
//! });
//! assert!(text.starts_with("folder path="));
//! ```

mod checkpoint;
mod index;
mod item;
mod journal;
mod run;
mod segment;
mod window;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use item::{Ending, Item, Value};
pub(crate) use journal::FileWalk;

use crate::environment::{Environment, SystemClock, SystemEntropy};
use crate::error::{Operation, StorageError, io_error};
use crate::folder::{self, CheckpointName};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::format_file::{FormatFile, FormatFileError};
use crate::ids::TopicId;
use crate::vfs::{DirEntry, EntryKind, OpenMode, Vfs, read_full_at};

/// What is to be told besides the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Checkpoints.
    pub checkpoints: bool,
    /// Runs of index rows.
    pub runs: bool,
    /// Journal files, their entries, and where the journal ends.
    pub journal: bool,
    /// Segments with their frames and index entries.
    pub segments: bool,
    /// The rows of checkpoints, runs and entries, with keys and values.
    pub rows: bool,
    /// What looks like entries of earlier lives behind the last entry of a journal file.
    pub stale: bool,
    /// Only the segments of this topic.
    pub topic: Option<TopicId>,
}

impl Default for Selection {
    /// Everything but rows and stale entries.
    fn default() -> Self {
        Self {
            checkpoints: true,
            runs: true,
            journal: true,
            segments: true,
            rows: false,
            stale: false,
            topic: None,
        }
    }
}

/// Whether to go on telling.
type Told<T = ()> = ControlFlow<(), T>;

/// A data folder that is only looked at.
#[derive(Debug)]
pub struct Dump {
    environment: Environment,
}

impl Dump {
    /// The folder at the root of a file system.
    pub fn new(vfs: Arc<dyn Vfs>) -> Self {
        // Neither time nor randomness is asked for by anything that reads.
        let environment = Environment {
            vfs,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        Self { environment }
    }

    /// Tells one item after the other, in the order of the files, until `tell` breaks off.
    ///
    /// Never fails: a file that cannot be read is told as [`Item::Trouble`].
    pub fn run(&self, selection: &Selection, tell: &mut dyn FnMut(&Item) -> ControlFlow<()>) {
        let mut walk = Walk {
            environment: &self.environment,
            selection: *selection,
            tell,
        };
        // Broken off or finished: there is nothing to add.
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = walk.folder();
    }
}

/// One walk through the folder.
struct Walk<'a> {
    environment: &'a Environment,
    selection: Selection,
    tell: &'a mut dyn FnMut(&Item) -> ControlFlow<()>,
}

impl Walk<'_> {
    fn folder(&mut self) -> Told {
        let item = self.describe_folder();
        self.tell(&item)?;
        self.unknown_names("", |name| {
            use folder::{
                CHECKPOINT, FORMAT, INDEX, INITIALIZING, JOURNAL, LOCK, LOST_AND_FOUND, QUARANTINE,
                TOPICS,
            };
            [
                CHECKPOINT,
                LOST_AND_FOUND,
                FORMAT,
                INDEX,
                INITIALIZING,
                JOURNAL,
                LOCK,
                QUARANTINE,
                TOPICS,
            ]
            .contains(&name)
        })?;
        self.quarantine()?;
        let newest = self.checkpoints()?;
        if self.selection.runs {
            self.runs(newest.as_ref().map(|(name, _)| *name))?;
        }
        let newest = newest.map(|(_, footer)| footer);
        if self.selection.journal {
            self.journal(newest.as_ref())?;
        }
        if self.selection.segments {
            self.topics()?;
        }
        Told::Continue(())
    }

    fn describe_folder(&self) -> Item {
        let vfs = &self.environment.vfs;
        let (broker_id, trouble) = match self.format_file() {
            Ok(Some(Ok(FormatFile { broker_id, .. }))) => (Some(broker_id), None),
            Ok(Some(Err(FormatFileError::Newer { found }))) => {
                let what = format!("the format {found} is newer than this release");
                (None, Some(what))
            }
            Ok(Some(Err(FormatFileError::Damaged))) => {
                (None, Some("the FORMAT file is damaged".to_owned()))
            }
            Ok(None) => (None, Some("there is no FORMAT file".to_owned())),
            Err(error) => (None, Some(told(&error))),
        };
        Item::Folder {
            path: vfs.describe(Path::new("")),
            broker_id,
            user_pid: vfs.lock_holder(Path::new(folder::LOCK)).ok().flatten(),
            trouble,
        }
    }

    fn format_file(&self) -> Result<Option<Result<FormatFile, FormatFileError>>, StorageError> {
        let path = Path::new(folder::FORMAT);
        let file = match self.environment.vfs.open(path, OpenMode::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io_error(Operation::Open, path))?,
        };
        let mut bytes = vec![0; 4096];
        let count = read_full_at(&*file, &mut bytes, 0).map_err(io_error(Operation::Read, path))?;
        Ok(Some(FormatFile::decode(
            bytes.get(..count).unwrap_or_default(),
        )))
    }

    fn quarantine(&mut self) -> Told {
        for entry in self.list(Path::new(folder::QUARANTINE))? {
            let path = Path::new(folder::QUARANTINE).join(&entry.name);
            let bytes = self.attempt(self.length(&path))?;
            self.tell(&Item::Quarantined { path, bytes })?;
        }
        Told::Continue(())
    }

    /// Tells the checkpoints; returns name and footer of the newest that is intact.
    fn checkpoints(&mut self) -> Told<Option<(CheckpointName, CheckpointFooter)>> {
        self.unknown_names(folder::CHECKPOINT, |name| {
            folder::parse_checkpoint_file(name).is_some() || folder::is_temporary(name)
        })?;
        let mut newest = None;
        let names = self.attempt(crate::checkpoint::list(self.environment))?;
        for name in names.unwrap_or_default() {
            let footer = self.checkpoint(name)?;
            newest = footer.map(|footer| (name, footer)).or(newest);
        }
        Told::Continue(newest)
    }

    fn tell(&mut self, item: &Item) -> Told {
        (self.tell)(item)
    }

    fn trouble(&mut self, path: &Path, position: u64, what: impl Into<String>) -> Told {
        self.tell(&Item::Trouble {
            path: path.to_owned(),
            position,
            what: what.into(),
        })
    }

    /// The result, or none after telling why there is none.
    fn attempt<T>(&mut self, result: Result<T, StorageError>) -> Told<Option<T>> {
        let (path, position, what) = match result {
            Ok(value) => return Told::Continue(Some(value)),
            Err(StorageError::Corrupt(found)) => (found.path, found.position, found.what),
            Err(ref error @ StorageError::Io { ref path, .. }) => (path.clone(), 0, told(error)),
            Err(error @ StorageError::Poisoned) => (PathBuf::new(), 0, told(&error)),
        };
        self.trouble(&path, position, what)?;
        Told::Continue(None)
    }

    /// The names in a folder; none if there is no such folder.
    fn list(&mut self, dir: &Path) -> Told<Vec<DirEntry>> {
        let listed = match self.environment.vfs.list(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(io_error(Operation::List, dir)),
        };
        let listed = self.attempt(listed)?;
        Told::Continue(listed.unwrap_or_default())
    }

    fn unknown_names(&mut self, dir: &str, is_known: impl Fn(&str) -> bool) -> Told {
        for entry in self.list(Path::new(dir))? {
            if !is_known(&entry.name) {
                let path = Path::new(dir).join(&entry.name);
                self.tell(&Item::Unknown { path })?;
            }
        }
        Told::Continue(())
    }

    fn length(&self, path: &Path) -> Result<u64, StorageError> {
        let opened = self.environment.vfs.open(path, OpenMode::Read);
        let file = opened.map_err(io_error(Operation::Open, path))?;
        file.len().map_err(io_error(Operation::Read, path))
    }
}

fn is_dir(entry: &DirEntry) -> bool {
    entry.kind == EntryKind::Dir
}

/// An error with its cause, on one line.
fn told(error: &StorageError) -> String {
    match error {
        StorageError::Io { source, .. } => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
