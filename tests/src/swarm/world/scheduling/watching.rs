//! What comes of scheduled records.

use std::time::Duration;

use prost::Message as _;
use towpath_broker::core::TopicConfig;
use towpath_proto::{schedule, v1};
use towpath_storage::{Frame, TopicId};

use super::{Follower, REMINDERS, World};
use crate::history::{Event, Place, ScheduleEvent};

impl World {
    /// Reads on in one of the partitions.
    pub(super) fn read_schedules(&mut self, topic: TopicId) {
        let partitions = self.partition_count_of(topic);
        let topic = topic.get();
        let scheduling = self.apart.scheduling.as_mut().expect("it acts");
        if scheduling.followers.is_empty() {
            let places = (0..partitions).map(|partition| Place { topic, partition });
            scheduling.followers = places.map(Follower::new).collect();
        }
        let which = self.random.usize(..scheduling.followers.len());
        let mut follower = scheduling.followers[which];
        let bytes_max = self.random.usize(1..30_000);
        for frame in self
            .next_frames(&mut follower, bytes_max)
            .unwrap_or_default()
        {
            self.note_came(follower.place, &frame);
        }
        let scheduling = self.apart.scheduling.as_mut().expect("it acts");
        scheduling.followers[which] = follower;
    }

    fn note_came(&mut self, place: Place, frame: &Frame) {
        let engine = self.engine.as_ref().expect("it read");
        let time_ms = engine.shared.published.time_ms();
        let batch = v1::RecordBatch::decode(frame.payload.clone()).expect("records");
        for (offset, record) in (frame.header.base_offset.get()..).zip(batch.records) {
            let value = record.value.expect("a value");
            let number = value.first_chunk().expect("a number");
            let mut headers = record.headers.iter();
            let due = headers.find(|it| it.name == schedule::AT_MS);
            let due = due.and_then(|it| std::str::from_utf8(&it.value).ok()?.parse().ok());
            let event = ScheduleEvent::Came {
                place,
                offset,
                due_ms: due.expect("it says when it was due"),
                append_time_ms: frame.header.append_time_ms,
                time_ms,
            };
            self.note_schedule(u64::from_le_bytes(*number), event);
            self.counts.reminders += 1;
        }
    }

    /// Notes whether due records cannot be read.
    pub(in crate::swarm::world) fn observe_schedules(&mut self) {
        let (Some(engine), Some(scheduling)) = (&self.engine, &mut self.apart.scheduling) else {
            return;
        };
        let count = engine.sequencer.state().set_aside_count();
        if std::mem::replace(&mut scheduling.set_aside_count, count) < count {
            let time_ms = engine.shared.published.time_ms();
            self.history.push(Event::SchedulesSetAside { time_ms });
        }
    }

    /// The files that readers had open are gone with the broker.
    pub(in crate::swarm::world) fn reopen_schedules(&mut self) {
        if let Some(scheduling) = &mut self.apart.scheduling {
            scheduling.followers.iter_mut().for_each(Follower::reopen);
            scheduling.set_aside_count = 0;
        }
    }

    /// Has everything answered and delivered, and reads it.
    pub(in crate::swarm::world) fn finish_schedules(&mut self) {
        if self.apart.scheduling.is_none() {
            return;
        }
        let Some(topic) = self.topic_apart(REMINDERS, TopicConfig::default()) else {
            panic!("a healthy broker creates topics");
        };
        while self.schedule_again(topic) {
            self.settle_down();
        }
        // Three days ahead at most, at nine tenths of the clock's speed or more.
        for _ in 0..20 {
            self.clock.advance(Duration::from_secs(6 * 3_600));
            self.drive(|engine| engine.sequencer.idle());
            self.settle_down();
        }
        let engine = self.engine.as_ref().expect("it runs");
        let left = engine.sequencer.state().schedule_counts();
        assert_eq!(left.count, 0, "everything was delivered: {left:?}");
        for partition in 0..self.partition_count_of(topic) {
            let topic = topic.get();
            let mut follower = Follower::new(Place { topic, partition });
            while let Some(frames) = self.next_frames(&mut follower, 100_000) {
                for frame in frames {
                    self.note_came(follower.place, &frame);
                }
            }
        }
    }
}
