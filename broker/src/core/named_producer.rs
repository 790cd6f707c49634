//! Producers with a name: at any time one life of a name may write, the one that was begun last.
//!
//! A name has an id of 12 bytes, drawn when it is made and never used again. Its producers put 4 bytes
//! of their own behind it, each of which numbers batches by itself: so a client that cannot go on with
//! its sequence in a partition goes on under another number, without beginning a life. What a life is
//! allowed to is decided by the name alone and not by what its partitions know, so that a newer life
//! shuts older ones out everywhere at once, and needs to have written nothing for that.

use std::collections::BTreeMap;
use std::ops::Bound;

use towpath_proto::names::ProducerName;
use towpath_storage::{ProducerId, Row};

use super::State;
use super::row::{NamedProducerRow, RowId};

/// What all ids of a name begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedProducerId([u8; Self::BYTES]);

impl NamedProducerId {
    /// Size of an id.
    pub const BYTES: usize = 12;

    /// Wraps the bytes of an id.
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// That of a producer, if it is one of a name.
    pub(super) fn of(producer: ProducerId) -> Self {
        let mut name = [0; Self::BYTES];
        let (of_name, _own) = producer.as_bytes().split_at(Self::BYTES);
        name.copy_from_slice(of_name);
        Self(name)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The producer of this name with the numbering `number`.
    pub(super) fn producer(self, number: [u8; 4]) -> ProducerId {
        let mut id = [0; 16];
        let (name, own) = id.split_at_mut(Self::BYTES);
        name.copy_from_slice(&self.0);
        own.copy_from_slice(&number);
        ProducerId::new(id)
    }
}

/// Which producer writes, and in which of its lives. Those without a name have one life, 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLife {
    /// The producer.
    pub id: ProducerId,
    /// The life, from 1 for producers with a name.
    pub epoch: u32,
}

/// A producer with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProducer {
    id: NamedProducerId,
    name: ProducerName,
    epoch: u32,
    create_time_ms: i64,
    open_time_ms: i64,
}

impl NamedProducer {
    /// Its name.
    pub fn name(&self) -> &ProducerName {
        &self.name
    }

    /// The one life that may write.
    pub fn life(&self) -> ProducerLife {
        ProducerLife {
            id: self.id.producer([0; 4]),
            epoch: self.epoch,
        }
    }

    /// Broker time at which the name was made, milliseconds since the Unix epoch.
    pub fn create_time_ms(&self) -> i64 {
        self.create_time_ms
    }

    /// Broker time at which the present life began, milliseconds since the Unix epoch.
    pub fn open_time_ms(&self) -> i64 {
        self.open_time_ms
    }

    pub(super) fn from_row(
        id: NamedProducerId,
        name: ProducerName,
        row: &NamedProducerRow,
    ) -> Self {
        Self {
            id,
            name,
            epoch: row.epoch,
            create_time_ms: row.create_time_ms,
            open_time_ms: row.open_time_ms,
        }
    }

    pub(super) fn to_row(&self) -> NamedProducerRow {
        NamedProducerRow {
            name: self.name.as_str().to_owned(),
            epoch: self.epoch,
            create_time_ms: self.create_time_ms,
            open_time_ms: self.open_time_ms,
        }
    }
}

/// Why a life of a producer is not begun. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenProducerRefusal {
    /// The broker has all the names that it may have.
    #[error("the broker has {count} names of producers, the most that it may have")]
    TooManyNames {
        /// How many it has.
        count: usize,
    },
}

/// There is no producer of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("producer \"{name}\" not found")]
pub struct ProducerNotFound {
    /// The name.
    pub name: ProducerName,
}

/// A producer may not write any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducerFenced {
    /// A newer life of its name has begun.
    #[error("producer \"{name}\" was opened again: life {epoch} has taken over")]
    ByLife {
        /// The name.
        name: ProducerName,
        /// The life that may write.
        epoch: u32,
    },
    /// Its name is gone.
    #[error("the name of the producer was deleted")]
    ByDeletion,
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct NamedProducers {
    by_id: BTreeMap<NamedProducerId, NamedProducer>,
    by_name: BTreeMap<ProducerName, NamedProducerId>,
}

impl NamedProducers {
    pub(super) fn get(&self, id: NamedProducerId) -> Option<&NamedProducer> {
        self.by_id.get(&id)
    }

    pub(super) fn put(&mut self, producer: NamedProducer) {
        self.by_name.insert(producer.name.clone(), producer.id);
        self.by_id.insert(producer.id, producer);
    }

    pub(super) fn remove(&mut self, id: NamedProducerId) {
        if let Some(gone) = self.by_id.remove(&id) {
            // The name may have been given to another id in the same entry.
            if self.by_name.get(&gone.name) == Some(&id) {
                self.by_name.remove(&gone.name);
            }
        }
    }

    fn named(&self, name: &ProducerName) -> Option<&NamedProducer> {
        self.by_id.get(self.by_name.get(name)?)
    }
}

impl State {
    /// Decides on beginning a life of a named producer at broker time `now_ms`. `new_id` was drawn for
    /// the case that the name is new, or has had all lives that one id can have.
    ///
    /// # Errors
    /// [`OpenProducerRefusal`].
    pub fn open_producer(
        &self,
        name: &ProducerName,
        new_id: NamedProducerId,
        now_ms: i64,
    ) -> Result<(ProducerLife, Vec<Row>), OpenProducerRefusal> {
        let known = self.named_producers.named(name);
        let next = known.and_then(|known| Some((known.id, known.epoch.checked_add(1)?)));
        let count = self.named_producers.by_id.len();
        if known.is_none() && count >= self.limits.producer_name_count_max {
            return Err(OpenProducerRefusal::TooManyNames { count });
        }
        let (id, epoch) = next.unwrap_or((new_id, 1));
        let opened = NamedProducer {
            id,
            name: name.clone(),
            epoch,
            create_time_ms: known.map_or(now_ms, |known| known.create_time_ms),
            open_time_ms: now_ms,
        };
        let worn_out = known.filter(|known| known.id != id);
        let gone = worn_out.map(|known| RowId::NamedProducer(known.id).gone());
        let row = RowId::NamedProducer(id).put(&opened.to_row());
        Ok((opened.life(), gone.into_iter().chain([row]).collect()))
    }

    /// Decides on deleting the name of a producer; returns what it was.
    ///
    /// # Errors
    /// [`ProducerNotFound`].
    pub fn delete_producer(
        &self,
        name: &ProducerName,
    ) -> Result<(NamedProducer, Vec<Row>), ProducerNotFound> {
        let known = self.named_producers.named(name);
        let known = known.ok_or_else(|| ProducerNotFound { name: name.clone() })?;
        let gone = RowId::NamedProducer(known.id).gone();
        Ok((known.clone(), vec![gone]))
    }

    /// Producers with a name in the order of their names, from behind one of them.
    pub fn named_producers_after(
        &self,
        name: Option<&ProducerName>,
    ) -> impl Iterator<Item = &NamedProducer> {
        let after = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.named_producers
            .by_name
            .range((after, Bound::Unbounded))
            .filter_map(|(_, id)| self.named_producers.get(*id))
    }

    /// Whether a producer may write.
    ///
    /// # Errors
    /// [`ProducerFenced`].
    pub fn check_life(&self, life: ProducerLife) -> Result<(), ProducerFenced> {
        let known = self.named_producers.get(NamedProducerId::of(life.id));
        match (known, life.epoch) {
            (Some(known), epoch) if known.epoch == epoch => Ok(()),
            (Some(known), _) => Err(ProducerFenced::ByLife {
                name: known.name.clone(),
                epoch: known.epoch,
            }),
            // Only producers without a name have no life beside this one.
            (None, 0) => Ok(()),
            (None, _) => Err(ProducerFenced::ByDeletion),
        }
    }
}

#[cfg(test)]
mod tests;
