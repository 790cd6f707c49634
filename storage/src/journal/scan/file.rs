//! The journal files that a scan reads.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::WINDOW_BYTES;
use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::entry::{ENTRY_HEADER_BYTES, EntryHeader, EntryPlace};
use crate::format::journal_header::{JOURNAL_HEADER_BYTES, JournalHeader};
use crate::ids::{BrokerId, Lsn};
use crate::journal::files;
use crate::vfs::{BLOCK_BYTES, OpenMode, VfsFile, read_full_at};

/// A journal file with an intact header of its own number.
#[derive(Debug)]
pub(crate) struct OpenJournalFile {
    pub(crate) number: u64,
    salt: u64,
    /// Whether the file had an earlier life, so that bytes of it may lie behind the last entry.
    pub(crate) is_recycled: bool,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) file_bytes: u64,
    /// Whether a part of the file is missing: its length was durable before its first entry.
    pub(crate) is_cut: bool,
    /// What its header says was durable when it was made ready.
    pub(super) durable: Lsn,
}

/// What the journal's folder holds.
#[derive(Debug, Default)]
pub(super) struct JournalFolder {
    /// Ascending by number.
    pub(super) files: VecDeque<OpenJournalFile>,
    /// Files without an intact header of their own that nevertheless begin with what was an entry: number
    /// and the LSN that the entry claims.
    pub(super) headless: Vec<(u64, Lsn)>,
}

impl JournalFolder {
    /// Opens the files from number `first` on.
    pub(super) fn open(
        environment: &Environment,
        broker_id: BrokerId,
        first: u64,
    ) -> Result<Self, StorageError> {
        let mut folder = Self::default();
        for number in files::list(environment)? {
            if number < first {
                continue;
            }
            let path = folder::journal_file(number);
            let opened = environment.vfs.open(&path, OpenMode::Read);
            let file = opened.map_err(io_error(Operation::Open, &path))?;
            let file_bytes = file.len().map_err(io_error(Operation::Read, &path))?;
            let mut head = vec![0; JOURNAL_HEADER_BYTES + ENTRY_HEADER_BYTES];
            let count =
                read_full_at(&*file, &mut head, 0).map_err(io_error(Operation::Read, &path))?;
            head.truncate(count);
            let own_header = JournalHeader::decode(&head)
                .filter(|header| header.number == number && header.broker_id == broker_id);
            match own_header {
                Some(header) => folder.files.push_back(OpenJournalFile {
                    number,
                    salt: header.salt,
                    is_recycled: header.previous_salt != 0,
                    path,
                    file,
                    file_bytes,
                    is_cut: file_bytes < header.file_bytes,
                    durable: header.durable,
                }),
                None => {
                    // A file that was being prepared holds at most entries that a checkpoint covers.
                    let first_entry = head.get(JOURNAL_HEADER_BYTES..).unwrap_or_default();
                    let claimed = EntryHeader::claimed_lsn(first_entry);
                    folder.headless.extend(claimed.map(|lsn| (number, lsn)));
                }
            }
        }
        Ok(folder)
    }
}

impl OpenJournalFile {
    pub(crate) fn place(&self, position: u64) -> EntryPlace {
        EntryPlace {
            salt: self.salt,
            file_number: self.number,
            position,
        }
    }

    /// What the first entry says of its LSN, intact or not.
    pub(super) fn first_claim(&self) -> Result<Option<Lsn>, StorageError> {
        files::read_first_claim(&*self.file).map_err(io_error(Operation::Read, &self.path))
    }

    pub(super) fn header_at(&self, position: u64) -> Result<Option<EntryHeader>, StorageError> {
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        let count = read_full_at(&*self.file, &mut bytes, position)
            .map_err(io_error(Operation::Read, &self.path))?;
        Ok(EntryHeader::decode(
            bytes.get(..count).unwrap_or_default(),
            &self.place(position),
        ))
    }

    /// The first block from `start` on with an entry that was written when `lsn` was durable.
    pub(super) fn find_evidence(&self, lsn: Lsn, start: u64) -> Result<Option<u64>, StorageError> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut position = start;
        while position < self.file_bytes {
            let count = read_full_at(&*self.file, &mut window, position)
                .map_err(io_error(Operation::Read, &self.path))?;
            if count == 0 {
                break;
            }
            for block in window.get(..count).unwrap_or_default().chunks(BLOCK_BYTES) {
                let header = EntryHeader::decode(block, &self.place(position));
                if header.is_some_and(|header| header.previous_durable >= lsn) {
                    return Ok(Some(position));
                }
                position += BLOCK_BYTES as u64;
            }
        }
        Ok(None)
    }
}
