//! Who works on topics of their own beside producers and readers: by the seed's number, not drawn, so that the
//! others stay what they are.

use tokio::sync::oneshot;
use towpath_broker::core::{CreateTopic, TopicConfig};
use towpath_broker::runtime::command::ControlCommand;
use towpath_proto::names::TopicName;
use towpath_storage::{Offset, TopicId};

use super::World;
use super::forwarding::{Forwarding, RESULTS, SOURCES};
use super::keeping::{CUSTOMERS, Keeping};
use super::scheduling::{REMINDERS, Scheduling};
use crate::history::Place;

/// The topics that they have for themselves.
const TOPICS: [&str; 4] = [REMINDERS, CUSTOMERS, SOURCES, RESULTS];

/// Who there is.
#[derive(Debug, Default)]
pub(super) struct Apart {
    pub(super) scheduling: Option<Scheduling>,
    pub(super) keeping: Option<Keeping>,
    pub(super) forwarding: Option<Forwarding>,
}

impl Apart {
    /// Those of a seed: seven of sixteen have nobody. What has been found before was found by those.
    pub(super) fn of(seed: u64) -> Self {
        let number = seed % 16;
        Self {
            scheduling: [1, 9, 14].contains(&number).then(Scheduling::default),
            keeping: Self::keeping(number, seed / 16),
            forwarding: [5, 15].contains(&number).then(Forwarding::default),
        }
    }

    fn keeping(number: u64, other: u64) -> Option<Keeping> {
        let (is_compacted, has_versions) = match number {
            3 => (true, false),
            11 | 14 => (true, true),
            0 | 8 => (false, true),
            _ => return None,
        };
        let grace_ms = [0, 1_000, 20_000][(other % 3) as usize];
        Some(Keeping::new(is_compacted, has_versions, grace_ms))
    }

    fn is_absent(&self) -> bool {
        self.scheduling.is_none() && self.keeping.is_none() && self.forwarding.is_none()
    }

    /// Whether nobody else works on a topic.
    pub(super) fn owns(topic: &str) -> bool {
        TOPICS.contains(&topic)
    }
}

impl World {
    /// Lets one of them do something. Returns whether it was the turn of one.
    pub(super) fn act_apart(&mut self) -> bool {
        let is_turn = !self.apart.is_absent() && self.random.u8(..5) < 2;
        match (&self.apart.scheduling, &self.apart.keeping) {
            _ if !is_turn => {}
            (None, None) => self.act_on_forwards(),
            (Some(_), Some(_)) if self.random.bool() => self.act_on_keys(),
            (Some(_), _) => self.act_on_schedules(),
            (None, _) => self.act_on_keys(),
        }
        is_turn
    }

    pub(super) fn take_apart_answers(&mut self) {
        self.take_schedule_answers();
        self.take_key_answers();
        self.take_forward_answers();
    }

    pub(super) fn observe_apart(&mut self) {
        self.observe_schedules();
    }

    pub(super) fn reopen_apart(&mut self) {
        self.reopen_schedules();
        self.reopen_keys();
        self.reopen_forwards();
    }

    pub(super) fn finish_apart(&mut self) {
        // Days pass with what is scheduled: nothing else may wait for an answer then.
        self.finish_keys();
        self.finish_forwards();
        self.finish_schedules();
    }

    /// The topic of this name; asks for it to be created if there is none.
    pub(super) fn topic_apart(&mut self, name: &str, config: TopicConfig) -> Option<TopicId> {
        let name = TopicName::new(name).unwrap();
        for _ in 0..2 {
            let topics = self.engine.as_ref()?.shared.published.topics();
            if let Some(view) = topics.named(&name) {
                return Some(view.id());
            }
            let (answer, _) = oneshot::channel();
            let wish = CreateTopic {
                name: name.clone(),
                partition_count: 2,
                config,
            };
            self.push_control(ControlCommand::CreateTopic {
                wish,
                is_dry_run: false,
                answer,
            });
        }
        None
    }

    /// One past the last record that may be read.
    pub(super) fn end_of(&self, place: Place) -> Option<Offset> {
        let topics = self.engine.as_ref()?.shared.published.topics();
        let view = topics.with_id(TopicId::new(place.topic))?;
        Some(view.partition(place.partition)?.log().end())
    }

    /// How many partitions a topic has.
    pub(super) fn partition_count_of(&self, topic: TopicId) -> u32 {
        let engine = self.engine.as_ref().expect("it runs");
        let topics = engine.shared.published.topics();
        let view = topics.with_id(topic).expect("nobody deletes it");
        u32::try_from(view.partitions().len()).unwrap()
    }
}
