//! Which filter holds for which record.
//!
//! Filters are evaluated elsewhere: here it is decided what their verdicts mean, and from where on a
//! changed one holds. That is from the first record of each partition that nobody has looked at; what lies
//! before keeps the filter that it was looked at with, also after a restart, until the floor has passed it.

use std::fmt;

use towpath_storage::{Offset, OffsetRange, Row};

use super::lease::Held;
use super::partition::SubscriptionPartition;
use super::pass::WAITING_RECORDS_MAX;
use super::settled::{bit_of, word_of, words_in};
use super::window::Judged;
use super::{Subscription, SubscriptionConfig, SubscriptionDecision, UpdateSubscriptionRefusal};
use crate::core::row::RowId;

/// Former filters of a subscription that still hold for something.
pub(super) const SUPERSEDED_MAX: usize = 8;
/// Records that cannot be judged and get rows with one entry.
const DOOMED_RECORDS_MAX: usize = 200;

/// What becomes of a record that the filter cannot judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnFilterError {
    /// It is delivered.
    #[default]
    Deliver,
    /// It goes to the dead letters.
    DeadLetter,
}

/// Which records are delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RecordFilter {
    /// An expression that is true of them; none for all.
    pub expression: Option<String>,
    /// What becomes of those of which it is neither true nor false.
    pub on_error: OnFilterError,
}

/// What a filter says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterVerdict {
    /// It is to be delivered; also without a filter.
    Deliver,
    /// Nobody is to get it.
    Pass,
    /// It is not there any more: a newer record of its key is.
    Gone,
    /// The filter cannot judge it: it is delivered.
    DeliverUnjudged,
    /// The filter cannot judge it: it goes to the dead letters.
    Die(FilterDoubt),
}

/// Why a filter cannot judge a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterDoubt {
    /// Its body is not JSON.
    NotJson,
    /// Its body is too long to be looked into.
    TooLong,
    /// That takes too many steps.
    TooCostly,
    /// Something that the expression takes for granted is not so.
    Failed,
    /// The expression is none.
    Unusable,
}

impl fmt::Display for FilterDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "its body is not JSON",
            Self::TooLong => "its body is too long",
            Self::TooCostly => "it takes too many steps",
            Self::Failed => "the expression fails on it",
            Self::Unusable => "the expression cannot be used",
        })
    }
}

/// The filters of the records of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionFilters {
    /// Former filters, each with one past the last record that it holds for, ascending.
    pub former: Vec<(Offset, RecordFilter)>,
    /// The filter of all others.
    pub current: RecordFilter,
}

impl PartitionFilters {
    /// The filter of a record.
    pub fn of(&self, offset: Offset) -> &RecordFilter {
        let former = self.former.iter().find(|(end, _)| offset < *end);
        former.map_or(&self.current, |(_, filter)| filter)
    }
}

/// A filter that was changed while records had been looked at with it. Durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SupersededFilter {
    pub(super) filter: RecordFilter,
    /// For each partition one past the last record that it holds for; never below that of an earlier one,
    /// unless the partition was moved since.
    pub(super) ends: Vec<Offset>,
}

impl SubscriptionConfig {
    /// Which records are delivered.
    pub fn record_filter(&self) -> RecordFilter {
        RecordFilter {
            expression: self.filter.clone(),
            on_error: self.on_filter_error,
        }
    }
}

impl Subscription {
    /// The filters of the records of a partition.
    pub fn filters_of(&self, partition: u32) -> PartitionFilters {
        let former = self.superseded.values().filter_map(|it| {
            let end = it.ends.get(partition as usize).copied()?;
            (end > Offset::ZERO).then(|| (end, it.filter.clone()))
        });
        PartitionFilters {
            former: former.collect(),
            current: self.config.record_filter(),
        }
    }

    /// The row of the filter that a change of the settings supersedes; none if nothing was looked at with
    /// it that is not done with.
    pub(super) fn supersede_filter(
        &self,
        config: &SubscriptionConfig,
    ) -> Result<Option<Row>, UpdateSubscriptionRefusal> {
        let filter = self.config.record_filter();
        if filter == config.record_filter() {
            return Ok(None);
        }
        let last = self.superseded.values().next_back();
        let sources = self.partitions.iter().take(self.source_count());
        let ends = sources.enumerate().map(|(place, partition)| {
            let before = last.and_then(|it| it.ends.get(place)).copied();
            // After a restart what was settled beyond the floor tells how far it had come: what comes behind
            // a record that somebody had must not change its mind.
            let looked_at = partition.window.end().max(partition.settled.end());
            before.map_or(looked_at, |before| before.max(looked_at))
        });
        let ends: Vec<_> = ends.collect();
        let begins = |place: usize| match last.and_then(|it| it.ends.get(place)).copied() {
            Some(end) => end.max(self.floor_at(place)),
            None => self.floor_at(place),
        };
        let is_in_use = { ends.iter().enumerate() }.any(|(place, end)| *end > begins(place));
        if !is_in_use {
            return Ok(None);
        }
        if self.superseded.len() >= SUPERSEDED_MAX {
            return Err(UpdateSubscriptionRefusal::TooManyFilters {
                filter_count_max: SUPERSEDED_MAX,
            });
        }
        let id = RowId::SupersededFilter(self.id, self.revision);
        let superseded = SupersededFilter { filter, ends };
        Ok(Some(id.put(&superseded.to_row())))
    }

    fn source_count(&self) -> usize {
        self.topic_partition_count as usize
    }

    fn floor_at(&self, place: usize) -> Offset {
        let partition = self.partitions.get(place);
        partition.map_or(Offset::ZERO, |it| it.settled.floor())
    }

    /// Forgets former filters whose records are all done with.
    pub(super) fn drop_superseded(&self, decision: &mut SubscriptionDecision) {
        for (revision, superseded) in &self.superseded {
            let ends = superseded.ends.iter().enumerate();
            if { ends }.any(|(place, end)| self.floor_at(place) < *end) {
                return;
            }
            let id = RowId::SupersededFilter(self.id, *revision);
            decision.rows.push(id.gone());
        }
    }

    /// Has partitions that are moved judged anew: former filters hold for none of their records any more.
    pub(super) fn end_superseded(
        &self,
        partitions: impl Iterator<Item = u32> + Clone,
        decision: &mut SubscriptionDecision,
    ) {
        for (revision, superseded) in &self.superseded {
            let mut superseded = superseded.clone();
            for number in partitions.clone() {
                if let Some(end) = superseded.ends.get_mut(number as usize) {
                    *end = Offset::ZERO;
                }
            }
            let id = RowId::SupersededFilter(self.id, *revision);
            decision.rows.push(id.put(&superseded.to_row()));
        }
    }

    /// Asks again for what is being looked at with a filter that holds no more.
    pub(super) fn ask_anew(&mut self) {
        self.partitions.iter_mut().for_each(|it| it.asked = None);
    }

    /// Gives rows to records that go to the dead letters because their filter cannot judge them.
    pub(super) fn doom(&mut self, decision: &mut SubscriptionDecision) {
        let mut left = DOOMED_RECORDS_MAX;
        for number in (0..).take(self.source_count()) {
            let id = self.id;
            let Some(partition) = self.partition_mut(number) else {
                return;
            };
            while left > 0
                && let Some((offset, doubt)) = partition.doomed.pop_front()
            {
                if partition.settled.contains(offset) {
                    // It was let go of meanwhile.
                    continue;
                }
                left -= 1;
                let (word, records) = (word_of(offset), bit_of(offset));
                let mut row = partition.facts(Held::Window, offset);
                partition.window.remove_ready(word, records);
                decision.note_done(number, word, records);
                row.death = Some(format!("the filter cannot judge it: {doubt}"));
                let id = RowId::WaitingRecord(id, number, offset);
                decision.rows.push(id.put(&row.to_row()));
            }
        }
        self.write_settled(decision);
    }
}

impl SubscriptionPartition {
    /// Whether there is room for rows of records that cannot be judged.
    pub(super) fn has_row_room(&self) -> bool {
        self.waiting.len() + self.doomed.len() < WAITING_RECORDS_MAX
    }

    /// Whether a record of the window goes to the dead letters because its filter cannot judge it.
    pub(super) fn is_doomed(&self, offset: Offset) -> bool {
        self.doomed.iter().any(|(doomed, _)| *doomed == offset)
    }

    /// Records at or beyond the floor that nobody is to get.
    pub(super) fn passed_beyond_floor(&self) -> u64 {
        if self.window.passed_count() == 0 {
            return 0;
        }
        let words = words_in(self.looked_at());
        let passed = words.map(|(word, bits)| self.window.passed(word) & bits);
        passed.map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// What a filter has sorted out so far.
    pub(super) fn judged_in_all(&self) -> Judged {
        let beyond_floor = self.window.judged_in(self.looked_at());
        Judged {
            filtered_count: self.judged.filtered_count + beyond_floor.filtered_count,
            unjudged_count: self.judged.unjudged_count + beyond_floor.unjudged_count,
        }
    }

    fn looked_at(&self) -> OffsetRange {
        OffsetRange {
            start: self.settled.floor(),
            end: self.window.end(),
        }
    }
}
