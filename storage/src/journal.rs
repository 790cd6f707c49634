//! The journal: the one ordered sequence of entries that makes every change of the broker durable.
//!
//! One thread owns the [`Journal`] and commits rounds: it encodes the entries of a round into one
//! aligned buffer, writes it with one write and one sync, and only then moves the durable LSN. Files
//! are prepared ahead by a [`JournalFiles`], which may live on another thread.

mod file;
mod files;
mod round;
pub(crate) mod scan;

use std::sync::Arc;

pub(crate) use files::list;
pub use files::{JournalFiles, PreparedFile};
pub use round::{Append, CommittedFrame, CommittedRound, Round};

use crate::buffer::BufferPool;
use crate::error::{Operation, StorageError, io_error_of};
use crate::format::entry::EntryPlace;
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::ids::Lsn;
use crate::segment_files::SegmentFiles;
use crate::vfs::write_all_at;
use file::JournalFile;

/// Free buffers that are kept for coming rounds.
const POOL_BYTES: usize = 32 * 1024 * 1024;

/// A place in the journal where a round starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalPosition {
    /// Number of the journal file.
    pub file: u64,
    /// Bytes from its start.
    pub position: u64,
}

/// The writing end of the journal. Its owner is the only writer.
#[derive(Debug)]
pub struct Journal {
    segments: Arc<SegmentFiles>,
    pool: Arc<BufferPool>,
    current: JournalFile,
    prepared: Option<PreparedFile>,
    /// Last entry that is on disk. Only [`Journal::commit`] moves it, and only after the sync.
    durable: Lsn,
    /// Set by a failed write or sync, after which the state of the file is unknown.
    is_poisoned: bool,
}

impl Journal {
    pub(crate) fn new(segments: Arc<SegmentFiles>, first: PreparedFile, durable: Lsn) -> Self {
        Self {
            segments,
            pool: BufferPool::new(POOL_BYTES),
            current: JournalFile::from(first),
            prepared: None,
            durable,
            is_poisoned: false,
        }
    }

    /// Last entry that is on disk.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Where the next round would start if it fits into the current file.
    pub fn position(&self) -> JournalPosition {
        JournalPosition {
            file: self.current.number(),
            position: self.current.position(),
        }
    }

    /// Whether a file should be prepared for the time when the current one is full.
    pub fn wants_file(&self) -> bool {
        self.prepared.is_none()
    }

    /// Takes a prepared file. One that is not used yet is given back.
    pub fn provide(&mut self, file: PreparedFile) -> Option<PreparedFile> {
        self.prepared.replace(file)
    }

    /// Bytes that rounds may take before another file must be provided, if they are cut to fit.
    pub fn room_bytes(&self) -> u64 {
        self.current.room_bytes() + self.prepared.as_ref().map_or(0, PreparedFile::room_bytes)
    }

    /// Longest round that fits now.
    pub fn round_bytes_max(&self) -> u64 {
        let prepared = self.prepared.as_ref().map_or(0, PreparedFile::room_bytes);
        self.current.room_bytes().max(prepared)
    }

    /// Makes a round durable: first what it appends by reference, in its segment; then its entries.
    ///
    /// # Errors
    /// [`StorageError::Io`] if a write or sync failed. It is then unknown whether the round is on
    /// disk: the caller fails its commands as indeterminate and ends the process; any further call
    /// returns [`StorageError::Poisoned`].
    ///
    /// # Panics
    /// If the round does not fit ([`Journal::round_bytes_max`]) or does not continue the journal.
    pub fn commit(&mut self, round: Round) -> Result<CommittedRound, StorageError> {
        if self.is_poisoned {
            return Err(StorageError::Poisoned);
        }
        assert_eq!(
            round.first_lsn(),
            Some(self.durable.next()),
            "INVARIANT: a round continues the journal densely"
        );
        self.is_poisoned = true;
        let committed = self.write(round)?;
        self.is_poisoned = false;
        self.durable = committed.last_lsn;
        Ok(committed)
    }

    fn write(&mut self, round: Round) -> Result<CommittedRound, StorageError> {
        let round_bytes = round.journal_bytes();
        if self.current.room_bytes() < round_bytes {
            self.advance_file(round_bytes);
        }
        // DURABILITY: what an entry names by reference is on disk before the entry is written, so an
        // entry on disk never names bytes that are not there.
        let bulk = round.write_reference_run(&self.pool, &self.segments)?;
        let place = EntryPlace {
            salt: self.current.salt(),
            file_number: self.current.number(),
            position: self.current.position(),
        };
        let encoded = round.encode(&self.pool, &place, self.durable);
        self.current.append(&encoded.bytes)?;
        Ok(encoded.into_committed(bulk))
    }

    fn advance_file(&mut self, round_bytes: u64) {
        let next = self
            .prepared
            .take()
            .filter(|file| file.room_bytes() >= round_bytes);
        assert!(
            next.is_some(),
            "INVARIANT: a round is taken only into space that is allocated"
        );
        if let Some(next) = next {
            self.current = JournalFile::from(next);
        }
    }
}

impl JournalFile {
    /// Writes a whole round and syncs it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        write_all_at(self.file(), bytes, self.position())
            .map_err(io_error_of(Operation::Write, || self.path()))?;
        self.file()
            .sync_data()
            .map_err(io_error_of(Operation::Sync, || self.path()))?;
        self.advance(bytes.len() as u64);
        Ok(())
    }
}

const _: () = assert!(
    JOURNAL_HEADER_BYTES.is_multiple_of(crate::vfs::BLOCK_BYTES),
    "rounds start on a block boundary"
);
