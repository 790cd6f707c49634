//! Records of topics that look at them: what is left out of a batch, and what is marked.

use std::borrow::Cow;

use bytes::Bytes;
use towpath_proto::batch::{self, Edit};
use towpath_storage::{Append, PartitionRef, ProducerStamp, Row};

use super::super::command::{AppendAnswer, CarriedFacts};
use super::Sequencer;
use super::data::{Decided, accepted, repeat};
use super::draft::Draft;
use crate::core::{
    Admission, AppendDecision, AppendRefusal, AppendRequest, CommitWish, EntryRows, Outcome,
    STALE_HEADER, UnwrittenCause, UnwrittenRecord,
};

/// Batches of one entry as they are written.
#[derive(Debug)]
pub(super) struct AdmittedBatches {
    /// Each; none for one of which nothing is left.
    pub(super) appends: Vec<Option<(AppendRequest, Bytes)>>,
    /// What is remembered of their records.
    pub(super) rows: Vec<Row>,
    /// What was left out of each; empty if no topic looks at records.
    pub(super) unwritten: Vec<Vec<UnwrittenRecord>>,
    /// How many records were marked.
    pub(super) marked_count: usize,
}

impl AdmittedBatches {
    /// Batches of topics that do not look at records.
    pub(super) fn of_unwatched(appends: &[(AppendRequest, Bytes)]) -> Self {
        Self {
            appends: appends.iter().cloned().map(Some).collect(),
            rows: Vec::new(),
            unwritten: Vec::new(),
            marked_count: 0,
        }
    }

    /// A commit with these batches in the place of its own.
    pub(super) fn cut<'a>(&self, wish: &'a CommitWish) -> Cow<'a, CommitWish> {
        // What is marked is among what has rows.
        if self.rows.is_empty() && self.unwritten.iter().all(Vec::is_empty) {
            return Cow::Borrowed(wish);
        }
        let mut cut = wish.clone();
        let batches = wish.appends.iter().zip(&self.appends);
        cut.appends = batches
            .filter_map(|(append, admitted)| {
                let mut append = *append;
                append.request = admitted.as_ref()?.0;
                Some(append)
            })
            .collect();
        if cut.appends.is_empty() {
            // All of it happened before, and rests on nothing now.
            cut.expectations.clear();
            return Cow::Owned(cut);
        }
        // What was left out takes no offset.
        let left_out = |partition| {
            let batch = wish
                .appends
                .iter()
                .position(|it| it.request.partition == partition);
            batch.and_then(|batch| self.unwritten.get(batch))
        };
        for expectation in &mut cut.expectations {
            let unwritten = left_out(expectation.partition).map_or(&[][..], Vec::as_slice);
            let first = expectation.records_before;
            let before = unwritten.iter().filter(|it| u64::from(it.index) < first);
            expectation.records_before -= before.count() as u64;
        }
        Cow::Owned(cut)
    }
}

impl Sequencer {
    /// Decides on batches that become one entry: all of their records, or those that are not there yet.
    ///
    /// # Errors
    /// A record rests on a version that its key does not have, or brings an old version of its entity.
    pub(super) fn admit_all(
        &self,
        appends: &[(AppendRequest, Bytes)],
        facts: &CarriedFacts,
    ) -> Result<AdmittedBatches, AppendRefusal> {
        let admitted = self.admit_each(appends, facts)?;
        for (facts, unwritten) in facts.batches.iter().zip(&admitted.unwritten) {
            for record in unwritten {
                if let UnwrittenCause::StaleEntityVersion { current } = record.cause {
                    let record = facts.records.get(record.index as usize);
                    let origin = record.map_or(0, |record| record.origin);
                    return Err(AppendRefusal::StaleEntityVersion { origin, current });
                }
            }
        }
        Ok(admitted)
    }

    /// The same for records that are due: of those that bring an old version of their entity none is
    /// written, and the others are.
    ///
    /// # Errors
    /// A record rests on a version that its key does not have.
    pub(super) fn admit_each(
        &self,
        appends: &[(AppendRequest, Bytes)],
        facts: &CarriedFacts,
    ) -> Result<AdmittedBatches, AppendRefusal> {
        let mut rows = EntryRows::new(&self.state);
        let mut not_held = None;
        let mut admitted = AdmittedBatches {
            appends: Vec::with_capacity(appends.len()),
            rows: Vec::new(),
            unwritten: Vec::with_capacity(appends.len()),
            marked_count: 0,
        };
        for ((request, payload), facts) in appends.iter().zip(&facts.batches) {
            if facts.records.is_empty() {
                admitted.appends.push(Some((*request, payload.clone())));
                admitted.unwritten.push(Vec::new());
                continue;
            }
            let admission = rows.admit(request.partition, facts, self.time.now_ms())?;
            not_held = not_held.or(admission.not_held);
            admitted
                .appends
                .push(edit(request, payload, None, &admission));
            admitted.marked_count += admission.marked.len();
            admitted.unwritten.push(admission.unwritten);
        }
        // What is there already rests on nothing, unless something is written together with it.
        if let Some(mismatch) = not_held
            && admitted.appends.iter().any(Option::is_some)
        {
            return Err(mismatch.into());
        }
        admitted.rows = rows.into_rows();
        Ok(admitted)
    }

    /// Appends a batch of a stream, without the records that are there already.
    pub(super) fn append_watched(
        &mut self,
        request: &AppendRequest,
        payload: &Bytes,
        facts: &CarriedFacts,
        draft: &mut Draft,
    ) -> Result<Decided, AppendRefusal> {
        let (lsn, now_ms) = (self.next_lsn, self.time.now_ms());
        let partition = request.partition;
        let plain = facts.plain.as_ref();
        let Some(facts) = facts.batches.first() else {
            return self.append_unwatched(request, payload.clone(), draft);
        };
        if let Some(outcome) = self.state.judge_append(request)? {
            let on_disk = facts.unwritten_on_disk.as_ref();
            let answer = self.recall(partition, request.producer, outcome, on_disk);
            return Ok(Decided::Answer(answer));
        }
        let mut rows = EntryRows::new(&self.state);
        let admission = rows.admit(partition, facts, now_ms)?;
        let mut rows = rows.into_rows();
        let unwritten = &admission.unwritten;
        if let Some(stamp) = request.producer
            && !unwritten.is_empty()
        {
            rows.push(UnwrittenRecord::row(partition, stamp, unwritten, now_ms));
        }
        let Some((mut request, payload)) = edit(request, payload, plain, &admission) else {
            let Some(stamp) = request.producer else {
                return Ok(Decided::Answer(AppendAnswer::Rejected));
            };
            let accepted = self.state.accept_nothing(partition, stamp, lsn, now_ms);
            let (batch, row) = accepted?;
            rows.push(row);
            self.shared.metrics.note_looked_at(unwritten, 0);
            self.push_rows(rows, draft);
            return Ok(Decided::Answer(AppendAnswer::Accepted {
                batch,
                is_duplicate: false,
                unwritten: admission.unwritten,
            }));
        };
        // What is there already has its offsets before this.
        let before = (0..).zip(unwritten).filter(|(number, it)| {
            it.index == *number && matches!(it.cause, UnwrittenCause::RepeatedEvent(_))
        });
        let before = before.count() as u64;
        request.expected = request.expected.map(|it| it.advance(before));
        let placing = draft.placing(partition);
        Ok(match self.state.append(&request, placing, lsn, now_ms)? {
            AppendDecision::Append(line) => {
                let batch = accepted(&line);
                let metrics = &self.shared.metrics;
                metrics.note_looked_at(&admission.unwritten, admission.marked.len());
                self.apply_rows(&rows);
                self.push_entry(vec![Append { line, payload }], rows, draft);
                Decided::Answer(AppendAnswer::Accepted {
                    batch,
                    is_duplicate: false,
                    unwritten: admission.unwritten,
                })
            }
            AppendDecision::Repeated(outcome) => Decided::Answer(repeat(outcome)),
            AppendDecision::Wait(needs) => Decided::Wait(needs),
        })
    }

    /// What a batch that is sent again is answered with.
    pub(super) fn recall(
        &self,
        partition: PartitionRef,
        producer: Option<ProducerStamp>,
        outcome: Outcome,
        on_disk: Option<&Bytes>,
    ) -> AppendAnswer {
        let mut answer = repeat(outcome);
        if let AppendAnswer::Accepted { unwritten, .. } = &mut answer
            && let Some(stamp) = producer
        {
            *unwritten = self.state.unwritten(partition, stamp, on_disk);
        }
        answer
    }
}

/// A batch as it is written; none if nothing is left of it. One that came compressed and is changed is
/// written plain: compressing it again is not for the sequencer.
fn edit(
    request: &AppendRequest,
    payload: &Bytes,
    plain: Option<&Bytes>,
    admission: &Admission,
) -> Option<(AppendRequest, Bytes)> {
    let Admission {
        unwritten,
        marked,
        written_count,
        ..
    } = admission;
    if unwritten.is_empty() && marked.is_empty() {
        return Some((*request, payload.clone()));
    }
    if *written_count == 0 {
        return None;
    }
    let marks: Vec<(u32, String)> = marked
        .iter()
        .map(|(number, version)| (*number, version.to_string()))
        .collect();
    let edited = batch::edit(plain.unwrap_or(payload), |number| {
        if unwritten
            .binary_search_by_key(&number, |it| it.index)
            .is_ok()
        {
            return Edit::Drop;
        }
        match marks.binary_search_by_key(&number, |(marked, _)| *marked) {
            Ok(place) => Edit::AddHeader(STALE_HEADER, marks[place].1.as_bytes()),
            Err(_) => Edit::Keep,
        }
    });
    let request = AppendRequest {
        payload_bytes: u32::try_from(edited.len()).unwrap_or(u32::MAX),
        payload_crc: batch::crc(&edited),
        codec: None,
        record_count: *written_count,
        ..*request
    };
    Some((request, edited))
}
