//! Telling the journal: each file by itself, then where recovery would find its end.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::window::Window;
use super::{Ending, Item, Told, Walk};
use crate::environment::Environment;
use crate::error::StorageError;
use crate::folder;
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::{ENTRY_HEADER_BYTES, EntryHeader, EntryPlace, FrameForm};
use crate::format::journal_header::{JOURNAL_HEADER_BYTES, JournalHeader};
use crate::format::{align_block, usize_of};
use crate::ids::Lsn;
use crate::journal::JournalPosition;
use crate::journal::scan::{ENTRY_BYTES_MAX, JournalEnd, JournalScanner, ScannedEntry};
use crate::vfs::BLOCK_BYTES;

impl Walk<'_> {
    /// Tells all journal files and how the journal ends behind the newest checkpoint.
    pub(super) fn journal(&mut self, newest: Option<&CheckpointFooter>) -> Told {
        self.unknown_names(folder::JOURNAL, |name| {
            folder::parse_journal_file(name).is_some()
        })?;
        let numbers = self.attempt(crate::journal::list(self.environment))?;
        for number in numbers.unwrap_or_default() {
            self.journal_file(number, newest)?;
        }
        let Some(footer) = newest else {
            return self.trouble(
                folder::JOURNAL.as_ref(),
                0,
                "no checkpoint is intact, so that nothing says where the journal begins",
            );
        };
        let end = self.attempt(self.find_end(footer))?;
        match end {
            Some((lsn, ending)) => self.tell(&Item::JournalEnd { lsn, ending }),
            None => Told::Continue(()),
        }
    }

    fn journal_file(&mut self, number: u64, newest: Option<&CheckpointFooter>) -> Told {
        let path = folder::journal_file(number);
        let opened = self.attempt(Window::open(self.environment, &path))?;
        let Some(mut window) = opened else {
            return Told::Continue(());
        };
        let head = self.attempt(
            window
                .at(0, JOURNAL_HEADER_BYTES)
                .map(JournalHeader::decode),
        )?;
        let header = head.flatten();
        let role = match newest {
            _ if header.is_some_and(|it| it.number != number) => "not begun",
            None => "unknown",
            Some(footer) if number < footer.journal_file => "free",
            Some(footer) if number == footer.journal_file => "continuation",
            Some(_) => "later",
        };
        self.tell(&Item::JournalFile {
            path,
            bytes: window.file_bytes(),
            header,
            role,
        })?;
        let Some(header) = header else {
            return self.stale_entries(&mut window, number, JOURNAL_HEADER_BYTES as u64);
        };
        let mut file = FileWalk::new(window, &header);
        let end = self.entries(&mut file)?;
        self.stale_entries(&mut file.window, number, end)
    }

    /// Tells the entries of a file; returns where the last one ends.
    fn entries(&mut self, file: &mut FileWalk) -> Told<u64> {
        let mut end = file.position;
        loop {
            let found = self.attempt(file.next_header())?;
            let Some((header, skipped)) = found.flatten() else {
                return Told::Continue(end);
            };
            if let Some(position) = skipped {
                let path = file.window.path.clone();
                self.trouble(&path, position, "no entry is intact up to the next")?;
            }
            self.entry(file, &header)?;
            end = align_block(file.position);
        }
    }

    fn entry(&mut self, file: &mut FileWalk, header: &EntryHeader) -> Told {
        let at = JournalPosition {
            file: file.file_number,
            position: file.position,
        };
        let bytes = self.attempt(file.read(header.entry_bytes()))?;
        file.position += header.entry_bytes();
        let entry = ScannedEntry::decode(*header, &bytes.unwrap_or_default());
        let damage = match &entry {
            None => Some("the directory or the change is damaged"),
            Some(_) => None,
        };
        let header = *header;
        self.tell(&Item::Entry { at, header, damage })?;
        let Some(entry) = entry else {
            return Told::Continue(());
        };
        let mut inline = entry.frames.iter();
        for line in entry.lines {
            let scanned = match line.form {
                FrameForm::Inline => inline.next(),
                FrameForm::Reference => None,
            };
            let is_damaged = scanned.is_some_and(|scanned| !scanned.is_intact);
            let damage = is_damaged.then_some("the payload does not match its checksum");
            self.tell(&Item::Append { line, damage })?;
        }
        if self.selection.rows {
            entry.rows.into_iter().try_for_each(|row| self.row(row))?;
        }
        Told::Continue(())
    }

    /// Tells what claims to be an entry from a block on, if that is selected.
    fn stale_entries(&mut self, window: &mut Window, file: u64, start: u64) -> Told {
        if !self.selection.stale {
            return Told::Continue(());
        }
        let blocks = (start..window.file_bytes()).step_by(BLOCK_BYTES);
        for position in blocks {
            let claimed = window
                .at(position, ENTRY_HEADER_BYTES)
                .map(EntryHeader::claimed_lsn);
            if let Some(lsn) = self.attempt(claimed)?.flatten() {
                let at = JournalPosition { file, position };
                self.tell(&Item::StaleEntry { at, lsn })?;
            }
        }
        Told::Continue(())
    }

    /// Reads the journal as recovery does.
    fn find_end(&self, footer: &CheckpointFooter) -> Result<(Lsn, Ending), StorageError> {
        let at = JournalPosition {
            file: footer.journal_file,
            position: footer.journal_position,
        };
        let scanner = JournalScanner::open(self.environment, footer.broker_id, at, footer.lsn)?;
        let Some(mut scanner) = scanner else {
            return Ok((footer.lsn, Ending::Missing { at }));
        };
        let mut lsn = footer.lsn;
        let end = loop {
            match scanner.next_entry()? {
                ControlFlow::Continue(entry) => lsn = entry.header.lsn,
                ControlFlow::Break(end) => break end,
            }
        };
        let ending = match end {
            JournalEnd::Torn { at, remains: None } => Ending::Clean { at },
            JournalEnd::Torn {
                at,
                remains: Some(bytes),
            } => Ending::Torn {
                at,
                bytes: bytes.len() as u64,
            },
            JournalEnd::Damaged { at, what, evidence } => Ending::Damaged { at, what, evidence },
        };
        Ok((lsn, ending))
    }
}

/// Looks for the entries of one life of a file.
pub(crate) struct FileWalk {
    window: Window,
    salt: u64,
    file_number: u64,
    position: u64,
}

impl FileWalk {
    fn new(window: Window, header: &JournalHeader) -> Self {
        Self {
            window,
            salt: header.salt,
            file_number: header.number,
            position: JOURNAL_HEADER_BYTES as u64,
        }
    }

    /// Opens a journal file; none if its header is not intact or not its own.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn open(
        environment: &Environment,
        number: u64,
    ) -> Result<Option<Self>, StorageError> {
        let mut window = Window::open(environment, &folder::journal_file(number))?;
        let header = JournalHeader::decode(window.at(0, JOURNAL_HEADER_BYTES)?);
        let own = header.filter(|header| header.number == number);
        Ok(own.map(|header| Self::new(window, &header)))
    }

    /// The next entry whose header, directory and change are intact; none if there is none to the end of the
    /// file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(crate) fn next_entry(&mut self) -> Result<Option<ScannedEntry>, StorageError> {
        while let Some((header, _)) = self.next_header()? {
            let bytes = self.read(header.entry_bytes().min(ENTRY_BYTES_MAX))?;
            self.position += header.entry_bytes();
            if let Some(entry) = ScannedEntry::decode(header, &bytes) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next intact header, to whose place it moves, and the place from where it had to search if it
    /// is not the one that comes next. `None` if there is none to the end of the file.
    fn next_header(&mut self) -> Result<Option<(EntryHeader, Option<u64>)>, StorageError> {
        let expected = self.position;
        if let Some(header) = self.header_at(expected)? {
            return Ok(Some((header, None)));
        }
        let mut position = align_block(expected);
        let next_round = position;
        while position < self.window.file_bytes() {
            if let Some(header) = self.header_at(position)? {
                self.position = position;
                let is_next = position == next_round && self.is_blank(expected, next_round)?;
                return Ok(Some((header, (!is_next).then_some(expected))));
            }
            position += BLOCK_BYTES as u64;
        }
        Ok(None)
    }

    fn header_at(&mut self, position: u64) -> Result<Option<EntryHeader>, StorageError> {
        let place = EntryPlace {
            salt: self.salt,
            file_number: self.file_number,
            position,
        };
        let bytes = self.window.at(position, ENTRY_HEADER_BYTES)?;
        Ok(EntryHeader::decode(bytes, &place))
    }

    fn is_blank(&mut self, start: u64, end: u64) -> Result<bool, StorageError> {
        let bytes = self.window.at(start, usize_of(end - start))?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// The entry at the present position; less at the end of the file.
    fn read(&self, length: u64) -> Result<Bytes, StorageError> {
        self.window.read(self.position, length)
    }
}
