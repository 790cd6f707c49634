//! One reader from where it begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_client::{Batch, Gap, GapReason, Reader, ReaderItem};

use super::content::digest;
use super::notebook::{Notebook, Sight};
use super::target::Targets;
use crate::history::{self, Event, Place};

/// Reads and notes what it gets.
#[derive(Debug)]
pub(super) struct Session {
    number: u64,
    reader: Reader,
    targets: Arc<Targets>,
    notebook: Arc<Notebook>,
    /// What comes next, by place.
    next: BTreeMap<Place, u64>,
    /// The highest LSN that a merged reader has got.
    merged_lsn: Option<u64>,
}

/// Whether there is more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    GoOn,
    End,
}

impl Session {
    /// Begins to read at these offsets.
    pub(super) fn start(
        number: u64,
        reader: Reader,
        targets: Arc<Targets>,
        notebook: Arc<Notebook>,
        starts: impl IntoIterator<Item = (Place, u64)>,
    ) -> Self {
        let next: BTreeMap<_, _> = starts.into_iter().collect();
        let starts = next.iter().map(|(place, offset)| (*place, *offset));
        notebook.note_start(number, starts);
        Self {
            number,
            reader,
            targets,
            notebook,
            next,
            merged_lsn: None,
        }
    }

    /// Sees to it that LSNs never fall.
    pub(super) const fn merged(mut self) -> Self {
        self.merged_lsn = Some(0);
        self
    }

    /// The next offset of each place.
    pub(super) const fn next_offsets(&self) -> &BTreeMap<Place, u64> {
        &self.next
    }

    /// Waits for what comes next and notes it. Dropping the future loses nothing.
    pub(super) async fn step(&mut self) -> Step {
        match self.reader.next_item().await {
            Some(Ok(ReaderItem::Batch(batch))) => self.take_batch(&batch),
            Some(Ok(ReaderItem::Gap(gap))) => self.take_gap(&gap),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let number = self.number;
                let next = &self.next;
                self.notebook
                    .complain(format!("reader {number} at {next:?}: {error}"));
                return Step::End;
            }
            None => return Step::End,
        }
        Step::GoOn
    }

    fn take_batch(&mut self, batch: &Batch) {
        let Some(target) = self.targets.named(batch.topic()) else {
            let topic = batch.topic();
            return self.notebook.complain(format!("got a batch of {topic}"));
        };
        let place = target.place(batch.partition());
        let sights: Vec<_> = batch
            .records()
            .map(|record| Sight {
                offset: record.offset().get(),
                value: digest(record.key(), record.value().unwrap_or_default()),
            })
            .collect();
        let lsn = batch.lsn().get();
        self.notebook.note_batch(self.number, place, lsn, &sights);
        self.next.insert(place, batch.offsets().end().get());
        if let Some(highest) = &mut self.merged_lsn {
            if lsn < *highest {
                let complaint = format!("merged reader got LSN {lsn} behind {highest}");
                self.notebook.complain(complaint);
            }
            *highest = lsn;
        }
    }

    fn take_gap(&mut self, gap: &Gap) {
        let Some(target) = self.targets.named(&gap.topic) else {
            let topic = &gap.topic;
            return self.notebook.complain(format!("got a gap of {topic}"));
        };
        let place = target.place(gap.partition);
        let (start, end) = (gap.range.start().get(), gap.range.end().get());
        let reason = match gap.reason {
            GapReason::DataLoss => history::GapReason::DataLoss,
            _ => history::GapReason::Trimmed,
        };
        self.notebook.note(Event::Gap {
            reader: self.number,
            place,
            start,
            end,
            reason,
        });
        self.next.insert(place, end);
    }
}
