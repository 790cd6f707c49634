//! Clerks at work.

use towpath_broker::core::AppendRefusal;
use towpath_broker::runtime::command::Published;
use towpath_storage::TopicId;

use super::commands::{append, facts_of, key_of, to_commit, to_publish};
use super::{Answer, Call, Entity, Request, World};
use crate::history::EntityEvent;
use crate::swarm::world::told::{Told, told};

/// How many keys a partition has.
const KEYS_OF_PARTITION: u8 = 5;

impl World {
    pub(super) fn write_keys(&mut self, topic: TopicId) {
        if self.random.bool() && self.write_keys_again(topic) {
            return;
        }
        let clerk = self.random.usize(..super::CLERKS);
        let number = self.keeping().record_count;
        let mut batches = Vec::new();
        for partition in 0..self.partition_count_of(topic) {
            if partition == 0 || self.random.u8(..4) == 0 {
                batches.push((partition, self.draw_entities(clerk, partition)));
            }
        }
        if batches.len() == 1 && self.random.bool() {
            let entities = self.draw_entities(clerk, 1);
            batches = vec![(1, entities)];
        }
        for (partition, entities) in &batches {
            for entity in entities {
                let event = EntityEvent::Sent {
                    request: number,
                    key: entity.key.into(),
                    is_tombstone: entity.is_tombstone,
                    expected: entity.expected,
                };
                self.note_entity(topic, *partition, entity.number, event);
            }
        }
        let request = Request {
            topic,
            number,
            clerk,
            // A clock that jumps by months ends what is remembered of keys.
            is_keyed: !self.weather.has_clock_jumps && self.random.bool(),
            batches,
        };
        self.push_keys(topic, request);
    }

    /// Records of some keys of a partition; what a clerk expects is often no longer so.
    fn draw_entities(&mut self, clerk: usize, partition: u32) -> Vec<Entity> {
        let count = self.random.usize(1..6);
        let padding_max = [100, 1_000, 4_000][self.random.usize(..3)];
        let has_versions = self.keeping().config.has_key_versions;
        let mut entities = Vec::new();
        for _ in 0..count {
            let (is_tombstone, is_exact) = (self.random.u8(..5) == 0, self.random.bool());
            let key = 2 * self.random.u8(..KEYS_OF_PARTITION) + u8::try_from(partition).unwrap();
            let padding = self.random.usize(..padding_max);
            let keeping = self.keeping();
            let number = keeping.record_count;
            keeping.record_count += 1;
            let belief = keeping.beliefs[clerk].get(&key).copied().unwrap_or(0);
            let before = entities.iter().filter(|it: &&Entity| it.key == key).count();
            entities.push(Entity {
                number,
                key,
                is_tombstone,
                expected: (has_versions && is_exact).then_some(belief + before as u64),
                padding,
            });
        }
        entities
    }

    /// Sends a request again that was not answered. Returns whether there was any.
    pub(super) fn write_keys_again(&mut self, topic: TopicId) -> bool {
        let doubtful = self.keeping().doubtful.pop();
        let is_any = doubtful.is_some();
        if let Some(request) = doubtful {
            self.push_keys(topic, request);
        }
        is_any
    }

    fn push_keys(&mut self, topic: TopicId, request: Request) {
        let Some(engine) = &self.engine else { return };
        let snapshot = engine.shared.index.snapshot();
        let hash_key = engine.identity.broker_id.as_bytes();
        let facts = facts_of(topic, &request, hash_key, &snapshot);
        let key = key_of(&request, &snapshot);
        let (Ok(facts), Ok(key)) = (facts, key) else {
            // The disk could not be read: nothing was sent, or nothing again.
            if request.is_keyed {
                self.keeping().doubtful.push(request);
            }
            return;
        };
        let appends = request.batches.iter().map(|it| append(topic, it)).collect();
        let (command, answer) = match request.is_keyed {
            true => to_commit(appends, facts, key),
            false => to_publish(appends, facts),
        };
        let pushed = engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.keeping().waiting.push(Call { request, answer });
    }

    /// Takes the answers that came.
    pub(in crate::swarm::world) fn take_key_answers(&mut self) {
        let Some(keeping) = &mut self.apart.keeping else {
            return;
        };
        for mut call in std::mem::take(&mut keeping.waiting) {
            match call.answer.take() {
                Told::Nothing => self.keeping().waiting.push(call),
                Told::Lost if call.request.is_keyed => self.keeping().doubtful.push(call.request),
                Told::Lost => {}
                Told::Done(published) => self.take_written_keys(&call.request, published),
                Told::Refused(refusal) => self.take_key_refusal(&call.request, refusal),
            }
        }
    }

    fn take_written_keys(&mut self, request: &Request, published: Published) {
        let Published {
            base_offsets,
            append_time_ms,
            ..
        } = published;
        let count = request.batches.len();
        assert_eq!(base_offsets.len(), count, "an offset for each batch");
        for ((partition, entities), base) in request.batches.iter().zip(base_offsets) {
            for (offset, entity) in (base.get()..).zip(entities) {
                let event = EntityEvent::Accepted {
                    offset,
                    append_time_ms,
                };
                self.note_entity(request.topic, *partition, entity.number, event);
                self.counts.entities += 1;
                let belief = self.keeping().beliefs[request.clerk].entry(entity.key);
                let known = belief.or_default();
                *known = entity.expected.map_or(*known + 1, |it| it + 1);
            }
        }
    }

    fn take_key_refusal(&mut self, request: &Request, refusal: AppendRefusal) {
        let mismatch = match refusal {
            AppendRefusal::ExpectedVersionMismatch(mismatch) => Some(mismatch),
            AppendRefusal::StorageFull => None,
            other => panic!("unexpected answer {other:?} to {request:?}"),
        };
        self.counts.mismatches += u64::from(mismatch.is_some());
        let mut is_found = mismatch.is_none();
        for (partition, entities) in &request.batches {
            for (origin, entity) in (0..).zip(entities) {
                let meant = mismatch.filter(|it| {
                    it.origin == origin && Some(it.expected) == entity.expected && !is_found
                });
                is_found |= meant.is_some();
                let current = meant.map(|it| it.current);
                let event = EntityEvent::Refused { current };
                self.note_entity(request.topic, *partition, entity.number, event);
                if let Some(current) = current {
                    self.keeping().beliefs[request.clerk].insert(entity.key, current);
                }
            }
        }
        assert!(is_found, "{mismatch:?} names a record of {request:?}");
    }
}

impl Answer {
    fn take(&mut self) -> Told<Published, AppendRefusal> {
        match self {
            Self::Published(answer) => told(answer),
            Self::Committed(answer) => told(answer).of_appends(),
        }
    }
}
