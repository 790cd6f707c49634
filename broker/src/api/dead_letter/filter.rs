//! Which dead letters a call is about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

/// For the log: what it looks at, and neither keys nor texts.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: usize = self.named().map(|(_, offsets)| offsets.len()).sum();
        let partitions = self.partitions.as_ref().map(BTreeSet::len);
        let kind = self.is_parked.map(|it| if it { "parked" } else { "dead" });
        let parts = [
            self.letters.is_some().then(|| format!("{named} named")),
            partitions.map(|count| format!("of {count} partitions")),
            self.key.is_some().then(|| "of one key".to_owned()),
            kind.map(|kind| format!("kind {kind}")),
            (!self.reason_contains.is_empty()).then(|| "by reason".to_owned()),
            self.died_from_ms.map(|ms| format!("died from {ms} ms")),
            self.died_before_ms.map(|ms| format!("died before {ms} ms")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => f.write_str("all"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_neither_keys_nor_texts_and_not_each_letter() {
        let check = |filter: Filter, expected: &str| assert_eq!(filter.to_string(), expected);
        check(Filter::default(), "all");
        let letters = BTreeMap::from([(0, (0..9_000).collect()), (7, BTreeSet::from([5]))]);
        let filter = Filter {
            letters: Some(letters),
            partitions: Some(BTreeSet::from([0, 7])),
            key: Some(Bytes::from_static(b"secret")),
            is_parked: Some(true),
            reason_contains: "secret".to_owned(),
            died_from_ms: Some(5),
            died_before_ms: Some(9),
        };
        let expected = "9001 named, of 2 partitions, of one key, kind parked, by reason, \
                        died from 5 ms, died before 9 ms";
        check(filter, expected);
    }
}
