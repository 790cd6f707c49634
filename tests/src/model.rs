//! What a careful client knows: every batch that was acknowledged, every one in doubt.

use std::collections::BTreeMap;

use bytes::Bytes;
use towpath_broker::core::AcceptedBatch;

use crate::stepper::KnownKeyed;

/// What is known of one batch.
#[derive(Debug, Clone)]
pub struct SentBatch {
    /// Its bytes.
    pub payload: Bytes,
    /// Number of its records.
    pub record_count: u32,
    /// Where it is, if that was acknowledged.
    pub accepted: Option<AcceptedBatch>,
}

/// What is known of one topic.
#[derive(Debug, Clone, Default)]
pub struct KnownTopic {
    /// Its number, once its creation was acknowledged.
    pub id: Option<u64>,
    /// Whether its deletion was asked for, and whether that was acknowledged.
    pub deletion: Deletion,
    /// Batches by partition, in the order in which they were sent.
    pub partitions: BTreeMap<u32, Vec<SentBatch>>,
    /// Trims by partition.
    pub trims: BTreeMap<u32, KnownTrim>,
}

/// How far a partition was trimmed.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownTrim {
    /// The highest log start that was asked for.
    pub asked: u64,
    /// The highest that was acknowledged.
    pub done: u64,
}

/// How far a deletion has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletion {
    /// Not asked for.
    #[default]
    None,
    /// Asked for, not answered.
    InDoubt,
    /// Acknowledged.
    Done,
}

/// What is known of one life of a consumer group.
#[derive(Debug, Clone)]
pub struct KnownGroup {
    /// Its name.
    pub name: String,
    /// Whether its deletion was asked for, and whether that was acknowledged.
    pub deletion: Deletion,
    /// Where it is, by topic and partition.
    pub partitions: BTreeMap<(u64, u32), KnownPosition>,
}

impl KnownGroup {
    /// A partition of the one topic that it reads, with that topic.
    pub fn position(&mut self, partition: u32) -> (u64, &mut KnownPosition) {
        let mut partitions = self.partitions.iter_mut();
        let found = partitions.find(|((_, its), _)| *its == partition);
        let ((topic, _), position) = found.expect("the group reads it");
        (*topic, position)
    }
}

/// Where a group is in one partition.
#[derive(Debug, Clone, Copy)]
pub struct KnownPosition {
    /// The offset that was acknowledged last; none if there is none, or the group may not exist.
    pub done: Option<u64>,
    /// The one that was asked for and not answered.
    pub asked: Option<u64>,
}

impl KnownPosition {
    /// What was asked for is acknowledged.
    pub fn acknowledge(&mut self) {
        self.done = self.asked.take();
    }
}

/// What becomes of a record of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes, with this attempt.
    Open {
        /// Its number, from 1.
        attempt: u32,
    },
    /// It does not come any more.
    Settled,
    /// It is among the dead letters.
    Dead,
}

/// What becomes of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterFate {
    /// It waits to be looked at.
    Dead,
    /// It comes again, with this attempt.
    Redriven {
        /// Its number, from 1.
        attempt: u32,
    },
    /// It is to come again, once one of its key before it is done with.
    Behind,
    /// It does not come any more.
    Settled,
}

/// What becomes of everything that a subscription has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionFacts {
    /// Records by partition and offset.
    pub places: BTreeMap<(u32, u64), Fate>,
    /// Dead letters, by partition and offset of their record.
    pub letters: BTreeMap<(u32, u64), LetterFate>,
    /// Records that dead letters and commits have appended to the topics that are kept for that.
    pub republished: u64,
    /// How far the group of the same name is in the first partition, if there is one.
    pub committed: Option<u64>,
}

impl SubscriptionFacts {
    /// The same once everything has come and was handled.
    #[must_use]
    pub fn drained(mut self) -> Self {
        for fate in self.places.values_mut() {
            if let Fate::Open { .. } = fate {
                *fate = Fate::Settled;
            }
        }
        for fate in self.letters.values_mut() {
            if let LetterFate::Redriven { .. } = fate {
                *fate = LetterFate::Settled;
            }
        }
        self
    }
}

/// What is known of a subscription: none if it is not there.
#[derive(Debug, Clone)]
pub struct KnownSubscription {
    /// Its name.
    pub name: String,
    /// What was acknowledged.
    pub done: Option<SubscriptionFacts>,
    /// What was asked for and not answered.
    #[expect(clippy::option_option, reason = "it may be asked not to be there")]
    pub asked: Option<Option<SubscriptionFacts>>,
}

impl KnownSubscription {
    /// What was asked for is acknowledged.
    pub fn acknowledge(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.done = asked;
        }
    }
}

/// What is known of a scheduled record.
#[derive(Debug, Clone)]
pub struct KnownSchedule {
    /// Its topic.
    pub topic: String,
    /// When it is or was due, as was acknowledged, milliseconds since the Unix epoch; none if it is not to
    /// be delivered.
    pub due_ms: Option<i64>,
    /// What was asked for and not answered.
    pub asked: Option<AskedSchedule>,
}

/// What was asked for about a scheduled record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedSchedule {
    /// That it is due, at some time.
    Due,
    /// That it is not delivered.
    Gone,
}

/// Everything that one client did, by the names that it gave to topics. A topic that is created again
/// is a new entry.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Lives of topics, in the order of their creation: name and what is known.
    pub topics: Vec<(String, KnownTopic)>,
    /// Lives of consumer groups, in the order of their creation.
    pub groups: Vec<KnownGroup>,
    /// The compacted topic.
    pub keyed: KnownKeyed,
    /// Subscriptions, each of which has one life.
    pub subscriptions: Vec<KnownSubscription>,
    /// Scheduled records, each under a name of its own.
    pub schedules: Vec<KnownSchedule>,
}

impl Model {
    /// The present life of a name.
    pub fn topic(&mut self, name: &str) -> &mut KnownTopic {
        let found = self
            .topics
            .iter_mut()
            .rev()
            .find(|(other, _)| other == name);
        &mut found
            .expect("the script creates a topic before it uses it")
            .1
    }

    /// A subscription.
    pub fn subscription(&mut self, name: &str) -> &mut KnownSubscription {
        let found = self.subscriptions.iter_mut().find(|it| it.name == name);
        found.expect("the script creates a subscription before it uses it")
    }

    /// The present life of a group's name.
    pub fn group(&mut self, name: &str) -> &mut KnownGroup {
        let found = self.groups.iter_mut().rev().find(|it| it.name == name);
        found.expect("the script joins a group before it uses it")
    }
}

/// Bytes that can be told from all others.
pub fn payload(topic: u64, partition: u32, sequence: u64, length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(topic << 40 ^ u64::from(partition) << 20 ^ sequence);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}
