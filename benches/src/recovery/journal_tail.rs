//! What a broker that was ended has left behind its last checkpoint: what recovery has to read.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use towpath_storage::dump::{Dump, Item, Selection};
use towpath_storage::format::entry::{EntryHeader, EntryKind};
use towpath_storage::vfs::{BLOCK_BYTES, RealVfs};
use towpath_storage::{FrameForm, JournalPosition, Lsn};

use crate::{Error, Result};

/// The journal behind the newest checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JournalTail {
    /// Entries that say something; marks say nothing.
    pub(super) entry_count: u64,
    /// Length of the rounds.
    pub(super) journal_bytes: u64,
    /// Length of the frames that are only in segments, which recovery checks there.
    pub(super) referenced_bytes: u64,
}

impl JournalTail {
    /// Looks into the folder of a broker that does not run.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be opened; [`Error::Void`] if something in it cannot be read
    /// or is not as a broker leaves it.
    pub(super) fn measure(data_dir: &Path) -> Result<Self> {
        let vfs = RealVfs::new(data_dir).map_err(Error::io("open the data folder"))?;
        let selection = Selection {
            segments: false,
            ..Selection::default()
        };
        let mut reading = Reading::default();
        Dump::new(Arc::new(vfs)).run(&selection, &mut |item| reading.take(item));
        match reading.trouble {
            Some(trouble) => Err(Error::Void(trouble)),
            None => Ok(reading.to_tail()),
        }
    }
}

/// Adds up items in the order in which a dump tells them: checkpoints from old to new, then entries,
/// each before its appends.
#[derive(Debug, Default)]
struct Reading {
    checkpoint: Lsn,
    is_behind: bool,
    /// The part of each journal file that lies behind the checkpoint, in bytes.
    spans: BTreeMap<u64, Range<u64>>,
    entry_count: u64,
    referenced_bytes: u64,
    trouble: Option<String>,
}

impl Reading {
    fn take(&mut self, item: &Item) -> ControlFlow<()> {
        match item {
            Item::Checkpoint {
                footer: Some(footer),
                damage: None,
                ..
            } => self.checkpoint = footer.lsn,
            Item::Entry { at, header, .. } => self.take_entry(*at, header),
            Item::Append { line, .. } if self.is_behind && line.form == FrameForm::Reference => {
                self.referenced_bytes += line.frame.frame_bytes();
            }
            Item::Trouble { .. } => {
                self.trouble = Some(item.to_string());
                return ControlFlow::Break(());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn take_entry(&mut self, at: JournalPosition, header: &EntryHeader) {
        self.is_behind = header.lsn > self.checkpoint;
        if !self.is_behind {
            return;
        }
        self.entry_count += u64::from(header.kind == EntryKind::Decision);
        // Rounds fill whole blocks.
        let end = (at.position + header.entry_bytes()).next_multiple_of(BLOCK_BYTES as u64);
        let span = self.spans.entry(at.file).or_insert(at.position..end);
        span.end = end;
    }

    fn to_tail(&self) -> JournalTail {
        let lengths = self.spans.values().map(|span| span.end - span.start);
        JournalTail {
            entry_count: self.entry_count,
            journal_bytes: lengths.sum(),
            referenced_bytes: self.referenced_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
