//! The journal file that rounds are being written to.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::PreparedFile;
use crate::folder;
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::vfs::{BLOCK_BYTES, VfsFile};

#[derive(Debug)]
pub(super) struct JournalFile {
    number: u64,
    salt: u64,
    file: Arc<dyn VfsFile>,
    /// Where the next round goes; a multiple of the block size, never moves back.
    position: u64,
    /// End of the allocated space.
    allocated_end: u64,
}

impl From<PreparedFile> for JournalFile {
    fn from(prepared: PreparedFile) -> Self {
        Self {
            number: prepared.number,
            salt: prepared.salt,
            file: prepared.file,
            position: JOURNAL_HEADER_BYTES as u64,
            allocated_end: prepared.file_bytes,
        }
    }
}

impl JournalFile {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn room_bytes(&self) -> u64 {
        self.allocated_end - self.position
    }

    pub(super) fn file(&self) -> &dyn VfsFile {
        &*self.file
    }

    pub(super) fn path(&self) -> PathBuf {
        folder::journal_file(self.number)
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        assert!(
            bytes.is_multiple_of(BLOCK_BYTES as u64) && bytes <= self.room_bytes(),
            "INVARIANT: rounds are whole blocks inside the allocated space"
        );
        self.position += bytes;
    }
}
