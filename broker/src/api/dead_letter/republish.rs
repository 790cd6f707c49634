//! Appending dead letters to a topic as new records, and settling them with the same entry.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use towpath_proto::batch::BatchLimits;
use towpath_proto::names::TopicName;
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::{dead_letter, v1};
use towpath_storage::PartitionRef;

use super::filter::Filter;
use super::letter::Letter;
use super::{Letters, status};
use crate::api::facts::{self, AskedRecord, BatchToRead};
use crate::api::placement::new_record;
use crate::api::{InFlight, Shared, convert};
use crate::core::{AppendRefusal, AppendRequest, HashKey};
use crate::runtime::command::{CommandError, ControlCommand, DataCommand, Permits, Republished};
use crate::runtime::published::TopicView;
use crate::runtime::subscription_command::SubscriptionCommand;
use crate::runtime::subscription_question::SubscriptionQuestion;

/// Where dead letters go as new records.
#[derive(Debug)]
pub(super) struct Target {
    topic: Arc<TopicView>,
    /// What is appended in the place of the one that the filter names.
    replacement: Option<v1::Record>,
}

impl Target {
    /// Reads the field `to_topic`.
    ///
    /// # Errors
    /// There is no such topic, it takes only dead letters, or the replacement is not one.
    pub(super) async fn read(
        shared: &Shared,
        asked: v1::RedriveToTopic,
        filter: &Filter,
        of: &Letters,
    ) -> Result<Self, Problem> {
        let topic = shared.topic(&convert::topic_name("to_topic.topic", &asked.topic)?)?;
        if topic.id() == of.topic.id() {
            let message = "dead letters cannot go where they are";
            return Err(Problem::invalid_field("to_topic.topic", message)
                .with_hint("leave to_topic out to deliver them again to the subscription"));
        }
        let question = |answer| {
            let topic = topic.id();
            let question = SubscriptionQuestion::Taker { topic, answer };
            ControlCommand::Subscription(SubscriptionCommand::Ask(question))
        };
        let takes = shared.control(question).await;
        takes.map_err(|error| append_failed(error, topic.name(), &[]))?;
        if let Some(record) = &asked.replacement {
            if !filter.names_one() {
                let message = "a replacement stands for one dead letter";
                return Err(Problem::invalid_field("to_topic.replacement", message)
                    .with_hint("name it in filter.letters"));
            }
            let checked = new_record(record).check(&BatchLimits::default());
            checked.map_err(|error| Problem::from(error).with(FIELD, "to_topic.replacement"))?;
        }
        Ok(Self {
            topic,
            replacement: asked.replacement,
        })
    }

    /// Appends some dead letters of one partition. Returns whether it did: not if one of them was not dead
    /// any more.
    ///
    /// # Errors
    /// Why the topic does not take them: they are where they were.
    pub(super) async fn append(
        &self,
        shared: &Shared,
        of: &Letters,
        hash_key: HashKey,
        letters: &[Letter],
    ) -> Result<bool, Problem> {
        let Some(first) = letters.first() else {
            return Ok(true);
        };
        let republished = Republished {
            subscription: of.subscription,
            partition: first.partition,
            letters: letters.iter().map(|it| it.known(hash_key)).collect(),
        };
        let (appends, numbers) = self.batches(shared, of, letters);
        let bytes: usize = appends.iter().map(|(_, payload)| payload.len()).sum();
        let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        let bytes = bytes + facts::memory_bytes(&self.topic, count);
        let permit = InFlight::take(&shared.in_flight.all, bytes).await;
        let to_read = appends.iter().map(|(_, payload)| BatchToRead {
            topic: &self.topic,
            payload,
            numbered: None,
            is_redriven: true,
        });
        let to_read: Vec<_> = to_read.collect();
        let number = |batch: usize, index: u32| {
            let of_batch = numbers.get(batch).map_or(&[][..], Vec::as_slice);
            of_batch.get(index as usize).copied().unwrap_or_default()
        };
        let asked = |batch, index| AskedRecord {
            origin: number(batch, index),
            expected_version: None,
        };
        let field = |batch, index| name_of(letters, number(batch, index));
        let facts = facts::read(shared, &to_read, asked, field).await?;
        drop(to_read);
        let (answer, published) = oneshot::channel();
        shared.push(DataCommand::Publish {
            appends,
            facts,
            letters: Some(republished),
            answer,
            permits: Permits {
                held: Vec::from_iter(permit),
                tally: Some(shared.tally(letters.len() as u64)),
            },
        });
        let published = published.await.unwrap_or(Err(CommandError::Failed));
        let published =
            published.map_err(|error| append_failed(error, self.topic.name(), letters))?;
        Ok(!published.base_offsets.is_empty())
    }

    fn batches(
        &self,
        shared: &Shared,
        of: &Letters,
        letters: &[Letter],
    ) -> (Vec<(AppendRequest, Bytes)>, Vec<Vec<u32>>) {
        let count = convert::partition_count(&self.topic);
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let keyless = shared.next_turn() % count;
        let mut batches: BTreeMap<u32, (Vec<u32>, BytesMut)> = BTreeMap::new();
        for (number, letter) in (0..).zip(letters) {
            let mut record = self.replacement.as_ref().unwrap_or(&letter.record).clone();
            record.headers.extend(names(of, letter));
            let key = record.key.as_deref();
            let partition = key.map_or(keyless, |key| partition_of(key, count).get());
            let (numbers, payload) = batches.entry(partition).or_default();
            numbers.push(number);
            new_record(&record).put(payload);
        }
        let appends = batches.into_iter();
        let appends = appends.map(|(partition, (numbers, payload))| {
            let payload = payload.freeze();
            let partition = PartitionRef {
                topic: self.topic.id(),
                partition,
            };
            let request = AppendRequest::plain(partition, &payload, numbers.len());
            ((request, payload), numbers)
        });
        appends.unzip()
    }
}

fn append_failed(
    error: CommandError<AppendRefusal>,
    topic: &TopicName,
    letters: &[Letter],
) -> Problem {
    status::command_failed(error, |refusal| {
        let origin = match refusal {
            AppendRefusal::StaleEntityVersion { origin, .. } => Some(origin),
            _ => None,
        };
        let problem = status::append_refused(refusal, topic, 0, 0);
        match origin {
            Some(origin) => {
                let letter = name_of(letters, origin);
                problem.with_hint(format!(
                    "{letter} is old news there: discard it (towpath dlq discard)"
                ))
            }
            None => problem,
        }
    })
}

/// What a letter is called in messages.
fn name_of(letters: &[Letter], number: u32) -> String {
    match letters.get(number as usize) {
        Some(letter) => format!("dead letter {}/{}", letter.partition, letter.open.offset),
        None => "dead letter".to_owned(),
    }
}

/// What the new record says of the old one.
fn names(of: &Letters, letter: &Letter) -> impl Iterator<Item = v1::Header> {
    let header = |name: &str, value: String| v1::Header {
        name: name.to_owned(),
        value: value.into(),
    };
    let origin = &letter.origin;
    [
        header(dead_letter::REDRIVE_SUBSCRIPTION, of.name.clone()),
        header(dead_letter::REDRIVE_TOPIC, origin.topic.clone()),
        header(dead_letter::REDRIVE_PARTITION, letter.partition.to_string()),
        header(dead_letter::REDRIVE_OFFSET, origin.offset.to_string()),
        header(
            dead_letter::REDRIVE_DEAD_OFFSET,
            letter.open.offset.to_string(),
        ),
    ]
    .into_iter()
}
