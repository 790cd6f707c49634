//! A durable subscription of a broker that is driven by hand: one consumer has whatever is ready.

mod dead_letters;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use towpath_broker::core::{
    Connect, ConsumerId, CreateSubscription, Credit, DeleteSubscription, DeliveryOutcome, HashKey,
    Mode, OnDeadLetter, OnFilterError, RetryPolicy, SeekSubscription, SessionId, Settlement,
    Subscription, SubscriptionConfig, SubscriptionEvent,
};
use towpath_broker::runtime::command::{CommandError, ControlCommand};
use towpath_broker::runtime::subscription_command::{SubscriptionCommand, SubscriptionSink};
use towpath_proto::v1;
use towpath_storage::{Lsn, Offset, OffsetRange, StorageError, TopicId};

use super::{Stepper, commits, groups};
use crate::model::{Fate, KnownSubscription, LetterFate, SentBatch, SubscriptionFacts};

/// Longer than any back-off of the subscription, and than what a failed move to the dead letters waits.
const WAIT: Duration = Duration::from_secs(6);
/// Rounds of waiting after which everything must have come.
const ROUNDS_MAX: u32 = 20;
/// Partitions of the topics.
const PARTITIONS: u32 = 2;

/// Number of a lane, and an offset there.
type Spot = (u32, u64);

/// What the consumer was told and has not settled: with its delivery and attempt.
#[derive(Debug, Default)]
pub(super) struct Hands {
    held: Mutex<BTreeMap<Spot, (u64, u32)>>,
    expired: Mutex<Vec<OffsetRange>>,
}

impl SubscriptionSink for Hands {
    fn tell(&self, event: SubscriptionEvent, _lsn: Lsn) {
        let mut held = self.held.lock().unwrap();
        match event {
            SubscriptionEvent::Delivered(delivery) => {
                for span in delivery.spans {
                    for offset in span.range.start.get()..span.range.end.get() {
                        let its = (delivery.number, span.attempt);
                        held.insert((delivery.partition, offset), its);
                    }
                }
            }
            SubscriptionEvent::Lost { partition, ranges } => {
                for offset in ranges.iter().flat_map(|it| it.start.get()..it.end.get()) {
                    held.remove(&(partition, offset));
                }
            }
            SubscriptionEvent::Skipped(skipped) => panic!("nothing was trimmed: {skipped:?}"),
            SubscriptionEvent::CaughtUp(_) => {}
            SubscriptionEvent::Replaced | SubscriptionEvent::Deleted => held.clear(),
        }
    }

    fn answer(&self, expired: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>) {
        let expired = expired.unwrap_or_default();
        self.expired
            .lock()
            .unwrap()
            .extend(expired.into_iter().flatten());
    }
}

/// What is said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was handled.
    Ack,
    /// Handling it failed.
    Nack,
    /// It cannot be handled.
    DeadLetter,
}

impl Stepper {
    /// Sends a batch of records with these keys.
    pub fn send_keys(&mut self, name: &str, partition: u32, keys: &[u8]) {
        let records = keys.iter().map(|key| v1::Record {
            key: Some(Bytes::copy_from_slice(&[*key])),
            value: Some(Bytes::from(vec![*key; 100])),
            ..v1::Record::default()
        });
        let records = records.collect();
        let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
        let record_count = u32::try_from(keys.len()).unwrap();
        let topic = self.model.topic(name);
        let id = topic.id.expect("the script waits for the topic");
        let batches = topic.partitions.entry(partition).or_default();
        let sequence = batches.len() as u64;
        batches.push(SentBatch {
            payload: payload.clone(),
            record_count,
            accepted: None,
        });
        self.push(id, partition, sequence, payload, record_count);
    }

    /// Creates a subscription that begins at the beginning of a topic with so many records in each
    /// partition, and has a consumer for all of it.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn subscribe(
        &mut self,
        name: &str,
        topic: &str,
        record_counts: [u64; PARTITIONS as usize],
    ) -> Result<(), StorageError> {
        let id = self.model.topic(topic).id.expect("a topic");
        let spots = (0..).zip(record_counts);
        let spots = spots.flat_map(|(partition, count)| (0..count).map(move |it| (partition, it)));
        let facts = SubscriptionFacts {
            places: spots
                .map(|spot| (spot, Fate::Open { attempt: 1 }))
                .collect(),
            committed: self.committed_beside(name, id),
            ..SubscriptionFacts::default()
        };
        self.model.subscriptions.push(KnownSubscription {
            name: name.to_owned(),
            done: None,
            asked: Some(Some(facts)),
        });
        let wish = CreateSubscription {
            name: name.parse().unwrap(),
            topic: TopicId::new(id),
            config: SubscriptionConfig {
                mode: Mode::KeyShared,
                on_dead_letter: OnDeadLetter::Park,
                retry: RetryPolicy {
                    backoff_ms_min: 100,
                    backoff_ms_max: 1_000,
                    attempts_max: 3,
                    age_ms_max: None,
                },
                ack_deadline_ms: 1_000_000,
                filter: None,
                on_filter_error: OnFilterError::default(),
            },
            starts: vec![Offset::ZERO; PARTITIONS as usize],
            hash_key: HashKey::default(),
            dead_letter_topic: format!("{name}.dlq").parse().unwrap(),
        };
        self.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::Create {
                wish: Box::new(wish),
                is_dry_run: false,
                answer,
            })
        })?;
        self.model.subscription(name).acknowledge();
        self.listen(name)
    }

    /// Connects the consumer.
    fn listen(&mut self, name: &str) -> Result<(), StorageError> {
        let wish = Connect {
            consumer: ConsumerId::new([6; 16]),
            session: SessionId(1),
            client_name: String::new(),
            credit: Credit {
                records: u64::MAX,
                bytes: i64::MAX,
            },
            reports_start: true,
            refuses_to_wait: false,
        };
        self.hands = Arc::default();
        let sink = Arc::clone(&self.hands) as Arc<dyn SubscriptionSink>;
        self.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::Connect {
                name: name.parse().unwrap(),
                id: None,
                wish: Box::new(wish),
                sink,
                answer,
            })
        })?;
        Ok(())
    }

    pub(super) fn subscription_named(&self, name: &str) -> Option<&Subscription> {
        let state = self.engine.sequencer.state();
        state.subscription_named(&name.parse().unwrap())
    }

    fn control_subscription(&mut self, command: SubscriptionCommand) -> Result<(), StorageError> {
        let commands = &self.engine.shared.commands;
        let pushed = commands.push_control(ControlCommand::Subscription(command));
        pushed.expect("the broker is running");
        self.settle_down()
    }

    /// What may be known of the subscription from now on, until that is acknowledged.
    pub(super) fn expect(&mut self, name: &str, change: impl FnOnce(&mut SubscriptionFacts)) {
        let known = self.model.subscription(name);
        let mut facts = known.done.clone().expect("it is there");
        change(&mut facts);
        known.asked = Some(Some(facts));
    }

    /// Says something of a record of the topic that the consumer has, and waits for the answer and for
    /// what follows. Behind a dead one its key follows.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn say(
        &mut self,
        name: &str,
        (partition, offset): (u32, u64),
        verdict: Verdict,
        followers: &[u64],
    ) -> Result<(), StorageError> {
        self.expect(name, |facts| {
            let fate = facts.places.get_mut(&(partition, offset)).unwrap();
            *fate = match (verdict, *fate) {
                (Verdict::Nack, Fate::Open { attempt }) => Fate::Open {
                    attempt: attempt + 1,
                },
                (Verdict::DeadLetter, _) => Fate::Dead,
                (Verdict::Ack | Verdict::Nack, _) => Fate::Settled,
            };
            if verdict == Verdict::DeadLetter {
                for offset in [offset].iter().chain(followers) {
                    let spot = (partition, *offset);
                    facts.places.insert(spot, Fate::Dead);
                    facts.letters.insert(spot, LetterFate::Dead);
                }
            }
        });
        self.settle(name, (partition, offset), verdict)
    }

    /// Sends one more record of a key that is parked, and waits until it was answered, and follows.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn send_parked(
        &mut self,
        name: &str,
        topic: &str,
        (partition, offset): (u32, u64),
        key: u8,
    ) -> Result<(), StorageError> {
        self.expect(name, |facts| {
            facts.places.insert((partition, offset), Fate::Dead);
            facts.letters.insert((partition, offset), LetterFate::Dead);
        });
        self.send_keys(topic, partition, &[key]);
        self.settle_down()?;
        self.note_answers();
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    fn settle(&mut self, name: &str, spot: Spot, verdict: Verdict) -> Result<(), StorageError> {
        let held = self.hands.held.lock().unwrap().remove(&spot);
        let (delivery, _) = held.unwrap_or_else(|| panic!("the consumer has {spot:?}"));
        self.settle_delivery(name, spot, delivery, verdict)?;
        let expired = std::mem::take(&mut *self.hands.expired.lock().unwrap());
        assert_eq!(expired, [], "the consumer had it");
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    fn settle_delivery(
        &mut self,
        name: &str,
        (lane, offset): Spot,
        delivery: u64,
        verdict: Verdict,
    ) -> Result<(), StorageError> {
        let subscription = self.subscription_named(name).expect("it is there").id();
        let start = Offset::new(offset);
        let end = start.advance(1);
        let reason = "billing is down".to_owned();
        let settlement = Settlement {
            delivery,
            partition: lane,
            ranges: vec![OffsetRange { start, end }],
            outcome: match verdict {
                Verdict::Ack => DeliveryOutcome::Ack,
                Verdict::Nack => DeliveryOutcome::Nack {
                    delay_ms: None,
                    reason,
                },
                Verdict::DeadLetter => DeliveryOutcome::DeadLetter { reason },
            },
        };
        let sink = Arc::clone(&self.hands) as Arc<dyn SubscriptionSink>;
        self.control_subscription(SubscriptionCommand::Settle {
            subscription,
            settlements: vec![settlement],
            sink,
        })
    }

    /// Moves a partition to its beginning, and waits for the answer: what is not dead comes again.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn seek_subscription(&mut self, name: &str, partition: u32) -> Result<(), StorageError> {
        self.expect(name, |facts| {
            for ((_, _), fate) in facts.places.range_mut((partition, 0)..(partition + 1, 0)) {
                if *fate != Fate::Dead {
                    *fate = Fate::Open { attempt: 1 };
                }
            }
        });
        let wish = SeekSubscription {
            name: name.parse().unwrap(),
            positions: vec![(partition, Offset::ZERO)],
        };
        self.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::Seek {
                wish,
                is_dry_run: false,
                answer,
            })
        })?;
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    /// Deletes a subscription, and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn unsubscribe(&mut self, name: &str) -> Result<(), StorageError> {
        self.model.subscription(name).asked = Some(None);
        self.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::Delete {
                wish: DeleteSubscription {
                    name: name.parse().unwrap(),
                    with_dead_letters: false,
                },
                is_dry_run: false,
                answer,
            })
        })?;
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    /// Handles all that there is to be handled, and compares what came with what the model knows. From
    /// then on that is what is known.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn check_subscriptions(&mut self, target: &str) -> Result<(), StorageError> {
        let known = std::mem::take(&mut self.model.subscriptions);
        for mut known in known {
            let found = self.drain(&known, target)?;
            let expected = [Some(&known.done), known.asked.as_ref()];
            let is_expected = expected.into_iter().flatten().any(|it| *it == found);
            assert!(
                is_expected,
                "{}: {found:#?} is neither what was acknowledged nor what was asked for: {known:#?}",
                known.name
            );
            known.asked = None;
            known.done = found.map(SubscriptionFacts::drained);
            self.model.subscriptions.push(known);
        }
        Ok(())
    }

    /// What comes, in all, and what has not to come.
    fn drain(
        &mut self,
        known: &KnownSubscription,
        target: &str,
    ) -> Result<Option<SubscriptionFacts>, StorageError> {
        let name = known.name.as_str();
        if self.subscription_named(name).is_none() {
            return Ok(None);
        }
        let mut came: BTreeMap<Spot, u32> = BTreeMap::new();
        self.listen(name)?;
        for _ in 0..ROUNDS_MAX {
            self.pass(WAIT)?;
            loop {
                let held = self.hands.held.lock().unwrap().pop_first();
                let Some((spot, (delivery, attempt))) = held else {
                    break;
                };
                let before = came.insert(spot, attempt);
                assert_eq!(before, None, "{name}: {spot:?} comes again");
                self.settle_delivery(name, spot, delivery, Verdict::Ack)?;
            }
        }
        let topic = self.subscription_named(name).map(Subscription::topic);
        let mut facts = SubscriptionFacts {
            republished: self.count_records(target) + self.count_records(commits::AUDIT),
            committed: topic.and_then(|topic| self.committed_beside(name, topic.get())),
            ..SubscriptionFacts::default()
        };
        let asked = known.asked.iter().flatten();
        let names = known.done.iter().chain(asked);
        for spot in names.flat_map(|facts| facts.places.keys()) {
            let fate = match came.get(spot) {
                Some(attempt) => Fate::Open { attempt: *attempt },
                None => Fate::Settled,
            };
            facts.places.insert(*spot, fate);
        }
        for partition in 0..PARTITIONS {
            for (letter, (source, _)) in (0..).zip(self.letters(name, partition)?) {
                let before = facts.places.insert((partition, source), Fate::Dead);
                assert_eq!(
                    before,
                    Some(Fate::Settled),
                    "{name}: {source} is also elsewhere"
                );
                let fate = self.letter_fate(name, partition, letter, &came);
                let before = facts.letters.insert((partition, source), fate);
                assert_eq!(before, None, "{name}: {source} is dead twice");
            }
        }
        Ok(Some(facts))
    }

    /// How far the group of the same name is in the first partition of a topic.
    fn committed_beside(&self, name: &str, topic: u64) -> Option<u64> {
        groups::committed(self.group_named(name)?, topic, 0)
    }

    /// Takes a record that the consumer has, and returns the delivery that brought it.
    pub(super) fn take_held(&self, spot: Spot) -> u64 {
        let held = self.hands.held.lock().unwrap().remove(&spot);
        held.expect("the consumer has it").0
    }

    fn count_records(&self, topic: &str) -> u64 {
        let topics = self.engine.shared.published.topics();
        let view = topics.named(&topic.parse().unwrap());
        let ends = view.iter().flat_map(|view| view.partitions());
        ends.map(|handle| handle.log().end().get()).sum()
    }
}
