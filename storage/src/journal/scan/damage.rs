//! What says that an entry had been durable, and which entry it was that is damaged.

use super::{JournalEnd, JournalScanner};
use crate::error::StorageError;
use crate::format::align_block;
use crate::format::journal_header::JOURNAL_HEADER_BYTES;
use crate::ids::Lsn;
use crate::journal::JournalPosition;

impl JournalScanner {
    /// Whether anything says that `lsn`, which should stand at the present position, was durable.
    pub(super) fn evidence_of(&self, lsn: Lsn) -> Result<Option<JournalPosition>, StorageError> {
        // Only rounds, which start on a block, are looked at; one that starts just here may be later
        // than the entry that is missing.
        let mut start = align_block(self.position);
        for file in &self.files {
            if let Some(position) = file.find_evidence(lsn, start)? {
                return Ok(Some(JournalPosition {
                    file: file.number,
                    position,
                }));
            }
            start = JOURNAL_HEADER_BYTES as u64;
        }
        let later = self.files.iter().find(|file| file.durable >= lsn);
        Ok(later.map(|file| JournalPosition {
            file: file.number,
            position: 0,
        }))
    }

    /// Where an entry is damaged of which no header can be read: behind the last one, unless nothing new stands
    /// there, since the journal had gone on in a later file by then.
    pub(super) fn find_place(&mut self, end: JournalEnd) -> Result<JournalEnd, StorageError> {
        let JournalEnd::Damaged { at, evidence, .. } = end else {
            return Ok(end);
        };
        if evidence.file <= at.file || self.remains()?.is_some() {
            return Ok(end);
        }
        let damaged = |file, position, what| JournalEnd::Damaged {
            at: JournalPosition { file, position },
            what,
            evidence,
        };
        if let Some((file, _)) = self.headless.iter().find(|(_, lsn)| *lsn == self.next_lsn) {
            return Ok(damaged(*file, 0, "the file header is damaged"));
        }
        let start = JOURNAL_HEADER_BYTES as u64;
        for file in self.files.iter().skip(1) {
            let is_written = file.number == evidence.file && evidence.position > start;
            let is_next = file.first_claim()? == Some(self.next_lsn);
            if is_next || is_written && file.header_at(start)?.is_none() {
                return Ok(damaged(file.number, start, "the entry header is damaged"));
            }
        }
        let before = evidence.file - 1;
        let is_there = self.files.iter().any(|file| file.number == before)
            || self.headless.iter().any(|(number, _)| *number == before);
        Ok(match is_there {
            true => end,
            false => damaged(before, 0, "nothing is left"),
        })
    }
}
