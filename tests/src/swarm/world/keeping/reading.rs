//! Readers of all records of keys, and what the index says of them at the end.

use std::collections::BTreeMap;

use prost::Message as _;
use towpath_broker::core::{KeyHead, KeyVersion, record_hash};
use towpath_proto::v1;
use towpath_storage::{Direction, Frame, RowKey, RowRange, TopicId};

use super::{CUSTOMERS, World};
use crate::history::{EntityEvent, Event, PassEvent, Place};
use crate::swarm::world::following::Follower;

/// Somebody who reads a partition to its end.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    number: u64,
    follower: Follower,
}

impl World {
    fn begin_pass(&mut self, topic: TopicId, partition: u32) -> Pass {
        let topic = topic.get();
        let place = Place { topic, partition };
        self.keeping().pass_count += 1;
        let pass = Pass {
            number: self.keeping().pass_count,
            follower: Follower::new(place),
        };
        self.note_pass(&pass, PassEvent::Begun);
        pass
    }

    fn note_pass(&mut self, pass: &Pass, event: PassEvent) {
        self.history.push(Event::Pass {
            pass: pass.number,
            place: pass.follower.place,
            event,
        });
    }

    /// Reads on in the pass that is under way; begins another one at the end.
    pub(super) fn read_keys(&mut self, topic: TopicId) {
        let partition = self.random.u32(..self.partition_count_of(topic));
        let mut pass = match self.keeping().pass.take() {
            Some(pass) => pass,
            None => self.begin_pass(topic, partition),
        };
        let bytes_max = self.random.usize(1..20_000);
        if self.read_on_in_pass(&mut pass, bytes_max).is_none() && self.is_at_end(&pass) {
            self.end_pass(&pass, false);
        } else {
            self.keeping().pass = Some(pass);
        }
    }

    /// Reads all of a partition before anything else happens.
    pub(super) fn read_keys_at_once(&mut self, topic: TopicId) {
        let partition = self.random.u32(..self.partition_count_of(topic));
        let mut pass = self.begin_pass(topic, partition);
        while self.read_on_in_pass(&mut pass, 50_000).is_some() {}
        // The disk may not be readable now.
        if self.is_at_end(&pass) {
            self.end_pass(&pass, true);
        }
    }

    fn read_on_in_pass(&mut self, pass: &mut Pass, bytes_max: usize) -> Option<()> {
        let frames = self.next_frames(&mut pass.follower, bytes_max)?;
        frames.iter().for_each(|frame| self.note_read(pass, frame));
        Some(())
    }

    fn is_at_end(&self, pass: &Pass) -> bool {
        let Follower { place, offset, .. } = pass.follower;
        self.end_of(place).is_some_and(|end| offset >= end)
    }

    fn end_pass(&mut self, pass: &Pass, is_at_once: bool) {
        let engine = self.engine.as_ref().expect("it read");
        let time_ms = engine.shared.published.time_ms();
        let event = PassEvent::Ended {
            is_at_once,
            time_ms,
            grace_ms: self.keeping().grace_ms(),
        };
        self.note_pass(pass, event);
    }

    fn note_read(&mut self, pass: &Pass, frame: &Frame) {
        let Place { topic, partition } = pass.follower.place;
        let batch = v1::RecordBatch::decode(frame.payload.clone()).expect("records");
        let count = frame.header.record_count as usize;
        assert_eq!(batch.records.len(), count, "as many as it says");
        for (at, record) in (0..).zip(batch.records) {
            let event = EntityEvent::Read {
                pass: pass.number,
                offset: frame.offset_of(at).expect("an offset").get(),
                append_time_ms: frame.header.append_time_ms,
            };
            let number = super::commands::number_of(&record);
            self.note_entity(TopicId::new(topic), partition, number, event);
        }
    }

    /// The files that readers had open are gone with the broker.
    pub(in crate::swarm::world) fn reopen_keys(&mut self) {
        let keeping = self.apart.keeping.as_mut();
        if let Some(pass) = keeping.and_then(|it| it.pass.as_mut()) {
            pass.follower.reopen();
        }
    }

    /// Has everything answered, reads it before and after tombstones are old and it is compacted, and
    /// compares the index with it.
    pub(in crate::swarm::world) fn finish_keys(&mut self) {
        let Some(keeping) = &self.apart.keeping else {
            return;
        };
        let config = keeping.config;
        let topic = self.topic_apart(CUSTOMERS, config);
        let topic = topic.expect("a healthy broker creates topics");
        while self.write_keys_again(topic) {
            self.settle_down();
        }
        self.read_all_keys(topic);
        for _ in 0..2 {
            self.clock.advance(std::time::Duration::from_secs(60));
            self.drive(|engine| engine.sequencer.idle());
            if config.compact {
                self.compact();
            }
            self.settle_down();
            self.drive(|engine| {
                engine.sequencer.take_checkpoint();
                Ok(())
            });
            self.settle_down();
            self.read_all_keys(topic);
        }
        if config.has_key_versions {
            self.note_index(topic);
        }
    }

    fn read_all_keys(&mut self, topic: TopicId) {
        for partition in 0..self.partition_count_of(topic) {
            let mut pass = self.begin_pass(topic, partition);
            while self.read_on_in_pass(&mut pass, 100_000).is_some() {}
            assert!(self.is_at_end(&pass), "a healthy disk can be read");
            self.end_pass(&pass, true);
        }
    }

    /// Says what the index, all of which is on disk, tells of each key.
    fn note_index(&mut self, topic: TopicId) {
        let numbers = self.numbers_of_keys(topic);
        let engine = self.engine.as_ref().expect("it runs");
        let hash_key = *engine.identity.broker_id.as_bytes();
        let runs = engine.shared.index.snapshot().runs;
        let is_compacted = self.keeping().config.compact;
        for (key, of_key) in numbers {
            let hash = record_hash(&hash_key, &[&[key]]);
            let mut found = Vec::new();
            let RowKey { table, key: start } = KeyVersion::prefix(topic, &hash);
            let mut end = start.to_vec();
            end.resize(start.len() + 9, u8::MAX);
            let range = RowRange {
                table,
                start,
                end: Some(end.into()),
            };
            for row in runs.scan(&range, Direction::Forward) {
                let (key, value) = row.expect("a healthy disk can be read");
                let (version, at) = KeyVersion::from_row(&key, &value).expect("a version");
                found.push((at.partition, at.offset, EntityEvent::Version { version }));
            }
            let head = runs.get(&KeyHead::row_key(topic, &hash));
            let head = head.expect("a healthy disk can be read");
            let head = KeyHead::from_bytes(head.value().expect("it has records"));
            let version = head.version;
            found.push((head.partition, head.offset, EntityEvent::Last { version }));
            for (partition, offset, event) in found {
                match of_key.get(&(partition, offset.get())) {
                    Some(number) => self.note_entity(topic, partition, *number, event),
                    // It was passed over, or was a tombstone.
                    None => assert!(is_compacted, "{event:?} of key {key} at {offset}"),
                }
            }
        }
    }

    /// What is there of each key, by partition and offset.
    fn numbers_of_keys(&self, topic: TopicId) -> BTreeMap<u8, BTreeMap<(u32, u64), u64>> {
        let mut keys: BTreeMap<u8, BTreeMap<(u32, u64), u64>> = BTreeMap::new();
        for partition in 0..self.partition_count_of(topic) {
            let topic = topic.get();
            let mut follower = Follower::new(Place { topic, partition });
            while let Some(frames) = self.next_frames(&mut follower, 100_000) {
                for frame in frames {
                    let batch = v1::RecordBatch::decode(frame.payload.clone()).expect("records");
                    for (at, record) in (0..).zip(batch.records) {
                        let offset = frame.offset_of(at).expect("an offset").get();
                        let key = record.key.as_ref().expect("a key")[0];
                        let number = super::commands::number_of(&record);
                        keys.entry(key)
                            .or_default()
                            .insert((partition, offset), number);
                    }
                }
            }
        }
        keys
    }
}
