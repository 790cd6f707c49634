//! Commits that were not answered: sent again, in their order, over every new stream.
//!
//! One is on its way at a time, and what is committed meanwhile becomes one commit. It goes when the answer
//! is there and somebody waits for it; what nobody waits for goes from time to time. So whoever commits every
//! batch, or every record, and waits for none costs the broker no sync for each: that took a third of the
//! speed of a group that does nothing but read and commit batches of 128 KiB, and half as much again of the
//! broker's processor time.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;
use towpath_proto::v1;

use super::holding::Place;
use crate::Error;

/// What becomes of one commit.
pub(in crate::group) type CommitAnswer = oneshot::Sender<Result<(), Error>>;

/// Commits that were not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: VecDeque<PendingCommit>,
    /// So many of them, the oldest, were sent over the present stream.
    sent_count: usize,
}

/// Calls that are one commit for the broker.
#[derive(Debug)]
struct PendingCommit {
    offsets: BTreeMap<Place, v1::OffsetCommit>,
    callers: Vec<Caller>,
    /// Nothing is added to it, and it waits for no answer to another one.
    is_closed: bool,
    /// Somebody waits for the answer, or it has waited for long enough.
    is_urgent: bool,
}

/// Who waits for an answer, and of which partitions.
#[derive(Debug)]
struct Caller {
    places: Vec<Place>,
    answer: CommitAnswer,
}

impl Commits {
    /// Adds a commit, to the one that waits to be sent if they can be one. Commits beyond what was
    /// received stay alone (`is_sound` is false): they may be refused, and the others with them.
    pub(super) fn push(
        &mut self,
        offsets: BTreeMap<Place, v1::OffsetCommit>,
        is_sound: bool,
        answer: CommitAnswer,
    ) {
        let places = offsets.keys().copied().collect();
        let caller = Caller { places, answer };
        let open = self.waiting.range_mut(self.sent_count..).next_back();
        match open.filter(|it| is_sound && it.may_add(&offsets)) {
            Some(open) => open.add(&offsets, caller),
            None => self.waiting.push_back(PendingCommit {
                offsets,
                callers: vec![caller],
                is_closed: !is_sound,
                is_urgent: false,
            }),
        }
    }

    /// A new stream begins: nothing was sent over it. A commit that was carried out already has no effect.
    pub(super) const fn begin(&mut self) {
        self.sent_count = 0;
    }

    /// What was said before something else is said goes before it.
    pub(super) fn close(&mut self) {
        let unsent = self.waiting.range_mut(self.sent_count..);
        unsent.for_each(|it| it.is_closed = true);
    }

    /// What was said is sent as soon as the one before is answered.
    pub(super) fn hurry(&mut self) {
        if let Some(open) = self.waiting.range_mut(self.sent_count..).next_back() {
            open.is_urgent = true;
        }
    }

    /// Whether one is to be sent now.
    pub(super) fn is_due(&self) -> bool {
        let has_more = self.waiting.len() > self.sent_count + 1;
        let is_due = |it: &PendingCommit| it.is_closed || it.is_urgent && self.sent_count == 0;
        let next = self.waiting.get(self.sent_count);
        next.is_some_and(|it| has_more || is_due(it))
    }

    /// Whether one is to be hurried along that nobody waits for.
    pub(super) fn is_idle(&self) -> bool {
        let open = self.waiting.range(self.sent_count..).next_back();
        open.is_some_and(|it| !it.is_closed && !it.is_urgent)
    }

    /// Takes the one that is to be sent next, which stays until it is answered.
    pub(super) fn take_request(&mut self) -> Option<v1::CommitOffsets> {
        let next = self.waiting.get(self.sent_count)?;
        self.sent_count += 1;
        let offsets = next.offsets.values().copied().collect();
        Some(v1::CommitOffsets { offsets })
    }

    /// The broker has answered the oldest one.
    pub(super) fn take(&mut self, committed: v1::Committed) -> Result<(), Error> {
        let is_sent = self.sent_count > 0;
        let oldest = self
            .waiting
            .pop_front_if(|oldest| is_sent && oldest.offsets.len() == committed.results.len());
        let commit = oldest
            .ok_or_else(|| Error::protocol("the broker answers a commit that was not sent"))?;
        self.sent_count -= 1;
        commit.answer(committed.results);
        Ok(())
    }

    /// The group is so far by now: what was not sent and is not above that is done.
    pub(super) fn overtake(&mut self, offsets: &BTreeMap<Place, v1::OffsetCommit>) {
        let is_done = |place: &Place, commit: &v1::OffsetCommit| {
            let known = offsets.get(place);
            known.is_some_and(|it| it.generation == commit.generation && commit.offset <= it.offset)
        };
        let mut place = self.sent_count;
        while let Some(pending) = self.waiting.get_mut(place) {
            pending.offsets.retain(|place, it| !is_done(place, it));
            if !pending.offsets.is_empty() {
                pending.answer_done();
                place += 1;
            } else if let Some(done) = self.waiting.remove(place) {
                done.answer(Vec::new());
            }
        }
    }

    /// No answer will come any more.
    pub(super) fn fail(&mut self, error: &Error) {
        self.sent_count = 0;
        for caller in self.waiting.drain(..).flat_map(|it| it.callers) {
            drop(caller.answer.send(Err(error.clone())));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl PendingCommit {
    /// A partition is committed in one generation at once.
    fn may_add(&self, more: &BTreeMap<Place, v1::OffsetCommit>) -> bool {
        let is_same = |(place, commit): (&Place, &v1::OffsetCommit)| {
            let known = self.offsets.get(place);
            known.is_none_or(|known| known.generation == commit.generation)
        };
        !self.is_closed && more.iter().all(is_same)
    }

    fn add(&mut self, more: &BTreeMap<Place, v1::OffsetCommit>, caller: Caller) {
        for (place, commit) in more {
            let known = self.offsets.entry(*place).or_insert(*commit);
            known.offset = known.offset.max(commit.offset);
        }
        self.callers.push(caller);
    }

    /// Tells those who wait for nothing any more that all is well.
    fn answer_done(&mut self) {
        let offsets = &self.offsets;
        let is_done = |caller: &mut Caller| {
            let mut places = caller.places.iter();
            places.all(|place| !offsets.contains_key(place))
        };
        for caller in self.callers.extract_if(.., is_done) {
            // Nobody may be waiting for it.
            drop(caller.answer.send(Ok(())));
        }
    }

    /// Tells each caller the first error of its partitions.
    fn answer(self, results: Vec<v1::CommitResult>) {
        let results = self.offsets.into_keys().zip(results);
        let refused = results.filter_map(|(place, result)| Some((place, result.error?)));
        let refused: BTreeMap<Place, v1::Error> = refused.collect();
        for Caller { places, answer } in self.callers {
            let refused = places.iter().find_map(|place| refused.get(place));
            let outcome = refused.map_or(Ok(()), |error| Err(Error::from_stream(error)));
            // Nobody may be waiting for it.
            drop(answer.send(outcome));
        }
    }
}

#[cfg(test)]
mod tests;
