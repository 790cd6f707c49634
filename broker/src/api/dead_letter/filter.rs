//! Which dead letters a call is about.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::letter::Letter;
use super::{Letters, status};

/// Dead letters that a filter may name one by one.
const LETTERS_MAX: usize = 10_000;

/// A filter that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Offsets by partition; none for all.
    letters: Option<BTreeMap<u32, BTreeSet<u64>>>,
    partitions: Option<BTreeSet<u32>>,
    key: Option<Bytes>,
    is_parked: Option<bool>,
    reason_contains: String,
    died_from_ms: Option<i64>,
    died_before_ms: Option<i64>,
}

impl Filter {
    /// Reads the field `filter`.
    ///
    /// # Errors
    /// What is wrong with it, or the partition that there is not.
    pub(super) fn read(asked: Option<v1::DeadLetterFilter>, of: &Letters) -> Result<Self, Problem> {
        let asked = asked.unwrap_or_default();
        let partition_count = crate::api::convert::partition_count(&of.topic);
        let named = asked.letters.iter().map(|it| it.partition);
        let unknown = named
            .chain(asked.partitions.iter().copied())
            .find(|it| *it >= partition_count);
        if let Some(unknown) = unknown {
            return Err(status::partition_not_found(
                of.topic.name(),
                unknown,
                partition_count,
            ));
        }
        if asked.letters.len() > LETTERS_MAX {
            let message = format!("at most {LETTERS_MAX} dead letters");
            return Err(Problem::invalid_field("filter.letters", message));
        }
        let is_parked = match v1::DeadLetterKind::try_from(asked.kind) {
            Ok(v1::DeadLetterKind::Unspecified) => None,
            Ok(v1::DeadLetterKind::Dead) => Some(false),
            Ok(v1::DeadLetterKind::Parked) => Some(true),
            Err(_unknown) => {
                let message = "this broker does not know the kind";
                return Err(Problem::invalid_field("filter.kind", message));
            }
        };
        let mut letters: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for letter in &asked.letters {
            letters
                .entry(letter.partition)
                .or_default()
                .insert(letter.offset);
        }
        Ok(Self {
            letters: (!letters.is_empty()).then_some(letters),
            partitions: (!asked.partitions.is_empty())
                .then(|| asked.partitions.into_iter().collect()),
            key: asked.key,
            is_parked,
            reason_contains: asked.reason_contains,
            died_from_ms: asked.died_from_ms,
            died_before_ms: asked.died_before_ms,
        })
    }

    /// Whether it may take something of a partition.
    pub(super) fn takes_partition(&self, partition: u32) -> bool {
        let is_named = |it: &BTreeMap<_, _>| it.contains_key(&partition);
        let partitions = self.partitions.as_ref();
        self.letters.as_ref().is_none_or(is_named)
            && partitions.is_none_or(|it| it.contains(&partition))
    }

    /// Whether it takes all dead letters of a key or none of them.
    pub(super) fn takes_whole_keys(&self) -> bool {
        let Self {
            letters,
            partitions: _,
            key: _,
            is_parked,
            reason_contains,
            died_from_ms,
            died_before_ms,
        } = self;
        let has_no_bounds = died_from_ms.is_none() && died_before_ms.is_none();
        letters.is_none() && is_parked.is_none() && reason_contains.is_empty() && has_no_bounds
    }

    /// Offsets of the dead letters that it names, by partition.
    pub(super) fn named(&self) -> impl Iterator<Item = (u32, &BTreeSet<u64>)> {
        let named = self.letters.iter().flatten();
        named.map(|(partition, offsets)| (*partition, offsets))
    }

    /// Whether it names just one dead letter.
    pub(super) fn names_one(&self) -> bool {
        self.named()
            .map(|(_, offsets)| offsets.len())
            .sum::<usize>()
            == 1
    }

    /// Whether it takes a dead letter.
    pub(super) fn takes(&self, letter: &Letter) -> bool {
        let is_named = |it: &BTreeMap<u32, BTreeSet<u64>>| {
            let offsets = it.get(&letter.partition);
            offsets.is_some_and(|it| it.contains(&letter.open.offset.get()))
        };
        let time_ms = letter.death_time_ms;
        self.takes_partition(letter.partition)
            && self.letters.as_ref().is_none_or(is_named)
            && (self.key.is_none() || self.key == letter.record.key)
            && self
                .is_parked
                .is_none_or(|it| it == letter.origin.is_parked)
            && self.died_from_ms.is_none_or(|from| time_ms >= from)
            && self.died_before_ms.is_none_or(|before| time_ms < before)
            && (self.reason_contains.is_empty() || letter.has_reason(&self.reason_contains))
    }
}
