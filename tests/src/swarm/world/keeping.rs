//! Clerks who write records of the same keys, each as if alone: to a topic that keeps the last record of each
//! key, to one that counts their versions, or to one that does both. Compaction runs between crashes, and
//! readers go through all of it.

mod commands;
mod reading;
mod writing;

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use towpath_broker::core::{AppendRefusal, CommitRefused, CompactTopic, TopicConfig};
use towpath_broker::runtime::command::{CommandError, Committed, ControlCommand, Published};
use towpath_proto::names::TopicName;
use towpath_storage::TopicId;

use super::World;
use crate::history::{EntityEvent, Event, Place};
use reading::Pass;

/// The topic of these records, in which nothing else is written.
pub(super) const CUSTOMERS: &str = "customers";
/// How many write.
const CLERKS: usize = 3;

/// Those who write and read records of keys.
#[derive(Debug)]
pub(super) struct Keeping {
    config: TopicConfig,
    record_count: u64,
    pass_count: u64,
    waiting: Vec<Call>,
    /// Requests with a key that were not answered: they are sent until they are.
    doubtful: Vec<Request>,
    /// How many records each clerk thinks that a key has.
    beliefs: [BTreeMap<u8, u64>; CLERKS],
    pass: Option<Pass>,
}

/// A record of a key.
#[derive(Debug, Clone, Copy)]
struct Entity {
    number: u64,
    key: u8,
    is_tombstone: bool,
    expected: Option<u64>,
    padding: usize,
}

/// Records that are written together, by partition.
#[derive(Debug, Clone)]
struct Request {
    topic: TopicId,
    number: u64,
    clerk: usize,
    /// Whether a key names it, so that it happens once however often it is sent.
    is_keyed: bool,
    batches: Vec<(u32, Vec<Entity>)>,
}

#[derive(Debug)]
struct Call {
    request: Request,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Published(oneshot::Receiver<Result<Published, CommandError<AppendRefusal>>>),
    Committed(oneshot::Receiver<Result<Committed, CommandError<CommitRefused>>>),
}

impl Keeping {
    /// Of a topic that keeps the last record of each key, or all.
    pub(super) fn new(is_compacted: bool, has_versions: bool, grace_ms: u64) -> Self {
        Self {
            config: TopicConfig {
                compact: is_compacted,
                has_key_versions: has_versions,
                tombstone_grace_ms: is_compacted.then_some(grace_ms),
                ..TopicConfig::default()
            },
            record_count: 0,
            pass_count: 0,
            waiting: Vec::new(),
            doubtful: Vec::new(),
            beliefs: Default::default(),
            pass: None,
        }
    }

    /// For how long tombstones stay, if not all records do.
    fn grace_ms(&self) -> Option<u64> {
        self.config.tombstone_grace_ms
    }
}

impl World {
    fn keeping(&mut self) -> &mut Keeping {
        self.apart.keeping.as_mut().expect("it acts")
    }

    /// Lets somebody do something about records of keys.
    pub(super) fn act_on_keys(&mut self) {
        let config = self.keeping().config;
        let Some(topic) = self.topic_apart(CUSTOMERS, config) else {
            return;
        };
        match self.random.u8(..32) {
            0..14 => self.write_keys(topic),
            14..16 if config.compact => self.compact(),
            16..18 => {
                self.drive(|engine| {
                    engine.sequencer.take_checkpoint();
                    Ok(())
                });
            }
            18..24 => self.drive(|engine| engine.step_maintenance().map(drop)),
            24..25 => self.pass_time(),
            25..26 => self.read_keys_at_once(topic),
            _ => self.read_keys(topic),
        }
    }

    fn compact(&mut self) {
        let (answer, _) = oneshot::channel();
        let wish = CompactTopic {
            name: TopicName::new(CUSTOMERS).unwrap(),
            topic_id: None,
        };
        self.push_control(ControlCommand::CompactTopic { wish, answer });
    }

    fn note_entity(&mut self, topic: TopicId, partition: u32, record: u64, event: EntityEvent) {
        let topic = topic.get();
        self.history.push(Event::Entity {
            place: Place { topic, partition },
            record,
            event,
        });
    }
}
