//! Getting over damage that refuses the start: the journal ends behind its last intact entry, and what
//! followed is lost. Nothing is thrown away: what is given up is kept in `lost+found/`.
//!
//! The one moment that counts is when a checkpoint stands that says where the journal goes on. Before it the
//! folder is as it was, and is refused as it was; after it the folder is repaired. What is kept aside is
//! durable before it, and what is given up stays in its place until then.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::dump::FileWalk;
use crate::environment::Environment;
use crate::error::{OpenError, Operation, StorageError, io_error};
use crate::folder;
use crate::ids::{Lsn, Offset, OffsetRange, PartitionRef};
use crate::journal::JournalPosition;
use crate::journal::scan::JournalScanner;
use crate::recovery::{
    RecoveryReport, StateMachine, Storage, StorageOptions, damage_of, load_rows, missing_file,
    newest_intact,
};
use crate::verify::{VerifiedState, check_folder};
use crate::vfs::{OpenMode, read_full_at, write_all_at};

/// Copied at once.
const COPY_BYTES: usize = 1024 * 1024;

/// What a repair would give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The last entry that is kept.
    pub after_lsn: Lsn,
    /// What is damaged, with file and position.
    pub what: String,
    /// The last entry of which anything is still to be seen; none if nothing is.
    pub last_lsn: Option<Lsn>,
    /// Entries behind the damage that are intact and are lost all the same.
    pub entry_count: u64,
    /// Rows that they changed: topics, groups, subscriptions and the like go back to what they were.
    pub row_count: u64,
    /// Records that are lost, as far as is to be seen. New records get their offsets.
    pub lost: Vec<(PartitionRef, OffsetRange)>,
    /// Files that go to `lost+found/`.
    pub kept_aside: Vec<PathBuf>,
}

/// Says what a repair would give up; none if the start is not refused for the journal. Changes nothing.
///
/// # Errors
/// [`OpenError`]: the folder is in use, or damaged in a way that no repair helps.
pub fn plan(
    environment: &Environment,
    state: &mut dyn VerifiedState,
) -> Result<Option<Plan>, OpenError> {
    let broker_id = check_folder(environment)?;
    let Some(newest) = newest_intact(environment, broker_id, drop)? else {
        return Err(OpenError::NotUsable {
            path: environment.vfs.describe(Path::new("")),
            what: "no checkpoint is intact, and no repair helps; restore it from a copy".to_owned(),
        });
    };
    let footer = load_rows(environment, newest, state)?.footer;
    let at = JournalPosition {
        file: footer.journal_file,
        position: footer.journal_position,
    };
    let (mut lsn, mut file) = (footer.lsn, at.file);
    let what = match JournalScanner::open(environment, broker_id, at, footer.lsn)? {
        None => Some(missing_file(file)),
        Some(mut scanner) => loop {
            match scanner.next_entry()? {
                ControlFlow::Continue(entry) => {
                    lsn = entry.header.lsn;
                    entry.lines.iter().for_each(|line| state.apply_append(line));
                    entry.rows.into_iter().for_each(|row| state.apply_row(row));
                }
                ControlFlow::Break(end) => {
                    file = end.at().file;
                    break damage_of(&end, lsn, checkpoint::named_durable(environment)?);
                }
            }
        },
    };
    let Some(what) = what else {
        return Ok(None);
    };
    let mut plan = Plan {
        after_lsn: lsn,
        what,
        last_lsn: None,
        entry_count: 0,
        row_count: 0,
        lost: Vec::new(),
        kept_aside: Vec::new(),
    };
    plan.look_behind(environment, file, state)?;
    let names = checkpoint::list(environment)?.into_iter();
    let newer = names.filter(|name| name.lsn > lsn);
    plan.kept_aside.extend(newer.map(folder::checkpoint_file));
    Ok(Some(plan))
}

impl Plan {
    /// How many entries behind the last one that is kept cannot be read, up to the last one that can: what they
    /// changed is not known. None if nothing behind it is to be seen.
    pub fn unreadable_count(&self) -> Option<u64> {
        let count = self.last_lsn?.get().checked_sub(self.after_lsn.get())?;
        count.checked_sub(self.entry_count)
    }

    /// Looks at what is intact in the files from `first` on and is behind the last entry that is kept.
    fn look_behind(
        &mut self,
        environment: &Environment,
        first: u64,
        state: &dyn VerifiedState,
    ) -> Result<(), StorageError> {
        let mut ends: BTreeMap<PartitionRef, Offset> = BTreeMap::new();
        for number in crate::journal::list(environment)? {
            if number < first {
                continue;
            }
            self.kept_aside.push(folder::journal_file(number));
            let Some(mut walk) = FileWalk::open(environment, number)? else {
                continue;
            };
            while let Some(entry) = walk.next_entry()? {
                if entry.header.lsn <= self.after_lsn {
                    continue;
                }
                self.last_lsn = self.last_lsn.max(Some(entry.header.lsn));
                self.entry_count += 1;
                self.row_count += entry.rows.len() as u64;
                for line in &entry.lines {
                    let end = ends.entry(line.place.segment.partition).or_default();
                    *end = line.frame.next_offset().max(*end);
                }
            }
        }
        let known: BTreeMap<_, _> = state.partitions().into_iter().collect();
        for (partition, end) in ends {
            let start = known.get(&partition).map_or(Offset::ZERO, |it| it.end);
            if start < end {
                self.lost.push((partition, OffsetRange { start, end }));
            }
        }
        Ok(())
    }
}

/// Does what a plan says: lets the journal end behind `plan.after_lsn`.
///
/// A crash at any moment leaves a folder that is refused as before, or one that is repaired.
///
/// # Errors
/// [`OpenError`]; also if the folder is not any more as it was when the plan was made.
pub fn carry_out(
    environment: &Environment,
    options: &StorageOptions,
    state: &mut dyn StateMachine,
    plan: &Plan,
) -> Result<RecoveryReport, OpenError> {
    let accepted = Some(plan.after_lsn);
    let storage = Storage::open_accepting(environment, options, state, accepted)?;
    Ok(storage.report)
}

/// Copies the journal files from number `first` on, and makes the copies durable.
pub(crate) fn keep_journal(environment: &Environment, first: u64) -> Result<(), StorageError> {
    for number in crate::journal::list(environment)? {
        if number >= first {
            copy_aside(environment, &folder::journal_file(number))?;
        }
    }
    sync_aside(environment)
}

/// Moves checkpoints away that say that entries behind `lsn` had been durable. They are damaged.
pub(crate) fn set_checkpoints_aside(
    environment: &Environment,
    lsn: Lsn,
) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let mut is_moved = false;
    for name in checkpoint::list(environment)? {
        if name.lsn <= lsn {
            continue;
        }
        let from = folder::checkpoint_file(name);
        let to = aside(environment, &from)?;
        vfs.rename(&from, &to)
            .map_err(io_error(Operation::Rename, &from))?;
        is_moved = true;
    }
    if is_moved {
        sync_aside(environment)?;
        let dir = Path::new(folder::CHECKPOINT);
        vfs.sync_dir(dir)
            .map_err(io_error(Operation::SyncDir, dir))?;
    }
    Ok(())
}

/// Where a file is kept aside; makes the folder if there is none.
fn aside(environment: &Environment, path: &Path) -> Result<PathBuf, StorageError> {
    let dir = Path::new(folder::LOST_AND_FOUND);
    match environment.vfs.create_dir(dir) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(io_error(Operation::Create, dir)(source));
        }
        _ => {}
    }
    Ok(dir.join(path.file_name().unwrap_or_default()))
}

/// Copies a file; a copy that an interrupted repair left is written again.
fn copy_aside(environment: &Environment, path: &Path) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let to = aside(environment, path)?;
    let opened = vfs.open(path, OpenMode::Read);
    let source = opened.map_err(io_error(Operation::Open, path))?;
    let target = environment.open_or_create(&to)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut position = 0;
    loop {
        let count = read_full_at(&*source, &mut buffer, position)
            .map_err(io_error(Operation::Read, path))?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        write_all_at(&*target, bytes, position).map_err(io_error(Operation::Write, &to))?;
        position += count as u64;
    }
    target.sync_data().map_err(io_error(Operation::Sync, &to))
}

fn sync_aside(environment: &Environment) -> Result<(), StorageError> {
    for dir in [folder::LOST_AND_FOUND, ""] {
        let dir = Path::new(dir);
        match environment.vfs.sync_dir(dir) {
            // There was nothing to keep.
            Err(source) if source.kind() == ErrorKind::NotFound => {}
            synced => synced.map_err(io_error(Operation::SyncDir, dir))?,
        }
    }
    Ok(())
}
