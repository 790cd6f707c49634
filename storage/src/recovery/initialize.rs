//! Making a data folder. The format file comes last: a folder that has one is complete.

use std::io::ErrorKind;
use std::path::Path;

use crate::checkpoint::{CheckpointInput, Checkpointer};
use crate::environment::Environment;
use crate::error::{OpenError, Operation, StorageError, io_error};
use crate::folder;
use crate::format::FORMAT_VERSION;
use crate::format::format_file::FormatFile;
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::ids::{BrokerId, Lsn};
use crate::journal::{JournalFiles, JournalPosition};
use crate::runs::{IndexOptions, RunKeeper};
use crate::vfs::{OpenMode, write_all_at};

/// Made in a new folder; that of runs comes with the first run.
const FOLDERS: [&str; 4] = [
    folder::JOURNAL,
    folder::CHECKPOINT,
    folder::QUARANTINE,
    folder::TOPICS,
];

/// Whether the folder holds a complete data folder. A folder that holds parts of one without having
/// been interrupted while it was made is refused: missing metadata is no permission to start afresh.
pub(crate) fn is_initialized(environment: &Environment) -> Result<bool, OpenError> {
    let entries = environment
        .vfs
        .list(Path::new(""))
        .map_err(io_error(Operation::List, ""))?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    if has(folder::FORMAT) {
        return Ok(true);
    }
    let has_parts = FOLDERS.iter().any(|name| has(name)) || has(folder::INDEX);
    if has_parts && !has(folder::INITIALIZING) {
        let what = "it holds broker data but no FORMAT file; restore that file from a backup";
        return Err(super::not_usable(environment, what));
    }
    Ok(false)
}

/// Makes the folders, an empty checkpoint, a journal file and the format file.
///
/// While the file `INITIALIZING` exists and `FORMAT` does not, nothing was ever acknowledged from
/// this folder, so what an interrupted attempt left is removed.
pub(super) fn initialize(environment: &Environment, file_bytes: u64) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let marker = Path::new(folder::INITIALIZING);
    match vfs.open(marker, OpenMode::CreateNew) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(io_error(Operation::Create, marker)(source));
        }
        _ => {}
    }
    sync_root(environment)?;
    for name in FOLDERS {
        match vfs.create_dir(Path::new(name)) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                return Err(io_error(Operation::Create, name)(source));
            }
            _ => {}
        }
    }
    sync_root(environment)?;
    remove_leftovers(environment)?;
    let broker_id = new_broker_id(environment);
    let mut journal_files = JournalFiles::open(environment.clone(), broker_id, file_bytes)?;
    let file = journal_files.prepare(0, Lsn::ZERO)?;
    let mut input = CheckpointInput {
        lsn: Lsn::ZERO,
        continuation: JournalPosition {
            file: file.number(),
            position: JOURNAL_HEADER_BYTES as u64,
        },
        time_ms: 0,
        changed: Vec::new(),
    };
    let runs = RunKeeper::open(environment, broker_id, &IndexOptions::default(), &[])?;
    Checkpointer::new(environment.clone(), broker_id, 0, None, runs).write(&mut input)?;
    let version = FORMAT_VERSION;
    write_format(environment, FormatFile { version, broker_id })?;
    remove_marker(environment)
}

/// Ends the time in which the content of the folder may be removed. An interrupted start may have
/// left the marker in a complete folder; if that ever lost its format file, the marker would permit to
/// begin anew over acknowledged records.
pub(super) fn remove_marker(environment: &Environment) -> Result<(), StorageError> {
    let entries = environment
        .vfs
        .list(Path::new(""))
        .map_err(io_error(Operation::List, ""))?;
    if !entries.iter().any(|it| it.name == folder::INITIALIZING) {
        return Ok(());
    }
    let marker = Path::new(folder::INITIALIZING);
    environment
        .vfs
        .unlink(marker)
        .map_err(io_error(Operation::Unlink, marker))?;
    sync_root(environment)
}

fn new_broker_id(environment: &Environment) -> BrokerId {
    let halves = [
        environment.entropy.next_u64(),
        environment.entropy.next_u64(),
    ];
    let mut bytes = [0; 16];
    let (low, high) = bytes.split_at_mut(8);
    low.copy_from_slice(&halves[0].to_le_bytes());
    high.copy_from_slice(&halves[1].to_le_bytes());
    BrokerId::new(bytes)
}

fn remove_leftovers(environment: &Environment) -> Result<(), StorageError> {
    for dir in [folder::JOURNAL, folder::CHECKPOINT] {
        let entries = environment
            .vfs
            .list(Path::new(dir))
            .map_err(io_error(Operation::List, dir))?;
        for entry in entries.iter().filter(|entry| is_leftover(&entry.name)) {
            let path = Path::new(dir).join(&entry.name);
            environment
                .vfs
                .unlink(&path)
                .map_err(io_error(Operation::Unlink, path))?;
        }
    }
    Ok(())
}

fn is_leftover(name: &str) -> bool {
    folder::parse_journal_file(name).is_some()
        || folder::parse_checkpoint_file(name).is_some()
        || folder::is_temporary(name)
}

/// Makes a folder of an older version one of this version, so that an older release refuses it rather than
/// reading it without what it does not know.
pub(super) fn upgrade(environment: &Environment, format: FormatFile) -> Result<(), StorageError> {
    if format.version == FORMAT_VERSION {
        return Ok(());
    }
    let (from, to) = (format.version, FORMAT_VERSION);
    tracing::info!(from, to, "data folder goes over to a newer format");
    let upgraded = FormatFile {
        version: FORMAT_VERSION,
        ..format
    };
    write_format(environment, upgraded)
}

fn write_format(environment: &Environment, format: FormatFile) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let path = Path::new(folder::FORMAT);
    let temporary = Path::new("FORMAT.tmp");
    match vfs.unlink(temporary) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            return Err(io_error(Operation::Unlink, temporary)(source));
        }
        _ => {}
    }
    let file = vfs
        .open(temporary, OpenMode::CreateNew)
        .map_err(io_error(Operation::Create, temporary))?;
    write_all_at(&*file, format.encode().as_bytes(), 0)
        .map_err(io_error(Operation::Write, temporary))?;
    // DURABILITY: everything else is on disk, then the content of FORMAT, then its name.
    file.sync_data()
        .map_err(io_error(Operation::Sync, temporary))?;
    vfs.rename(temporary, path)
        .map_err(io_error(Operation::Rename, temporary))?;
    sync_root(environment)
}

fn sync_root(environment: &Environment) -> Result<(), StorageError> {
    environment
        .vfs
        .sync_dir(Path::new(""))
        .map_err(io_error(Operation::SyncDir, ""))
}
