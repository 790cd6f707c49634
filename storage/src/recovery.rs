//! Opening a data folder: newest checkpoint, replay of the journal behind it, a new checkpoint, and
//! only then service.
//!
//! Everything that replay found is made durable again before anyone sees it, so nothing is ever
//! served or acknowledged that is only in the page cache. No journal file is appended to after it was
//! read. A crash at any point of recovery leaves a folder that the next recovery opens the same way.

mod initialize;
mod progress;
mod quarantine;
mod referenced;
mod replay;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

pub(crate) use initialize::is_initialized;
pub(crate) use replay::{damage_of, missing_file};

use crate::checkpoint::{self, CheckpointInput, CheckpointReader, Checkpointer};
use crate::environment::Environment;
use crate::error::{Corruption, DataLoss, OpenError, Operation, StorageError, io_error};
use crate::folder::{self, CheckpointName};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::DirectoryLine;
use crate::format::format_file::{FormatFile, FormatFileError};
use crate::format::row::Row;
use crate::format::run_row::{RUN_TABLE, RunRow};
use crate::ids::{BrokerId, Lsn};
use crate::journal::{Journal, JournalFiles, JournalPosition};
use crate::log_reader::LogReader;
use crate::runs::{IndexOptions, IndexStore, RunKeeper};
use crate::segment_files::SegmentFiles;
use crate::settle::{DirtySegments, Settler};
use crate::vfs::{LockError, LockGuard, OpenMode, read_full_at};
use progress::Progress;
use replay::Replay;

/// Size of a journal file, unless the disk is small.
const JOURNAL_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const JOURNAL_FILE_BYTES_MIN: u64 = 1024 * 1024;

/// Choices that do not change what is on disk means.
#[derive(Debug, Clone)]
pub struct StorageOptions {
    /// Size of a journal file, bytes; none for 1/16 of the disk, between 1 and 64 MiB.
    pub journal_file_bytes: Option<u64>,
    /// Segment files kept open.
    pub open_file_count_max: usize,
    /// Segments with unsynced writes that may wait for the next checkpoint; each pins two descriptors.
    pub dirty_segment_count_max: usize,
    /// The same during recovery, when nothing else needs descriptors: the more there may be, the fewer
    /// segments are synced more than once.
    pub recovery_dirty_segment_count_max: usize,
    /// How indexes are kept.
    pub index: IndexOptions,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            journal_file_bytes: None,
            open_file_count_max: 256,
            dirty_segment_count_max: 256,
            recovery_dirty_segment_count_max: 256,
            index: IndexOptions::default(),
        }
    }
}

/// The state that rows and appends add up to. Implemented by the broker's core. Index rows of the
/// checkpoint are in runs and not given to it; those of replayed entries are, and come back as changed.
pub trait StateMachine {
    /// Takes a row as it is now: from the checkpoint, or changed by the entry that is being replayed.
    fn apply_row(&mut self, row: Row);

    /// Takes the effect of one append on its partition and its producer.
    fn apply_append(&mut self, line: &DirectoryLine);

    /// All rows that changed since the checkpoint was loaded, as they are now.
    fn take_changed(&mut self) -> Vec<Row>;

    /// Called between the rows of the checkpoint and the first replayed entry.
    fn checkpoint_loaded(&mut self);
}

/// What recovery found and did.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// Whether the folder was created.
    pub is_new: bool,
    /// Entries replayed from the journal.
    pub entry_count: u64,
    /// Frames written again to their segments.
    pub frame_count: u64,
    /// Records that were acknowledged and are lost to damage.
    pub losses: Vec<DataLoss>,
    /// Bytes behind the last entry that were set aside.
    pub quarantined_bytes: u64,
}

/// An open data folder, in the parts that its threads own.
#[derive(Debug)]
pub struct Storage {
    /// For the sequencer.
    pub journal: Journal,
    /// For whoever prepares journal files.
    pub journal_files: JournalFiles,
    /// For the settle thread.
    pub settler: Settler,
    /// For the maintenance thread.
    pub checkpointer: Checkpointer,
    /// For the maintenance thread.
    pub dirty: Arc<DirtySegments>,
    /// For the read pool.
    pub reader: LogReader,
    /// Shared.
    pub files: Arc<SegmentFiles>,
    /// Shared: index rows.
    pub index: Arc<IndexStore>,
    /// Identity of the folder.
    pub broker_id: BrokerId,
    /// The life of the data that began with this start.
    pub incarnation: u64,
    /// Last entry.
    pub lsn: Lsn,
    /// Broker time of the last entry, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What recovery found and did.
    pub report: RecoveryReport,
    /// Keeps others out of the folder.
    pub lock: Box<dyn LockGuard>,
}

impl Storage {
    /// Opens a data folder, or makes one where there is none, and brings `state` to the last entry.
    ///
    /// # Errors
    /// [`OpenError`]; the folder can be opened again, by this or by an older release if the error is
    /// [`OpenError::NewerFormat`], which leaves every byte as it was.
    pub fn open(
        environment: &Environment,
        options: &StorageOptions,
        state: &mut dyn StateMachine,
    ) -> Result<Self, OpenError> {
        Self::open_accepting(environment, options, state, None)
    }

    /// As [`Storage::open`]; if the journal is damaged behind the entry `accepted`, it ends there, and what
    /// follows is kept aside and lost.
    ///
    /// # Errors
    /// As [`Storage::open`], also if the journal is damaged behind another entry.
    pub(crate) fn open_accepting(
        environment: &Environment,
        options: &StorageOptions,
        state: &mut dyn StateMachine,
        accepted: Option<Lsn>,
    ) -> Result<Self, OpenError> {
        check_usable(environment)?;
        let lock = lock(environment)?;
        let is_new = !is_initialized(environment)?;
        let file_bytes = journal_file_bytes(environment, options)?;
        match is_new {
            true => initialize::initialize(environment, file_bytes)?,
            false => initialize::remove_marker(environment)?,
        }
        let format =
            read_format(environment)?.ok_or_else(|| not_usable(environment, "no FORMAT"))?;
        initialize::upgrade(environment, format)?;
        remove_temporary_files(environment)?;
        let mut recovery = Recovery::begin(environment, options, format.broker_id, file_bytes)?;
        let loaded = recovery.load_checkpoint(state)?;
        let runs = recovery.open_runs(&options.index, &loaded)?;
        let replayed = recovery.replay(&loaded.footer, state, accepted)?;
        let mut storage = recovery.finish(&loaded.footer, replayed, runs, state, lock)?;
        storage.report.is_new = is_new;
        Ok(storage)
    }
}

struct Recovery<'a> {
    environment: &'a Environment,
    broker_id: BrokerId,
    files: Arc<SegmentFiles>,
    dirty: Arc<DirtySegments>,
    settler: Settler,
    journal_files: JournalFiles,
    newest: Option<CheckpointName>,
    /// What the settler keeps to when recovery is over.
    dirty_count_max: usize,
    progress: Progress,
}

/// What a checkpoint says beside the rows of the state.
pub(crate) struct Loaded {
    pub(crate) footer: CheckpointFooter,
    pub(crate) runs: Vec<RunRow>,
}

struct Replayed {
    lsn: Lsn,
    time_ms: i64,
    /// Number of the journal file in which the journal ends; those behind it hold no entry.
    last_file: u64,
    report: RecoveryReport,
    /// Whether what had been durable behind the last entry is given up.
    is_cut: bool,
}

impl<'a> Recovery<'a> {
    fn begin(
        environment: &'a Environment,
        options: &StorageOptions,
        broker_id: BrokerId,
        file_bytes: u64,
    ) -> Result<Self, StorageError> {
        let count_max = options.open_file_count_max;
        let files = Arc::new(SegmentFiles::open(
            environment.clone(),
            broker_id,
            count_max,
        )?);
        let dirty = Arc::new(DirtySegments::default());
        let settler = Settler::new(
            Arc::clone(&files),
            Arc::clone(&dirty),
            options.recovery_dirty_segment_count_max,
        );
        let journal_files = JournalFiles::open(environment.clone(), broker_id, file_bytes)?;
        Ok(Self {
            environment,
            broker_id,
            files,
            dirty,
            settler,
            journal_files,
            newest: None,
            dirty_count_max: options.dirty_segment_count_max,
            progress: Progress::new(environment),
        })
    }

    /// Loads the newest checkpoint that is whole.
    fn load_checkpoint(&mut self, state: &mut dyn StateMachine) -> Result<Loaded, OpenError> {
        let newest = newest_intact(self.environment, self.broker_id, |corruption| {
            tracing::error!(%corruption, "checkpoint is damaged, trying an older one");
        });
        let Some(newest) = newest? else {
            return Err(not_usable(self.environment, "no checkpoint is intact"));
        };
        let loaded = load_rows(self.environment, newest, state)?;
        self.newest = Some(newest);
        Ok(loaded)
    }

    /// Opens the runs that the checkpoint names, and removes those that no checkpoint can name.
    fn open_runs(
        &self,
        options: &IndexOptions,
        loaded: &Loaded,
    ) -> Result<RunKeeper, StorageError> {
        let mut runs = RunKeeper::open(self.environment, self.broker_id, options, &loaded.runs)?;
        runs.doubt_unnamed()?;
        // Another checkpoint may be needed until both copies of a newer one are written. Else what an
        // attempt left goes now, as there may be no room for another attempt.
        if runs.has_doubtful() && self.do_all_name(&loaded.runs)? {
            runs.remove_unneeded();
        }
        Ok(runs)
    }

    /// Whether each checkpoint in the folder is intact and names these runs.
    fn do_all_name(&self, runs: &[RunRow]) -> Result<bool, StorageError> {
        for name in checkpoint::list(self.environment)? {
            match checkpoint::named_runs(self.environment, name) {
                Ok(named) if named == runs => {}
                Ok(_) | Err(StorageError::Corrupt(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn replay(
        &mut self,
        footer: &CheckpointFooter,
        state: &mut dyn StateMachine,
        accepted: Option<Lsn>,
    ) -> Result<Replayed, OpenError> {
        // The name of a newer checkpoint that is damaged still says what had been durable.
        let named = checkpoint::named_durable(self.environment)?;
        let replay = Replay {
            environment: self.environment,
            files: &self.files,
            settler: &mut self.settler,
            state,
            named_durable: named,
            report: RecoveryReport::default(),
            unsettled: replay::Unsettled::default(),
            progress: &mut self.progress,
            accepted,
        };
        replay.run(self.broker_id, footer)
    }

    /// Makes durable what was replayed, under a new incarnation and with a new journal file.
    fn finish(
        mut self,
        footer: &CheckpointFooter,
        replayed: Replayed,
        runs: RunKeeper,
        state: &mut dyn StateMachine,
        lock: Box<dyn LockGuard>,
    ) -> Result<Storage, OpenError> {
        // DURABILITY: segments, then the new journal file, then the checkpoint that names it; only
        // after its second copy is the old journal free.
        self.dirty.sync_and_tell(&self.files, |done, count| {
            self.progress.tell_synced(done, count);
        })?;
        self.settler.set_dirty_count_max(self.dirty_count_max);
        // What is given up stays as it is until a checkpoint says so: it is the evidence that it was there.
        match replayed.is_cut {
            true => self.journal_files.end_with(replayed.lsn),
            false => self
                .journal_files
                .spare_behind(replayed.last_file, replayed.lsn),
        }
        // What was replayed is said to have been durable by the checkpoint alone: of a torn tail that was seen
        // now, less may be there after the next crash.
        let first = self.journal_files.prepare(0, Lsn::ZERO)?;
        let continuation = JournalPosition {
            file: first.number(),
            position: crate::format::journal_header::JOURNAL_HEADER_BYTES as u64,
        };
        // Also above that of a checkpoint that is damaged: clients may have seen it.
        let names = checkpoint::list(self.environment)?;
        let seen = names.iter().map(|name| name.incarnation).max();
        let incarnation = footer.incarnation.max(seen.unwrap_or_default()) + 1;
        let index = Arc::clone(runs.store());
        let mut checkpointer = Checkpointer::new(
            self.environment.clone(),
            self.broker_id,
            incarnation,
            self.newest,
            runs,
        );
        let mut input = CheckpointInput {
            lsn: replayed.lsn,
            continuation,
            time_ms: replayed.time_ms,
            changed: state.take_changed(),
        };
        checkpointer.write(&mut input)?;
        if replayed.is_cut {
            // Until their names are gone, they say that more had been durable, and the start is refused.
            crate::repair::set_checkpoints_aside(self.environment, replayed.lsn)?;
        }
        self.journal_files.free_before(continuation.file)?;
        Ok(Storage {
            journal: Journal::new(Arc::clone(&self.files), first, replayed.lsn),
            journal_files: self.journal_files,
            settler: self.settler,
            checkpointer,
            dirty: self.dirty,
            reader: LogReader::new(Arc::clone(&self.files)),
            files: self.files,
            index,
            broker_id: self.broker_id,
            incarnation,
            lsn: replayed.lsn,
            time_ms: replayed.time_ms,
            report: replayed.report,
            lock,
        })
    }
}

/// Gives the state its rows from a checkpoint that is whole.
pub(crate) fn load_rows(
    environment: &Environment,
    name: CheckpointName,
    state: &mut (impl StateMachine + ?Sized),
) -> Result<Loaded, StorageError> {
    let mut reader = CheckpointReader::open(environment, name)?;
    let mut runs = Vec::new();
    while let Some(row) = reader.next_row()? {
        if row.key.table == RUN_TABLE {
            let run = RunRow::from_row(&row);
            runs.push(run.ok_or_else(|| reader.corrupt("a row that names a run is malformed"))?);
        } else {
            state.apply_row(row);
        }
    }
    state.checkpoint_loaded();
    Ok(Loaded {
        footer: *reader.footer(),
        runs,
    })
}

/// The newest checkpoint that is whole, of which those that are newer and damaged are told.
pub(crate) fn newest_intact(
    environment: &Environment,
    broker_id: BrokerId,
    mut damaged: impl FnMut(Corruption),
) -> Result<Option<CheckpointName>, StorageError> {
    for name in checkpoint::list(environment)?.into_iter().rev() {
        match check_checkpoint(environment, name, broker_id) {
            Ok(()) => return Ok(Some(name)),
            Err(StorageError::Corrupt(corruption)) => damaged(corruption),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Reads a whole checkpoint without using it.
pub(crate) fn check_checkpoint(
    environment: &Environment,
    name: CheckpointName,
    broker_id: BrokerId,
) -> Result<(), StorageError> {
    let mut reader = CheckpointReader::open(environment, name)?;
    if reader.footer().broker_id != broker_id {
        return Err(Corruption {
            path: folder::checkpoint_file(name),
            position: 0,
            what: "the checkpoint belongs to another data folder".to_owned(),
        }
        .into());
    }
    while reader.next_row()?.is_some() {}
    Ok(())
}

fn not_usable(environment: &Environment, what: &str) -> OpenError {
    OpenError::NotUsable {
        path: environment.vfs.describe(Path::new("")),
        what: what.to_owned(),
    }
}

/// Refuses a folder before anything in it is touched, the lock file included.
fn check_usable(environment: &Environment) -> Result<(), OpenError> {
    read_format(environment)?;
    is_initialized(environment).map(drop)
}

/// The format file; `None` if there is none.
pub(crate) fn read_format(environment: &Environment) -> Result<Option<FormatFile>, OpenError> {
    let path = Path::new(folder::FORMAT);
    let file = match environment.vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(Operation::Open, path)(source).into()),
    };
    let mut bytes = vec![0; 4096];
    let count = read_full_at(&*file, &mut bytes, 0).map_err(io_error(Operation::Read, path))?;
    match FormatFile::decode(bytes.get(..count).unwrap_or_default()) {
        Ok(format) => Ok(Some(format)),
        Err(FormatFileError::Newer { found }) => Err(OpenError::NewerFormat {
            found,
            supported: crate::format::FORMAT_VERSION,
        }),
        Err(FormatFileError::Damaged) => Err(not_usable(environment, "the file FORMAT is damaged")),
    }
}

fn lock(environment: &Environment) -> Result<Box<dyn LockGuard>, OpenError> {
    let path = Path::new(folder::LOCK);
    environment.vfs.lock(path).map_err(|error| match error {
        LockError::Held { pid } => OpenError::Locked {
            path: environment.vfs.describe(Path::new("")),
            pid,
        },
        LockError::Io(source) => io_error(Operation::Open, path)(source).into(),
    })
}

fn journal_file_bytes(
    environment: &Environment,
    options: &StorageOptions,
) -> Result<u64, StorageError> {
    if let Some(bytes) = options.journal_file_bytes {
        return Ok(crate::format::align_block(bytes));
    }
    let space = environment
        .vfs
        .space()
        .map_err(io_error(Operation::Read, ""))?;
    let share = space.total_bytes / 16;
    Ok(crate::format::align_block(
        share.clamp(JOURNAL_FILE_BYTES_MIN, JOURNAL_FILE_BYTES_MAX),
    ))
}

/// Removes what writers left when they were interrupted before the rename that would have counted.
fn remove_temporary_files(environment: &Environment) -> Result<(), StorageError> {
    for dir in ["", folder::CHECKPOINT, folder::INDEX] {
        let entries = match environment.vfs.list(Path::new(dir)) {
            // There are no runs yet.
            Err(error) if dir == folder::INDEX && error.kind() == ErrorKind::NotFound => continue,
            listed => listed.map_err(io_error(Operation::List, dir))?,
        };
        for entry in entries {
            if folder::is_temporary(&entry.name) {
                let path = Path::new(dir).join(&entry.name);
                environment
                    .vfs
                    .unlink(&path)
                    .map_err(io_error(Operation::Unlink, path))?;
            } else if dir.is_empty() && !is_known(&entry.name) {
                tracing::warn!(
                    name = entry.name,
                    "unknown name in the data folder left alone"
                );
            }
        }
    }
    Ok(())
}

fn is_known(name: &str) -> bool {
    use folder::{
        CHECKPOINT, FORMAT, INDEX, INITIALIZING, JOURNAL, LOCK, LOST_AND_FOUND, QUARANTINE, SCRUB,
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
        SCRUB,
        TOPICS,
    ]
    .contains(&name)
}
