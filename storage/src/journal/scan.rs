//! Reading the journal back: entry by entry from a checkpoint's continuation, judging where it ends.
//!
//! The hard question is whether an invalid entry is the torn tail of a round that was never
//! acknowledged, or damage to one that was. It is torn only if nothing later says that it had been
//! durable: every entry carries the highest LSN that was durable when it was written, and a round is
//! written only after the one before it is synced.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::files::{self, read_header};
use super::{CommittedFrame, JournalPosition};
use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::entry::{
    DirectoryLine, ENTRY_HEADER_BYTES, EntryHeader, EntryPlace, FrameForm, decode_directory,
};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::format::row::{Row, decode_rows};
use crate::format::{align_block, crc_of, usize_of};
use crate::ids::{BrokerId, Lsn};
use crate::vfs::{BLOCK_BYTES, OpenMode, VfsFile, read_full_at};

/// Read at once.
const WINDOW_BYTES: usize = 1024 * 1024;
/// No entry is longer: the largest commit, its directory and its change.
const ENTRY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// An entry whose header, directory and change are intact.
#[derive(Debug)]
pub(crate) struct ScannedEntry {
    pub(crate) header: EntryHeader,
    pub(crate) lines: Vec<DirectoryLine>,
    /// The inline frames, in the order of their lines.
    pub(crate) frames: Vec<CommittedFrame>,
    /// Lines whose inline frame is damaged.
    pub(crate) damaged: Vec<DirectoryLine>,
    pub(crate) rows: Vec<Row>,
    pub(crate) position: JournalPosition,
}

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

#[derive(Debug)]
struct OpenJournalFile {
    number: u64,
    salt: u64,
    previous_salt: u64,
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    file_bytes: u64,
}

/// Reads entries in order.
#[derive(Debug)]
pub(crate) struct JournalScanner {
    /// The file that is read, then those with higher numbers.
    files: VecDeque<OpenJournalFile>,
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
        let mut open_files = VecDeque::new();
        for number in files::list(environment)? {
            if number < continuation.file {
                continue;
            }
            let path = folder::journal_file(number);
            let opened = environment.vfs.open(&path, OpenMode::Read);
            let file = opened.map_err(io_error(Operation::Open, &path))?;
            let file_bytes = file.len().map_err(io_error(Operation::Read, &path))?;
            // A file without a header of its own number was being prepared and holds nothing.
            let Some(header) = read_header(&*file) else {
                continue;
            };
            if header.number != number || header.broker_id != broker_id {
                continue;
            }
            let (salt, previous_salt) = (header.salt, header.previous_salt);
            open_files.push_back(OpenJournalFile {
                number,
                salt,
                previous_salt,
                path,
                file,
                file_bytes,
            });
        }
        let is_continuation = open_files
            .front()
            .is_some_and(|first| first.number == continuation.file);
        Ok(is_continuation.then(|| Self {
            files: open_files,
            position: continuation.position,
            next_lsn: lsn.next(),
            window: Bytes::new(),
            window_position: 0,
        }))
    }

    /// The next entry, or where the journal ends.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn next_entry(
        &mut self,
    ) -> Result<ControlFlow<JournalEnd, ScannedEntry>, StorageError> {
        loop {
            if let Some(header) = self.header_at(self.position)? {
                return self.read_entry(header);
            }
            let aligned = align_block(self.position);
            if aligned != self.position {
                self.position = aligned;
                continue;
            }
            if !self.enter_next_file()? {
                return Ok(ControlFlow::Break(self.end("the entry header is damaged")?));
            }
        }
    }

    /// Whether anything says that `lsn`, which should stand at the present position, was durable.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn evidence_of(
        &mut self,
        lsn: Lsn,
    ) -> Result<Option<JournalPosition>, StorageError> {
        let mut start = align_block(self.position + 1).max(JOURNAL_HEADER_BYTES as u64);
        for file in &self.files {
            if let Some(position) = file.find_evidence(lsn, start)? {
                return Ok(Some(JournalPosition {
                    file: file.number,
                    position,
                }));
            }
            start = JOURNAL_HEADER_BYTES as u64;
        }
        Ok(None)
    }

    fn here(&self) -> JournalPosition {
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
        let remains = self.remains()?;
        Ok(JournalEnd::Torn { at, remains })
    }

    /// The bytes of what may be a torn round, for the quarantine.
    fn remains(&mut self) -> Result<Option<Bytes>, StorageError> {
        let block = self.bytes_at(self.position, BLOCK_BYTES)?;
        let Some(file) = self.files.front() else {
            return Ok(None);
        };
        let old_place = EntryPlace {
            salt: file.previous_salt,
            ..file.place(self.position)
        };
        let is_old = file.previous_salt != 0 && EntryHeader::decode(&block, &old_place).is_some();
        if is_old || block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = EntryHeader::decode(&block, &file.place(self.position));
        let entry_bytes = header.map_or(BLOCK_BYTES as u64, |header| header.entry_bytes());
        let length = usize_of(align_block(entry_bytes.min(ENTRY_BYTES_MAX)));
        self.bytes_at(self.position, length).map(Some)
    }

    /// Moves to the next file if its first entry is the one that is expected.
    fn enter_next_file(&mut self) -> Result<bool, StorageError> {
        let start = JOURNAL_HEADER_BYTES as u64;
        let Some(next) = self.files.get(1) else {
            return Ok(false);
        };
        let continues = next
            .header_at(start)?
            .is_some_and(|header| header.lsn == self.next_lsn);
        if continues {
            self.files.pop_front();
            self.position = start;
            self.window = Bytes::new();
        }
        Ok(continues)
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
        let position = self.here();
        let length = header.entry_bytes().min(ENTRY_BYTES_MAX);
        let bytes = self.bytes_at(self.position, usize_of(length))?;
        let Some(entry) = ScannedEntry::decode(header, &bytes, position) else {
            return Ok(ControlFlow::Break(
                self.end("the directory or the change is damaged")?,
            ));
        };
        if !entry.damaged.is_empty() {
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

impl OpenJournalFile {
    fn place(&self, position: u64) -> EntryPlace {
        EntryPlace {
            salt: self.salt,
            file_number: self.number,
            position,
        }
    }

    fn header_at(&self, position: u64) -> Result<Option<EntryHeader>, StorageError> {
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        let count = read_full_at(&*self.file, &mut bytes, position)
            .map_err(io_error(Operation::Read, &self.path))?;
        Ok(EntryHeader::decode(
            bytes.get(..count).unwrap_or_default(),
            &self.place(position),
        ))
    }

    /// The first block from `start` on with an entry that was written when `lsn` was durable.
    fn find_evidence(&self, lsn: Lsn, start: u64) -> Result<Option<u64>, StorageError> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut position = start;
        while position < self.file_bytes {
            let count = read_full_at(&*self.file, &mut window, position)
                .map_err(io_error(Operation::Read, &self.path))?;
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

impl ScannedEntry {
    /// `None` if directory or change are not what the header says.
    fn decode(header: EntryHeader, bytes: &Bytes, position: JournalPosition) -> Option<Self> {
        let directory_end = ENTRY_HEADER_BYTES + usize_of(header.directory_bytes());
        let change_start = directory_end.checked_add(usize_of(header.inline_bytes))?;
        let change_end = change_start.checked_add(header.change_bytes as usize)?;
        let directory = bytes.get(ENTRY_HEADER_BYTES..directory_end)?;
        let change = bytes.get(change_start..change_end)?;
        if crc_of(&[directory]) != header.directory_crc || crc_of(&[change]) != header.change_crc {
            return None;
        }
        let lines = decode_directory(directory, &header)?;
        let rows = decode_rows(bytes.slice(change_start..change_end))?;
        let (mut frames, mut damaged) = (Vec::new(), Vec::new());
        let mut start = directory_end;
        for line in lines.iter().filter(|line| line.form == FrameForm::Inline) {
            let frame_end = start + usize_of(line.frame.frame_bytes());
            let frame = CommittedFrame {
                line: *line,
                bytes: bytes.slice(start..frame_end),
            };
            if is_intact(&frame) {
                frames.push(frame)
            } else {
                damaged.push(*line)
            }
            start += usize_of(line.inline_bytes());
        }
        Some(Self {
            header,
            lines,
            frames,
            damaged,
            rows,
            position,
        })
    }
}

/// Whether the frame is the one that its line describes.
fn is_intact(frame: &CommittedFrame) -> bool {
    FrameHeader::decode(&frame.bytes, &frame.line.place) == Ok(frame.line.frame)
        && frame
            .bytes
            .get(FRAME_HEADER_BYTES..)
            .is_some_and(|it| frame.line.frame.matches(it))
}
