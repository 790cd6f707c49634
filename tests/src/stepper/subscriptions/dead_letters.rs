//! The dead letters of a subscription of a broker that is driven by hand: what becomes of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{AppendRequest, CreateTopic, DeadLetter, DeadLetterState, TopicConfig};
use towpath_broker::runtime::command::{ControlCommand, DataCommand, Permits, Republished};
use towpath_broker::runtime::subscription_command::{DeadLetterVerdict, SubscriptionCommand};
use towpath_proto::{dead_letter, v1};
use towpath_storage::{Offset, OffsetRange, PartitionRef, StorageError};

use super::{PARTITIONS, Spot, Stepper, Verdict};
use crate::model::LetterFate;

impl Stepper {
    /// The same of a dead letter that comes again, by the offset that its record had. Behind one that is
    /// dead again its key stands.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn say_of_letter(
        &mut self,
        name: &str,
        (partition, source): (u32, u64),
        verdict: Verdict,
        followers: &[u64],
    ) -> Result<(), StorageError> {
        let letter = self.letter_offset(name, (partition, source))?;
        self.expect(name, |facts| {
            let fate = facts.letters.get_mut(&(partition, source)).unwrap();
            *fate = match (verdict, *fate) {
                (Verdict::Nack, LetterFate::Redriven { attempt }) => LetterFate::Redriven {
                    attempt: attempt + 1,
                },
                (Verdict::DeadLetter, _) => LetterFate::Dead,
                (Verdict::Ack | Verdict::Nack, _) => LetterFate::Settled,
            };
            for source in followers {
                facts
                    .letters
                    .insert((partition, *source), LetterFate::Behind);
            }
        });
        self.settle(name, (PARTITIONS + partition, letter), verdict)
    }

    /// The dead letters of a partition: the offset of the record of each.
    pub(super) fn letters(
        &self,
        name: &str,
        partition: u32,
    ) -> Result<Vec<(u64, v1::Record)>, StorageError> {
        let subscription = self.subscription_named(name).expect("it is there");
        let topics = self.engine.shared.published.topics();
        let view = topics.with_id(subscription.dead_letter_topic());
        let handle = view.and_then(|view| view.partition(partition));
        let frames = self.try_read_all(handle.expect("dead letters have a topic"))?;
        let records = frames.into_iter().flat_map(|(_, _, payload)| {
            let batch = v1::RecordBatch::decode(payload).expect("a batch");
            batch.records
        });
        let with_source = records.map(|record| {
            let (_, added) = dead_letter::split(&record.headers);
            let offset = added.iter().find(|it| it.name == dead_letter::OFFSET);
            let offset = offset.expect("a header").value.to_vec();
            let offset = String::from_utf8(offset).unwrap().parse().unwrap();
            (offset, record)
        });
        Ok(with_source.collect())
    }

    fn letter_offset(
        &self,
        name: &str,
        (partition, source): (u32, u64),
    ) -> Result<u64, StorageError> {
        let letters = self.letters(name, partition)?;
        let place = letters.iter().position(|(offset, _)| *offset == source);
        Ok(place.expect("it is dead") as u64)
    }

    fn known_letters(
        &self,
        name: &str,
        partition: u32,
        sources: &[u64],
    ) -> Result<Vec<DeadLetter>, StorageError> {
        let hash_key = self
            .subscription_named(name)
            .expect("it is there")
            .hash_key();
        let letters = (0..).zip(self.letters(name, partition)?);
        let wanted = letters.filter(|(_, (source, _))| sources.contains(source));
        let known = wanted.map(|(offset, (_, record))| DeadLetter {
            offset: Offset::new(offset),
            key: hash_key.of_key(record.key.as_ref().expect("a key")),
            bytes: u32::try_from(record.encoded_len()).unwrap(),
            append_time_ms: 0,
        });
        Ok(known.collect())
    }

    /// Has dead letters delivered again, or discards them, by the offsets that their records had; and
    /// waits for the answer. What was redriven and stood behind them comes then.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn move_letters(
        &mut self,
        name: &str,
        partition: u32,
        sources: &[u64],
        verdict: DeadLetterVerdict,
        followers: &[u64],
    ) -> Result<(), StorageError> {
        let letters = self.known_letters(name, partition, sources)?;
        self.expect(name, |facts| {
            for source in sources {
                let fate = match verdict {
                    DeadLetterVerdict::Redrive | DeadLetterVerdict::RedriveBehind(_) => {
                        LetterFate::Redriven { attempt: 1 }
                    }
                    DeadLetterVerdict::Discard => LetterFate::Settled,
                };
                facts.letters.insert((partition, *source), fate);
            }
            for source in followers {
                let fate = LetterFate::Redriven { attempt: 1 };
                facts.letters.insert((partition, *source), fate);
            }
        });
        let subscription = self.subscription_named(name).expect("it is there").id();
        let counts = self.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::MoveDeadLetters {
                subscription,
                partition,
                letters,
                verdict,
                answer,
            })
        })?;
        let done = counts.expect("it is there").done;
        assert_eq!(done, sources.len(), "all were dead");
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    /// Creates a topic that the model of topics does not know: what comes there does not come from its
    /// producer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn create_target(&mut self, name: &str) -> Result<(), StorageError> {
        let wish = CreateTopic {
            name: name.parse().unwrap(),
            partition_count: 1,
            config: TopicConfig::default(),
        };
        self.control(|answer| ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        })
        .map(drop)
    }

    /// Appends dead letters to a topic and settles them with the same entry, and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn republish(
        &mut self,
        name: &str,
        partition: u32,
        sources: &[u64],
        target: &str,
    ) -> Result<(), StorageError> {
        let letters = self.known_letters(name, partition, sources)?;
        self.expect(name, |facts| {
            facts.republished += sources.len() as u64;
            for source in sources {
                facts
                    .letters
                    .insert((partition, *source), LetterFate::Settled);
            }
        });
        let subscription = self.subscription_named(name).expect("it is there").id();
        let topics = self.engine.shared.published.topics();
        let view = topics.named(&target.parse().unwrap()).expect("a topic");
        // Longer than a sector: a torn round may hold a part of what belongs together.
        let value = Bytes::from(vec![7; 3_000]);
        let records = letters.iter().map(|_| v1::Record {
            value: Some(value.clone()),
            ..v1::Record::default()
        });
        let records = records.collect();
        let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
        let target = PartitionRef {
            topic: view.id(),
            partition: 0,
        };
        let request = AppendRequest::plain(target, &payload, letters.len());
        let (answer, mut published) = oneshot::channel();
        let command = DataCommand::Publish {
            appends: vec![(request, payload)],
            facts: None,
            letters: Some(Republished {
                subscription,
                partition,
                letters,
            }),
            answer,
            permits: Permits::default(),
        };
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.settle_down()?;
        let published = published.try_recv().expect("answered").expect("published");
        assert_eq!(published.base_offsets.len(), 1, "they were dead");
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    pub(super) fn letter_fate(
        &self,
        name: &str,
        partition: u32,
        letter: u64,
        came: &BTreeMap<Spot, u32>,
    ) -> LetterFate {
        if let Some(attempt) = came.get(&(PARTITIONS + partition, letter)) {
            return LetterFate::Redriven { attempt: *attempt };
        }
        let range = OffsetRange {
            start: Offset::new(letter),
            end: Offset::new(letter + 1),
        };
        let subscription = self.subscription_named(name).expect("it is there");
        let open = subscription.open_dead_letters(partition, range, 1);
        match open.letters.first().map(|it| it.state) {
            None | Some(DeadLetterState::Settled) => LetterFate::Settled,
            Some(DeadLetterState::Dead) => LetterFate::Dead,
            Some(DeadLetterState::Redriven) => LetterFate::Behind,
        }
    }
}
