//! The passes of a fetch over its partitions.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use towpath_storage::{Lsn, Offset, OffsetRange};

use super::lane::{Ahead, Lane};
use super::wait::{Waited, Waiter};
use super::{FetchEvent, FetchOptions, GapCause, Place, ReadFailure, Reading, Source};
use crate::plain::{NotPlain, codec_of, is_unaccepted, plain};
use crate::runtime::published::TopicView;

/// Memory of what is read ahead while merging. Beyond it, what is needed last is read twice.
pub(super) const AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One stream's reading of its partitions.
#[derive(Debug)]
pub(crate) struct Fetch {
    reading: Reading,
    options: FetchOptions,
    topics: Vec<SourceTopic>,
    lanes: Vec<Lane>,
    waiter: Waiter,
    /// Told before anything else is read.
    events: VecDeque<FetchEvent>,
    /// No frame of a later entry is read in this pass.
    snapshot: Lsn,
    /// Lanes that this pass still has to look at.
    unseen: VecDeque<usize>,
    /// While merging: lanes that were looked at, by the entry of their next frame.
    seen: BinaryHeap<Reverse<(Lsn, usize)>>,
    /// Memory of what all lanes have read ahead.
    ahead_bytes: usize,
    /// Lanes that are not over.
    open_count: usize,
    is_over: bool,
}

#[derive(Debug)]
struct SourceTopic {
    view: Arc<TopicView>,
    is_over: bool,
}

impl Fetch {
    /// Begins to read; the first pass goes up to `snapshot`, which without following is the only one.
    pub(crate) fn new(
        reading: Reading,
        sources: &[Source],
        snapshot: Lsn,
        options: FetchOptions,
    ) -> Self {
        let mut lanes = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            for (partition, start) in &source.starts {
                let place = Place {
                    source: number,
                    partition: *partition,
                };
                if let Some(handle) = source.topic.partition(*partition) {
                    lanes.push(Lane::new(place, &source.topic, handle.log(), *start));
                }
            }
        }
        if options.is_merging {
            // Each holds a block until all others have come as far: with less than that, blocks would be
            // read again for every frame.
            let share_bytes = AHEAD_BYTES_MAX / lanes.len().max(1);
            lanes
                .iter_mut()
                .for_each(|lane| lane.share_ahead(share_bytes));
        }
        let followed = if options.is_following { sources } else { &[] };
        let topics = sources.iter().map(|source| SourceTopic {
            view: Arc::clone(&source.topic),
            is_over: false,
        });
        Self {
            waiter: Waiter::new(followed, options.heartbeat_interval, &options.drain),
            reading,
            topics: topics.collect(),
            events: VecDeque::new(),
            snapshot,
            unseen: (0..lanes.len()).collect(),
            seen: BinaryHeap::new(),
            ahead_bytes: 0,
            open_count: lanes.len(),
            lanes,
            options,
            is_over: false,
        }
    }

    /// What is to be told next; none at the end. Dropping the future loses nothing but time.
    pub(crate) async fn next(&mut self) -> Option<FetchEvent> {
        loop {
            if self.is_over {
                return None;
            }
            if self.options.drain.has_begun() {
                self.is_over = true;
                return Some(FetchEvent::Draining);
            }
            if let Some(event) = self.events.pop_front() {
                self.waiter.note_told();
                self.count(&event);
                match self.readable(event) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            if self.open_count == 0 && !self.options.is_standing {
                return None;
            }
            if let Some(lane) = self.unseen.front().copied() {
                self.look(lane).await;
            } else if !self.seen.is_empty() {
                self.take_merged().await;
            } else {
                self.begin_pass().await;
            }
            self.options.memory.note_kept(self.ahead_bytes);
        }
    }

    /// Counts records that are told, batches whole as they are sent.
    fn count(&self, event: &FetchEvent) {
        if let FetchEvent::Frame(place, frame) = event
            && let Some(topic) = self.topics.get(place.source)
        {
            let record_count = frame.header.record_count.into();
            let delivered = topic.view.delivered();
            delivered.add(record_count, frame.payload.len() as u64);
        }
    }

    /// An event as its reader can take it: with a codec that it has named, or plain. None if there is none
    /// of it.
    fn readable(&mut self, event: FetchEvent) -> Option<FetchEvent> {
        let (place, frame) = match event {
            FetchEvent::Frame(place, frame)
                if is_unaccepted(&frame.header, self.options.accepted) =>
            {
                (place, frame)
            }
            event => return Some(event),
        };
        let codec = codec_of(&frame.header);
        match plain(frame) {
            Ok(frame) => {
                if let Some(codec) = codec {
                    let compressions = &self.reading.metrics.compressions;
                    compressions.note_told_plain(codec, frame.payload.len());
                }
                Some(FetchEvent::Frame(place, frame))
            }
            Err(NotPlain { range }) => {
                self.note_lost(place, range);
                None
            }
        }
    }

    /// Notes that a frame which was read cannot be told: reading goes on behind it as behind damage.
    fn note_lost(&mut self, place: Place, range: OffsetRange) {
        let Some(number) = self.number_of(place) else {
            return;
        };
        self.events.retain(|event| event.place() != Some(place));
        self.unseen.retain(|it| *it != number);
        self.seen.retain(|Reverse((_, it))| *it != number);
        if let Some(lane) = self.lanes.get_mut(number) {
            self.ahead_bytes -= lane.ahead_bytes();
            lane.drop_ahead();
        }
        self.note_gap(number, range, GapCause::Lost);
    }

    /// Reads nothing yet of these topics: [`Fetch::begin`] says what.
    pub(crate) fn of_topics(
        reading: Reading,
        topics: &[Arc<TopicView>],
        snapshot: Lsn,
        options: FetchOptions,
    ) -> Self {
        let sources = topics.iter().map(|topic| Source {
            topic: Arc::clone(topic),
            starts: Vec::new(),
        });
        Self::new(reading, &sources.collect::<Vec<_>>(), snapshot, options)
    }

    /// Reads one more partition of its topics, from `start` on; one that is read already begins anew.
    /// Not while merging.
    pub(crate) fn begin(&mut self, place: Place, start: Offset) {
        self.stop(place);
        let Some(topic) = self.topics.get(place.source).filter(|it| !it.is_over) else {
            return;
        };
        let Some(handle) = topic.view.partition(place.partition) else {
            return;
        };
        let lane = Lane::new(place, &topic.view, handle.log(), start);
        self.waiter.subscribe(&topic.view, place.partition);
        let number = self.number_of(place).unwrap_or(self.lanes.len());
        match self.lanes.get_mut(number) {
            Some(over) => *over = lane,
            None => self.lanes.push(lane),
        }
        self.unseen.push_back(number);
        self.open_count += 1;
    }

    /// Reads a partition no more, and tells nothing more of it.
    pub(crate) fn stop(&mut self, place: Place) {
        let Some(number) = self.number_of(place) else {
            return;
        };
        self.end_lane(number);
        self.unseen.retain(|it| *it != number);
        self.events.retain(|event| event.place() != Some(place));
        if let Some(topic) = self.topics.get(place.source) {
            self.waiter.unsubscribe(&topic.view, place.partition);
        }
    }

    fn number_of(&self, place: Place) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.place == place)
    }

    /// Whether something was read that is told without reading more.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Memory of what is read ahead.
    #[cfg(test)]
    pub(super) fn ahead_bytes(&self) -> usize {
        self.ahead_bytes
    }

    /// Looks at the first unseen lane and, unless others must be compared with it, takes from it.
    async fn look(&mut self, number: usize) {
        let Some(lane) = self.lanes.get_mut(number).filter(|lane| !lane.is_over) else {
            self.unseen.pop_front();
            return;
        };
        let held = lane.ahead_bytes();
        let memory = &self.options.memory;
        let ahead = lane.look(&self.reading, memory, self.snapshot).await;
        self.ahead_bytes = self.ahead_bytes + lane.ahead_bytes() - held;
        let is_taken = matches!(ahead, Ahead::Frame(_)) && !self.options.is_merging;
        if is_taken {
            memory.begin_turn().await;
        }
        // Only now, so that a future that was dropped looks again.
        self.unseen.pop_front();
        match ahead {
            Ahead::Frame(lsn) if self.options.is_merging => {
                self.seen.push(Reverse((lsn, number)));
                self.bound_ahead();
            }
            Ahead::Frame(_) => self.take(number, self.snapshot),
            Ahead::End => self.note_end(number),
            Ahead::Gap(range, cause) => self.note_gap(number, range, cause),
            Ahead::Failed(failure) => self.note_failure(number, failure),
        }
    }

    /// Takes from the lane whose frame is next of all, up to the next frame of another lane.
    async fn take_merged(&mut self) {
        self.options.memory.begin_turn().await;
        let Some(Reverse((_, number))) = self.seen.pop() else {
            return;
        };
        let other = self.seen.peek().map(|Reverse((lsn, _))| *lsn);
        self.take(number, other.unwrap_or(self.snapshot).min(self.snapshot));
    }

    fn take(&mut self, number: usize, lsn_max: Lsn) {
        // Its topic may have been deleted since it was looked at.
        let Some(lane) = self.lanes.get_mut(number).filter(|lane| !lane.is_over) else {
            return;
        };
        let (place, held) = (lane.place, lane.ahead_bytes());
        let frames = lane.take(lsn_max, self.options.accepted).into_iter();
        self.ahead_bytes = self.ahead_bytes + lane.ahead_bytes() - held;
        for frame in frames {
            let hole = frame.hole_behind();
            if !frame.is_gone() {
                self.events.push_back(FetchEvent::Frame(place, frame));
            }
            // Where records are, the holes before and between them are told by their offsets.
            self.events.extend(hole.map(|range| FetchEvent::Gap {
                place,
                range,
                cause: GapCause::Compacted,
            }));
        }
        // When merging, its next frame must be known before any other is told; otherwise all the
        // others have their turn before.
        self.unseen.push_back(number);
    }

    fn note_end(&mut self, number: usize) {
        let Some(lane) = self.lanes.get_mut(number) else {
            return;
        };
        if !lane.is_caught_up {
            lane.is_caught_up = true;
            self.events.push_back(FetchEvent::CaughtUp {
                place: lane.place,
                end: lane.next,
                lsn: self.snapshot,
            });
        }
        if !self.options.is_following {
            self.end_lane(number);
        }
    }

    fn note_gap(&mut self, number: usize, range: OffsetRange, cause: GapCause) {
        let Some(lane) = self.lanes.get_mut(number) else {
            return;
        };
        // A gap stands in front only when nothing was read ahead.
        let place = lane.place;
        let left = OffsetRange {
            start: range.end,
            end: lane.log_end().max(range.end),
        };
        lane.skip_to(range.end);
        self.events.push_back(FetchEvent::Gap {
            place,
            range,
            cause,
        });
        let failure = match cause {
            GapCause::Lost if !self.options.skips_loss => ReadFailure::Lost(range),
            GapCause::Trimmed if self.options.stops_at_trimmed => ReadFailure::Trimmed {
                requested: range.start,
                range: left,
            },
            GapCause::Lost | GapCause::Trimmed | GapCause::Compacted => {
                return self.unseen.push_back(number);
            }
        };
        self.note_failure(number, failure);
    }

    fn note_failure(&mut self, number: usize, failure: ReadFailure) {
        let Some(lane) = self.lanes.get_mut(number) else {
            return;
        };
        let Place { source, partition } = lane.place;
        if failure == ReadFailure::Deleted {
            self.end_topic(source);
            return;
        }
        self.end_lane(number);
        self.events.push_back(FetchEvent::Failed {
            source,
            partition: Some(partition),
            failure,
        });
    }

    fn end_topic(&mut self, source: usize) {
        let Some(topic) = self.topics.get_mut(source).filter(|topic| !topic.is_over) else {
            return;
        };
        topic.is_over = true;
        for number in 0..self.lanes.len() {
            if self
                .lanes
                .get(number)
                .is_some_and(|lane| lane.place.source == source)
            {
                self.end_lane(number);
            }
        }
        self.events.push_back(FetchEvent::Failed {
            source,
            partition: None,
            failure: ReadFailure::Deleted,
        });
    }

    fn end_lane(&mut self, number: usize) {
        if let Some(lane) = self.lanes.get_mut(number).filter(|lane| !lane.is_over) {
            self.ahead_bytes -= lane.ahead_bytes();
            self.open_count -= 1;
            lane.is_over = true;
            lane.drop_ahead();
        }
    }

    /// Begins the next pass, or waits until there may be something for one.
    async fn begin_pass(&mut self) {
        let is_gone =
            |(_, topic): &(usize, &SourceTopic)| !topic.is_over && topic.view.is_deleted();
        let gone = self.topics.iter().enumerate().find(is_gone);
        if let Some(source) = gone.map(|(source, _)| source) {
            self.end_topic(source);
            return;
        }
        // The LSN before the ends: whatever it covers is then seen in them.
        let durable = self.reading.published().durable();
        if durable > self.snapshot {
            self.snapshot = durable;
            let wanting = self.lanes.iter().enumerate();
            let wanting = wanting.filter(|(_, lane)| lane.wants_pass());
            self.unseen.extend(wanting.map(|(number, _)| number));
            if !self.unseen.is_empty() {
                return;
            }
        }
        if self.waiter.wait().await == Waited::Silence {
            let durable = self.reading.published().durable();
            if !self.lanes.iter().any(Lane::wants_pass) {
                self.events.push_back(FetchEvent::Heartbeat(durable));
            }
        }
    }

    /// Lets go of what is needed last of what was read ahead, if it is too much.
    fn bound_ahead(&mut self) {
        while self.ahead_bytes > AHEAD_BYTES_MAX {
            let holds = |number: usize| {
                let lane = self.lanes.get(number);
                lane.is_some_and(|lane| lane.ahead_bytes() > 0)
            };
            let first = self.seen.peek().map(|Reverse((_, number))| *number);
            let holding = self
                .seen
                .iter()
                .filter(|Reverse((_, number))| holds(*number));
            let last = holding.min().map(|Reverse((_, number))| *number);
            // What is needed next stays, however large it is.
            let Some(last) = last.filter(|last| Some(*last) != first) else {
                return;
            };
            if let Some(lane) = self.lanes.get_mut(last) {
                self.ahead_bytes -= lane.ahead_bytes();
                lane.drop_ahead();
            }
        }
    }
}
