//! The journal behind the checkpoint, read as recovery reads it.

use std::ops::ControlFlow;

use super::{Effect, Finding, Flow, Verification, VerifiedState};
use crate::checkpoint;
use crate::folder;
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::{DirectoryLine, FrameForm};
use crate::ids::Lsn;
use crate::journal::JournalPosition;
use crate::journal::scan::{JournalEnd, JournalScanner, ScannedEntry};
use crate::recovery::damage_of;

/// An append behind the checkpoint that recovery takes from its segment, if it takes it at all.
#[derive(Debug)]
pub(super) struct Journaled {
    pub(super) line: DirectoryLine,
    /// Where the journal holds it, damaged; none if it went by reference.
    pub(super) damaged_at: Option<JournalPosition>,
}

impl Verification<'_> {
    /// Brings the state to the last entry. Returns the appends whose bytes the journal does not hold.
    pub(super) fn journal(
        &mut self,
        footer: &CheckpointFooter,
        state: &mut dyn VerifiedState,
    ) -> Flow<Vec<Journaled>> {
        let mut journaled = Vec::new();
        let at = JournalPosition {
            file: footer.journal_file,
            position: footer.journal_position,
        };
        let opened = JournalScanner::open(self.environment, self.broker_id, at, footer.lsn);
        let Some(opened) = self.attempt(opened, Effect::Refused)? else {
            return Flow::Continue(journaled);
        };
        let Some(mut scanner) = opened else {
            let what = "the journal goes on here behind the checkpoint, and the file is missing or not that file";
            let path = folder::journal_file(at.file);
            self.find(Finding::new(&path, what, Effect::Refused))?;
            return Flow::Continue(journaled);
        };
        self.note_file(0)?;
        let (mut lsn, mut left_bytes) = (footer.lsn, scanner.left_bytes());
        let end = loop {
            let here = scanner.here();
            let next = self.attempt(scanner.next_entry(), Effect::Refused)?;
            let record_count = match next {
                None => return Flow::Continue(journaled),
                Some(ControlFlow::Continue(entry)) => {
                    lsn = entry.header.lsn;
                    apply(entry, here, state, &mut journaled)
                }
                Some(ControlFlow::Break(end)) => break end,
            };
            let left = scanner.left_bytes();
            self.note_records(left_bytes.saturating_sub(left), record_count)?;
            left_bytes = left;
        };
        let named = self.attempt(checkpoint::named_durable(self.environment), Effect::Refused)?;
        self.end(lsn, &end, named.unwrap_or(Lsn::ZERO))?;
        Flow::Continue(journaled)
    }

    fn end(&mut self, lsn: Lsn, end: &JournalEnd, named: Lsn) -> Flow {
        let at = end.at();
        let path = folder::journal_file(at.file);
        if let Some(what) = damage_of(end, lsn, named) {
            return self.find(Finding::at(&path, at.position, what, Effect::Refused));
        }
        let JournalEnd::Torn {
            remains: Some(bytes),
            ..
        } = end
        else {
            return Flow::Continue(());
        };
        let why = "it was never acknowledged, and is set aside at the next start";
        let what = "a round that was not finished";
        let finding = Finding::new(&path, what, Effect::Harmless { why });
        self.find(Finding {
            positions: Some(at.position..at.position + bytes.len() as u64),
            ..finding
        })
    }
}

/// Brings the state to an entry. Returns how many records it holds that are whole.
fn apply(
    entry: ScannedEntry,
    at: JournalPosition,
    state: &mut dyn VerifiedState,
    journaled: &mut Vec<Journaled>,
) -> u64 {
    let mut record_count = 0;
    for line in &entry.lines {
        state.apply_append(line);
    }
    for row in entry.rows {
        state.apply_row(row);
    }
    let mut inline = entry.frames.iter();
    for line in entry.lines {
        match line.form {
            FrameForm::Reference => journaled.push(Journaled {
                line,
                damaged_at: None,
            }),
            FrameForm::Inline => {
                if inline.next().is_some_and(|frame| !frame.is_intact) {
                    journaled.push(Journaled {
                        line,
                        damaged_at: Some(at),
                    });
                } else {
                    record_count += u64::from(line.frame.record_count);
                }
            }
        }
    }
    record_count
}
