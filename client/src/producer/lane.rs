//! The part of a producer that goes over one stream: some partitions, and the stream's state.
//!
//! A pure state machine like [`PartitionQueue`], whose steps it passes on. It knows which partition
//! has something to send, for which identities the topic is open, and when it wants to be looked at.

mod answers;
mod identities;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::ids::{PartitionId, ProducerId};
use towpath_proto::names::TopicName;

use super::batch::Weighed;
use super::effects::Effects;
use super::life::BegunLife;
use super::partition::{PartitionQueue, Pushed, Rules, Sendable};
use super::receipt::Outcome;
use crate::Error;
use crate::backoff::Backoff;
use crate::time::later;
use identities::Identities;

pub(super) use answers::Verdict;

/// A broker that has answered nothing for this long while something was on the wire is taken for
/// lost: longer than a slow disk takes, shorter than a caller waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Which of the topic's partitions belong to a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneShare {
    /// Number of the lane.
    pub(super) lane: u32,
    /// Number of lanes, at least 1; partition `p` belongs to lane `p % lane_count`.
    pub(super) lane_count: u32,
    /// Number of partitions of the topic.
    pub(super) partition_count: u32,
}

/// Where a lane has a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// One stream's worth of a producer.
#[derive(Debug)]
pub(super) struct Lane {
    topic: TopicName,
    share: LaneShare,
    rules: Rules,
    partitions: Vec<PartitionQueue>,
    /// Partitions that have something to send; each at most once.
    ready: VecDeque<Place>,
    is_ready: Vec<bool>,
    identities: Identities,
    stream: StreamState,
    /// Batches that were sent on the present stream and are not answered.
    on_the_wire_count: usize,
    /// Bytes of all batches.
    held_bytes: usize,
    /// When the lane is looked at again by itself.
    alarm: Option<Instant>,
    /// When it should be, if that is earlier.
    wanted: Option<Instant>,
    /// Since when an answer is awaited.
    awaited_since: Option<Instant>,
    /// What keeps the broker out of reach.
    trouble: Option<Error>,
    /// Why no record is taken any more.
    end: Option<Error>,
    /// A newer life has the producer's name: the end comes once everything on the wire is answered.
    fenced: Option<Error>,
    effects: Effects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    /// There is none.
    Absent,
    /// Requests go out.
    Open,
    /// Nothing new goes out; answers still come.
    Draining,
}

/// A message for the stream.
#[derive(Debug, Clone)]
pub(super) enum LaneRequest {
    /// Opens the topic for an identity, whose number is the handle.
    Open {
        handle: u32,
        producer: ProducerId,
        /// The life of a named producer; 0 for others.
        epoch: u32,
    },
    /// Writes a batch.
    Produce(Sendable),
}

/// Records come in.
impl Lane {
    pub(super) fn new(
        topic: TopicName,
        share: LaneShare,
        rules: Rules,
        mut random: fastrand::Rng,
    ) -> Self {
        let numbers = (share.lane..share.partition_count).step_by(share.lane_count as usize);
        let partitions: Vec<_> = numbers
            .map(|number| {
                let backoff = Backoff::seeded(random.u64(..));
                PartitionQueue::new(PartitionId::new(number), backoff)
            })
            .collect();
        Self {
            topic,
            share,
            rules,
            ready: VecDeque::new(),
            is_ready: vec![false; partitions.len()],
            partitions,
            identities: Identities::default(),
            stream: StreamState::Absent,
            on_the_wire_count: 0,
            held_bytes: 0,
            alarm: None,
            wanted: None,
            awaited_since: None,
            trouble: None,
            end: None,
            fenced: None,
            effects: Effects::default(),
        }
    }

    /// The same for a producer with a name.
    #[must_use]
    pub(super) fn of_life(mut self, life: Option<Arc<BegunLife>>) -> Self {
        self.identities = Identities::of(life);
        self
    }

    /// Adds a record to a partition of this lane; looks at the clock once a batch.
    ///
    /// # Errors
    ///
    /// Why no record is taken any more.
    pub(super) fn push(
        &mut self,
        place: Place,
        weighed: &Weighed<'_>,
        clock: impl Fn() -> Instant,
    ) -> Result<Pushed, Error> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let Some(queue) = self.partitions.get_mut(place.0) else {
            return Err(Error::protocol("the partition belongs to another lane"));
        };
        let pushed = queue.push(weighed, &self.rules, &clock);
        self.held_bytes += weighed.batch_len;
        if pushed.has_changed_batch {
            let now = clock();
            let patience = if self.rules.linger.is_zero() {
                self.rules.give_up_after
            } else {
                self.rules.linger.min(self.rules.give_up_after)
            };
            self.want(later(now, patience));
            self.refresh(place, now);
        }
        Ok(pushed)
    }

    /// Finds a partition of this lane.
    pub(super) const fn place_of(&self, partition: PartitionId) -> Option<Place> {
        let LaneShare {
            lane, lane_count, ..
        } = self.share;
        if partition.get() % lane_count != lane {
            return None;
        }
        Some(Place((partition.get() / lane_count) as usize))
    }

    /// Whether a record of this size would join a batch that its partition has already.
    pub(super) fn would_join(&self, place: Place, batch_len: usize) -> bool {
        let queue = self.partitions.get(place.0);
        queue.is_some_and(|queue| queue.would_join(batch_len, &self.rules))
    }

    /// Lets everything go without waiting for more records.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.partitions.iter_mut().for_each(PartitionQueue::hurry);
        self.refresh_all(now);
    }

    /// Gives up one record of the batch with this outcome, since its caller does; returns what to tell
    /// the caller, or none if the batch has its outcome now.
    pub(super) fn give_up(
        &mut self,
        partition: PartitionId,
        outcome: &Arc<Outcome>,
        now: Instant,
    ) -> Option<Error> {
        let place = self.place_of(partition)?;
        let trouble = self.trouble.clone();
        let give_up = |queue: &mut PartitionQueue, effects: &mut Effects| {
            queue.give_up(outcome, trouble.as_ref(), effects)
        };
        self.change(place, now, give_up).flatten()
    }

    /// Takes no record any more; what there is goes on.
    pub(super) fn close(&mut self, end: Error, now: Instant) {
        self.end.get_or_insert(end);
        self.hurry(now);
    }

    /// Fails everything there is and takes no record any more.
    pub(super) fn end(&mut self, end: Error) {
        let end = self.end.get_or_insert(end).clone();
        self.fail(&end);
    }

    /// Fails everything there is.
    pub(super) fn fail(&mut self, error: &Error) {
        for queue in self.partitions.iter_mut().filter(|queue| !queue.is_empty()) {
            let error = error
                .clone()
                .with("topic", &self.topic)
                .with("partition", queue.id());
            queue.fail(&error, &mut self.effects);
        }
        self.on_the_wire_count = 0;
    }

    /// What the last steps have for the world outside.
    pub(super) fn take_effects(&mut self) -> Effects {
        let effects = std::mem::take(&mut self.effects);
        self.held_bytes = self.held_bytes.saturating_sub(effects.freed_bytes());
        effects
    }

    /// Whether there is any batch. True until the effects of its end were taken.
    pub(super) const fn has_work(&self) -> bool {
        self.held_bytes > 0
    }

    /// The outcomes that somebody still waits for.
    pub(super) fn unsettled(&self) -> Vec<Arc<Outcome>> {
        let mut outcomes = Vec::new();
        for queue in &self.partitions {
            queue.collect_unsettled(&mut outcomes);
        }
        outcomes
    }
}

/// Batches go out.
impl Lane {
    /// A stream is there: what is in doubt goes first.
    pub(super) fn open_stream(&mut self, now: Instant) {
        self.stream = StreamState::Open;
        self.refresh_all(now);
    }

    /// The stream is gone, or will not be used any more.
    pub(super) fn lose_stream(&mut self, trouble: Option<Error>, now: Instant) {
        self.stream = StreamState::Absent;
        self.trouble = trouble.or_else(|| self.trouble.take());
        self.identities.close_all();
        self.awaited_since = None;
        self.on_the_wire_count = 0;
        self.ready.clear();
        self.is_ready.fill(false);
        for queue in self.partitions.iter_mut().filter(|queue| !queue.is_empty()) {
            queue.lose_stream(now, &mut self.effects);
        }
    }

    /// Takes the next message for the stream, one partition after the other.
    pub(super) fn take_request(&mut self, now: Instant) -> Option<LaneRequest> {
        if self.stream != StreamState::Open {
            return None;
        }
        while self.identities.has_opening() || !self.ready.is_empty() {
            if let Some((handle, producer)) = self.identities.take_opening() {
                self.await_answer(now);
                return Some(LaneRequest::Open {
                    handle,
                    producer,
                    epoch: self.identities.epoch(),
                });
            }
            let place = self.ready.pop_front()?;
            if let Some(is_ready) = self.is_ready.get_mut(place.0) {
                *is_ready = false;
            }
            let queue = self.partitions.get_mut(place.0)?;
            // The identity may have changed since the partition was lined up.
            if !self.identities.open(queue.identity()) {
                continue;
            }
            if let Some(sendable) = queue.take_sendable(&self.rules, now) {
                self.on_the_wire_count += 1;
                self.await_answer(now);
                self.refresh(place, now);
                return Some(LaneRequest::Produce(sendable));
            }
        }
        None
    }

    /// Whether [`Lane::take_request`] has something to give.
    pub(super) fn has_request(&self) -> bool {
        self.stream == StreamState::Open
            && (!self.ready.is_empty() || self.identities.has_opening())
    }

    /// Sees to what is due by now and returns when to look again.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Instant> {
        for queue in self.partitions.iter_mut().filter(|queue| !queue.is_empty()) {
            queue.expire(&self.rules, now, self.trouble.as_ref(), &mut self.effects);
        }
        self.refresh_all(now);
        let busy = self.partitions.iter().filter(|queue| !queue.is_empty());
        let due = busy
            .filter_map(|queue| queue.next_wake(&self.rules, now))
            .min();
        let timeout = self.answer_timeout().filter(|timeout| now < *timeout);
        self.wanted = None;
        self.alarm = due.into_iter().chain(timeout).min();
        self.alarm
    }

    /// Whether the lane has to be looked at earlier than it is going to be; said only once.
    pub(super) fn take_call(&mut self) -> bool {
        let wanted = self.wanted.take();
        let is_earlier = |wanted: &Instant| self.alarm.is_none_or(|alarm| *wanted < alarm);
        match wanted.filter(is_earlier) {
            Some(wanted) => {
                self.alarm = Some(wanted);
                true
            }
            None => false,
        }
    }

    /// Whether the broker has left something unanswered for too long.
    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.answer_timeout().is_some_and(|timeout| timeout <= now)
    }

    fn answer_timeout(&self) -> Option<Instant> {
        self.awaited_since.map(|since| since + ANSWER_TIMEOUT)
    }

    fn await_answer(&mut self, now: Instant) {
        let since = *self.awaited_since.get_or_insert(now);
        self.want(since + ANSWER_TIMEOUT);
    }

    fn want(&mut self, time: Instant) {
        let is_later = |wanted: Instant| wanted <= time;
        if !self.wanted.is_some_and(is_later) {
            self.wanted = Some(time);
        }
    }

    /// Makes a step of one partition.
    fn change<R>(
        &mut self,
        place: Place,
        now: Instant,
        step: impl FnOnce(&mut PartitionQueue, &mut Effects) -> R,
    ) -> Option<R> {
        let queue = self.partitions.get_mut(place.0)?;
        let before = queue.on_the_wire_count();
        let result = step(queue, &mut self.effects);
        let answered = before.saturating_sub(queue.on_the_wire_count());
        self.on_the_wire_count = self.on_the_wire_count.saturating_sub(answered);
        self.refresh(place, now);
        Some(result)
    }

    fn refresh_all(&mut self, now: Instant) {
        for place in 0..self.partitions.len() {
            self.refresh(Place(place), now);
        }
    }

    /// Lines a partition up that has something to send, once the topic is open for its identity.
    fn refresh(&mut self, place: Place, now: Instant) {
        let (Some(queue), Some(is_ready)) =
            (self.partitions.get(place.0), self.is_ready.get_mut(place.0))
        else {
            return;
        };
        if self.stream != StreamState::Open || *is_ready || !queue.has_sendable(&self.rules, now) {
            return;
        }
        if self.identities.open(queue.identity()) {
            *is_ready = true;
            self.ready.push_back(place);
        }
    }
}

#[cfg(test)]
mod tests;
