//! Reading the journal back: entry by entry from a checkpoint's continuation, judging where it ends.
//!
//! The hard question is whether an invalid entry is the torn tail of a round that was never
//! acknowledged, or damage to one that was. It is torn only if nothing later says that it had been
//! durable: every entry carries the highest LSN that was durable when it was written, and a round is
//! written only after the one before it is synced.

mod damage;
mod entry;
mod file;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::JournalPosition;
use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::format::entry::{ENTRY_HEADER_BYTES, EntryHeader};
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::format::{align_block, usize_of};
use crate::ids::{BrokerId, Lsn};
use crate::vfs::{BLOCK_BYTES, read_full_at};
pub(crate) use entry::{ScannedEntry, ScannedFrame};
use file::{JournalFolder, OpenJournalFile};

/// Read at once.
const WINDOW_BYTES: usize = 1024 * 1024;
/// No entry is longer: the largest commit, its directory and its change.
pub(crate) const ENTRY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where and how the journal ends.
#[derive(Debug)]
pub(crate) enum JournalEnd {
    /// Behind a whole entry; what follows, if anything, was never acknowledged.
    Torn {
        /// Where the next entry would be.
        at: JournalPosition,
        /// What stands there, if it is not plainly unwritten or of a previous life.
        remains: Option<Bytes>,
    },
    /// At an entry that had been durable and is not intact.
    Damaged {
        /// Where.
        at: JournalPosition,
        /// What is wrong with it.
        what: &'static str,
        /// Where something says that it had been durable.
        evidence: JournalPosition,
    },
}

impl JournalEnd {
    /// Where it is.
    pub(crate) fn at(&self) -> JournalPosition {
        match self {
            Self::Torn { at, .. } | Self::Damaged { at, .. } => *at,
        }
    }
}

/// Reads entries in order.
#[derive(Debug)]
pub(crate) struct JournalScanner {
    /// The file that is read, then those with higher numbers.
    files: VecDeque<OpenJournalFile>,
    headless: Vec<(u64, Lsn)>,
    position: u64,
    next_lsn: Lsn,
    window: Bytes,
    window_position: u64,
}

impl JournalScanner {
    /// Starts at the continuation of the checkpoint at `lsn`. `None` if the file that it names is
    /// missing or is not that file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn open(
        environment: &Environment,
        broker_id: BrokerId,
        continuation: JournalPosition,
        lsn: Lsn,
    ) -> Result<Option<Self>, StorageError> {
        let folder = JournalFolder::open(environment, broker_id, continuation.file)?;
        let is_continuation = folder
            .files
            .front()
            .is_some_and(|first| first.number == continuation.file);
        Ok(is_continuation.then(|| Self {
            files: folder.files,
            headless: folder.headless,
            position: continuation.position,
            next_lsn: lsn.next(),
            window: Bytes::new(),
            window_position: 0,
        }))
    }

    /// Length of the files from the present position on: at most so much is still to be read.
    pub(crate) fn left_bytes(&self) -> u64 {
        let left_bytes: u64 = self.files.iter().map(|file| file.file_bytes).sum();
        left_bytes.saturating_sub(self.position)
    }

    /// The next entry, or where the journal ends.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn next_entry(
        &mut self,
    ) -> Result<ControlFlow<JournalEnd, ScannedEntry>, StorageError> {
        loop {
            for position in [self.position, align_block(self.position)] {
                if let Some(header) = self.header_at(position)? {
                    self.position = position;
                    return self.read_entry(header);
                }
            }
            if !self.enter_next_file()? {
                let end = self.end("the entry header is damaged")?;
                return Ok(ControlFlow::Break(self.find_place(end)?));
            }
        }
    }

    /// Where the next entry is looked for.
    pub(crate) fn here(&self) -> JournalPosition {
        let file = self.files.front().map_or(0, |file| file.number);
        JournalPosition {
            file,
            position: self.position,
        }
    }

    fn end(&mut self, what: &'static str) -> Result<JournalEnd, StorageError> {
        let at = self.here();
        if let Some(evidence) = self.evidence_of(self.next_lsn)? {
            return Ok(JournalEnd::Damaged { at, what, evidence });
        }
        // The header of a file is durable before its first entry is written.
        let headless = self.headless.iter().find(|(_, lsn)| *lsn >= self.next_lsn);
        if let Some((file, _)) = headless {
            let in_file = |position| JournalPosition {
                file: *file,
                position,
            };
            return Ok(JournalEnd::Damaged {
                at: in_file(0),
                what: "the file header is damaged",
                evidence: in_file(JOURNAL_HEADER_BYTES as u64),
            });
        }
        // It has the last entry, or the checkpoint names it: it was whole when it was begun.
        if self.files.front().is_some_and(|file| file.is_cut) {
            let file = at.file;
            return Ok(JournalEnd::Damaged {
                at,
                what: "the file is cut",
                evidence: JournalPosition { file, position: 0 },
            });
        }
        let remains = self.remains()?;
        Ok(JournalEnd::Torn {
            at: self.here(),
            remains,
        })
    }

    /// The bytes of what may be a torn round, for the quarantine; moves to where they begin.
    fn remains(&mut self) -> Result<Option<Bytes>, StorageError> {
        let aligned = align_block(self.position);
        let rest_of_round = self.bytes_at(self.position, usize_of(aligned - self.position))?;
        if is_blank(&rest_of_round) {
            self.position = aligned;
        }
        let block = self.bytes_at(self.position, BLOCK_BYTES)?;
        let Some(file) = self.files.front() else {
            return Ok(None);
        };
        let header = EntryHeader::decode(&block, &file.place(self.position));
        // What a recycled file holds behind its last round is old, unless it claims to be new.
        let is_new = header.is_some()
            || EntryHeader::claimed_lsn(&block) == Some(self.next_lsn)
            || !file.is_recycled && !is_blank(&block);
        if !is_new {
            return Ok(None);
        }
        let entry_bytes = header.map_or(1, |header| header.entry_bytes());
        let end = align_block(self.position + entry_bytes.min(ENTRY_BYTES_MAX));
        self.bytes_at(self.position, usize_of(end - self.position))
            .map(Some)
    }

    /// Moves to the file whose first entry is the one that is expected. Files before it that hold no
    /// entry were prepared and never used.
    fn enter_next_file(&mut self) -> Result<bool, StorageError> {
        let start = JOURNAL_HEADER_BYTES as u64;
        for place in 1..self.files.len() {
            let Some(next) = self.files.get(place) else {
                break;
            };
            let header = next.header_at(start)?;
            if header.is_some_and(|header| header.lsn == self.next_lsn) {
                self.files.drain(..place);
                self.position = start;
                self.window = Bytes::new();
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The header at a position if it is intact and of the expected entry.
    fn header_at(&mut self, position: u64) -> Result<Option<EntryHeader>, StorageError> {
        let bytes = self.bytes_at(position, ENTRY_HEADER_BYTES)?;
        let Some(file) = self.files.front() else {
            return Ok(None);
        };
        let header = EntryHeader::decode(&bytes, &file.place(position));
        Ok(header.filter(|header| header.lsn == self.next_lsn))
    }

    fn read_entry(
        &mut self,
        header: EntryHeader,
    ) -> Result<ControlFlow<JournalEnd, ScannedEntry>, StorageError> {
        let length = header.entry_bytes().min(ENTRY_BYTES_MAX);
        let bytes = self.bytes_at(self.position, usize_of(length))?;
        let Some(entry) = ScannedEntry::decode(header, &bytes) else {
            return Ok(ControlFlow::Break(
                self.end("the directory or the change is damaged")?,
            ));
        };
        if !entry.is_intact() {
            // Only the payload is hurt: torn unless the entry had been durable.
            let end = self.end("records are damaged")?;
            if matches!(end, JournalEnd::Torn { .. }) {
                return Ok(ControlFlow::Break(end));
            }
        }
        self.position += header.entry_bytes();
        self.next_lsn = self.next_lsn.next();
        Ok(ControlFlow::Continue(entry))
    }

    /// Bytes of the present file; fewer at its end.
    fn bytes_at(&mut self, position: u64, length: usize) -> Result<Bytes, StorageError> {
        let Some(file) = self.files.front() else {
            return Ok(Bytes::new());
        };
        let window_end = self.window_position + self.window.len() as u64;
        let is_inside = position >= self.window_position && position + length as u64 <= window_end;
        if !is_inside {
            let left = usize_of(file.file_bytes.saturating_sub(position));
            let mut buffer = vec![0; length.max(WINDOW_BYTES).min(left)];
            let count = read_full_at(&*file.file, &mut buffer, position)
                .map_err(io_error(Operation::Read, &file.path))?;
            buffer.truncate(count);
            (self.window, self.window_position) = (buffer.into(), position);
        }
        let start = usize_of(position - self.window_position).min(self.window.len());
        let end = (start + length).min(self.window.len());
        Ok(self.window.slice(start..end))
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
