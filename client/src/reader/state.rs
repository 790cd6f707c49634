//! What topics say of each key, as of some point, to go on from there.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use towpath_proto::ids::{Lsn, PartitionId};
use towpath_proto::names::TopicName;

use super::{CaughtUp, Gap, GapReason, Reader, ReaderBuilder, ReaderItem, Start};
use crate::{Error, ReceivedRecord};

/// The newest record of each key in what was read.
///
/// A record without a value lets go of its key. Of entities that have versions, what came too late
/// ([`ReceivedRecord::stale_behind`]) says nothing. Records without a key are in no state.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KeyState {
    /// The records by topic and key.
    pub records: HashMap<(TopicName, Bytes), ReceivedRecord>,
    /// Everything up to this LSN is in it; of a partition that was read later, perhaps more. 0 if there was
    /// nothing.
    pub lsn: Lsn,
    /// What was gone before it was read, without what compaction has let go of: the state may lack keys that
    /// only these offsets told of.
    pub gaps: Vec<Gap>,
}

impl KeyState {
    /// The newest record of a key; none if there is none.
    pub fn get(&self, topic: &TopicName, key: impl Into<Bytes>) -> Option<&ReceivedRecord> {
        self.records.get(&(topic.clone(), key.into()))
    }

    fn take(&mut self, record: ReceivedRecord) {
        let Some(key) = record.key().filter(|_| record.stale_behind().is_none()) else {
            return;
        };
        let key = (record.topic().clone(), Bytes::copy_from_slice(key));
        match record.value() {
            Some(_) => drop(self.records.insert(key, record)),
            None => drop(self.records.remove(&key)),
        }
    }
}

impl ReaderBuilder {
    /// Reads everything that there is, and returns what the topics say of each key then, with a reader that goes
    /// on directly behind it: a state at P, and what follows from P + 1. Each record is in one of the two. Where
    /// to begin, and whether to go on, is not asked: it reads from the beginning, and follows.
    ///
    /// Meant for topics that are [compacted](crate::NewTopic::compact), of which little more than that is kept;
    /// the state is held in memory. Dropping the future forgets what was read.
    ///
    /// # Errors
    ///
    /// As [`Reader::next_batch`].
    ///
    /// ```no_run
    /// # async fn example(client: towpath_client::Client) -> Result<(), towpath_client::Error> {
    /// let (state, mut changes) = client.reader(["customers"]).state_then_follow().await?;
    /// println!("{} customers at {}", state.records.len(), state.lsn);
    /// while let Some(record) = changes.next_record().await? {
    ///     println!("{:?} has changed", record.key());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn state_then_follow(self) -> Result<(KeyState, Reader), Error> {
        let mut reader = self.from(Start::Beginning).follow().build();
        let mut state = KeyState::default();
        let mut caught_up: BTreeSet<(TopicName, PartitionId)> = BTreeSet::new();
        let mut lowest: Option<Lsn> = None;
        while let Some(item) = reader.next_item().await {
            match item? {
                ReaderItem::Batch(batch) => {
                    batch.records().for_each(|record| state.take(record));
                }
                ReaderItem::Gap(gap) if gap.reason == GapReason::Compacted => {}
                ReaderItem::Gap(gap) => state.gaps.push(gap),
                ReaderItem::CaughtUp(CaughtUp {
                    topic,
                    partition,
                    lsn,
                    ..
                }) => {
                    lowest = Some(lowest.map_or(lsn, |lowest| lowest.min(lsn)));
                    caught_up.insert((topic, partition));
                }
            }
            let read = reader.next_offsets();
            let mut places = read
                .into_iter()
                .map(|(topic, partition, _)| (topic, partition));
            if !caught_up.is_empty() && places.all(|place| caught_up.contains(&place)) {
                break;
            }
        }
        state.lsn = lowest.unwrap_or_default();
        Ok((state, reader))
    }
}
