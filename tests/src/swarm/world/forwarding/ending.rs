//! Reading what commits have appended, and the end: everything is handled.

use std::time::Duration;

use prost::Message as _;
use towpath_broker::core::TopicConfig;
use towpath_proto::v1;
use towpath_storage::{Frame, TopicId};

use super::committing::of_output;
use super::{GROUP_LANE, RESULTS, SOURCES, SUBSCRIPTION_LANE, World};
use crate::history::{Event, ForwardEvent, Place};
use crate::swarm::world::following::Follower;

impl World {
    /// Reads on in what commits have appended.
    pub(super) fn read_results(&mut self, results: TopicId) {
        let topic = results.get();
        let place = Place {
            topic,
            partition: 0,
        };
        let bytes_max = self.random.usize(1..30_000);
        let known = self.forwarding().followers.pop();
        let mut follower = known.unwrap_or_else(|| Follower::new(place));
        for frame in self
            .next_frames(&mut follower, bytes_max)
            .unwrap_or_default()
        {
            self.note_results(place, &frame);
        }
        self.forwarding().followers.push(follower);
    }

    fn note_results(&mut self, place: Place, frame: &Frame) {
        let batch = v1::RecordBatch::decode(frame.payload.clone()).expect("records");
        for (offset, record) in (frame.header.base_offset.get()..).zip(batch.records) {
            let (commit, source) = of_output(&record);
            let event = ForwardEvent::Read {
                source,
                place,
                offset,
            };
            self.note_forward(commit, event);
        }
    }

    /// Has everything answered and handled, by one worker and one member, and reads what came of it.
    pub(in crate::swarm::world) fn finish_forwards(&mut self) {
        if self.apart.forwarding.is_none() {
            return;
        }
        let config = TopicConfig::default();
        let sources = self.topic_apart(SOURCES, config);
        let results = self.topic_apart(RESULTS, config);
        let (sources, results) = sources.zip(results).expect("a healthy broker makes topics");
        while self.forward_again(results) {
            self.settle_down();
        }
        // Whether the others are there they may not know: they come, and go.
        self.connect_worker(1, sources, true);
        self.join_mover(1, sources, true);
        self.settle_down();
        self.part_worker(1);
        self.part_mover(1);
        let ends = self.end_of_topic(sources);
        let wanted = 2 * ends.iter().sum::<u64>();
        for round in 1..3_000 {
            if self.end_of_topic(results)[0] >= wanted {
                break;
            }
            self.connect_worker(0, sources, false);
            // What it lost track of it is told anew.
            self.join_mover(0, sources, round % 20 == 0);
            self.hear_worker(0);
            self.hear_mover(0);
            self.forward(sources, results);
            self.settle_down();
            self.clock.advance(Duration::from_millis(200));
            self.drive(|engine| engine.sequencer.idle());
        }
        self.settle_down();
        let topic = results.get();
        let place = Place {
            topic,
            partition: 0,
        };
        let mut follower = Follower::new(place);
        while let Some(frames) = self.next_frames(&mut follower, 100_000) {
            frames
                .iter()
                .for_each(|frame| self.note_results(place, frame));
        }
        self.note_forwards();
        for (partition, end) in (0..).zip(ends) {
            let topic = sources.get();
            let place = Place { topic, partition };
            for lane in [SUBSCRIPTION_LANE, GROUP_LANE] {
                self.history.push(Event::ForwardsEnd { lane, place, end });
            }
        }
    }
}
