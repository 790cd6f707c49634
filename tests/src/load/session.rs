//! One reader from where it begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_client::{
    Batch, Client, Error, ErrorReason, Gap, GapReason, Offset, PartitionId, Reader, ReaderItem,
    Source, Start,
};

use super::content::digest;
use super::notebook::{Notebook, Sight};
use super::target::{Target, Targets};
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
    /// For another reader, where a broker that cannot read its disk is no reason to complain.
    client: Option<Client>,
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
            client: None,
        }
    }

    /// Goes on with another reader where the broker could not read its disk.
    pub(super) fn undaunted(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
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
            Some(Err(error)) => return self.take_error(&error),
            None => return Step::End,
        }
        Step::GoOn
    }

    fn take_error(&mut self, error: &Error) -> Step {
        let (number, next) = (self.number, &self.next);
        let is_of_disk = error.reason() == Some(ErrorReason::StorageFailed);
        match self.client.as_ref().filter(|_| is_of_disk) {
            Some(client) => {
                self.reader = self.reader_from_here(client);
                self.notebook
                    .note_start(number, next.iter().map(|(place, it)| (*place, *it)));
                Step::GoOn
            }
            None => {
                let complaint = format!("reader {number} at {next:?}: {error}");
                self.notebook.complain(complaint);
                Step::End
            }
        }
    }

    fn reader_from_here(&self, client: &Client) -> Reader {
        let targets = self.targets.0.iter();
        let sources = targets.filter_map(|target| self.source_from_here(target));
        let reader = client.reader(sources).follow();
        match self.merged_lsn {
            Some(_) => reader.merged().build(),
            None => reader.build(),
        }
    }

    /// What is read of a topic; none if nothing is.
    fn source_from_here(&self, target: &Target) -> Option<Source> {
        let next = |place| Some(Offset::new(*self.next.get(&place)?));
        let offsets: Vec<_> = target
            .places()
            .filter_map(|place| Some((PartitionId::new(place.partition), next(place)?)))
            .collect();
        let partitions: Vec<_> = offsets.iter().map(|(partition, _)| *partition).collect();
        let source = || Source::new(target.name.to_string()).partitions(partitions);
        (!offsets.is_empty()).then(|| source().start(Start::Offsets(offsets)))
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
