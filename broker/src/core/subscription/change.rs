//! Changing the settings of a subscription, pausing it, and moving it.

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, Row};

use super::delete::SubscriptionNotFound;
use super::leased::Found;
use super::settle::Told;
use super::{
    OnFilterError, RetryPolicy, Subscription, SubscriptionConfig, SubscriptionDecision,
    SubscriptionId,
};
use crate::core::State;
use crate::core::row::RowId;

/// A state of a subscription's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionRevision {
    /// Which subscription.
    pub id: SubscriptionId,
    /// How often it was changed.
    pub revision: u64,
}

/// A wish to change a subscription: what is none stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::option_option,
    reason = "none leaves a setting as it is, none within unsets it"
)]
pub struct UpdateSubscription {
    /// Which.
    pub name: SubscriptionName,
    /// Only if its settings are these.
    pub expected: Option<SubscriptionRevision>,
    /// Ack deadline, milliseconds.
    pub ack_deadline_ms: Option<u64>,
    /// Shortest back-off, milliseconds.
    pub backoff_ms_min: Option<u64>,
    /// Longest back-off, milliseconds.
    pub backoff_ms_max: Option<u64>,
    /// Most attempts.
    pub attempts_max: Option<u32>,
    /// Highest age, milliseconds; none within for any.
    #[expect(clippy::option_option, reason = "a change to none is not no change")]
    pub age_ms_max: Option<Option<u64>>,
    /// Which records are delivered: an expression; none within for all.
    pub filter: Option<Option<String>>,
    /// What becomes of records that the filter cannot judge.
    pub on_filter_error: Option<OnFilterError>,
}

/// Why a subscription is not changed. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateSubscriptionRefusal {
    /// There is none of that name.
    #[error(transparent)]
    NotFound(#[from] SubscriptionNotFound),
    /// It was changed, or created again, since the caller looked at it.
    #[error("subscription \"{name}\" was changed by someone else")]
    Changed {
        /// The name.
        name: SubscriptionName,
        /// What it is now.
        current: SubscriptionRevision,
    },
    /// The shortest back-off would be above the longest.
    #[error(
        "the shortest back-off of {backoff_ms_min} ms is above the longest of {backoff_ms_max} ms"
    )]
    Backoff {
        /// The shortest, milliseconds.
        backoff_ms_min: u64,
        /// The longest, milliseconds.
        backoff_ms_max: u64,
    },
    /// Records that were looked at with its former filters are not done with.
    #[error("{filter_count_max} former filters still hold for records that are not settled")]
    TooManyFilters {
        /// How many there may be.
        filter_count_max: usize,
    },
}

/// A wish to move a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekSubscription {
    /// Which.
    pub name: SubscriptionName,
    /// Numbers of partitions, each once, and where they go on.
    pub positions: Vec<(u32, Offset)>,
}

/// What a seek does to a partition of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoughtSubscriptionPartition {
    /// Which.
    pub partition: u32,
    /// The floor before.
    pub from: Offset,
    /// The floor after.
    pub to: Offset,
    /// Records that consumers have and lose.
    pub in_flight_count: u64,
    /// Records with rows, which are gone then.
    pub waiting_count: u64,
}

/// Why a subscription is not moved. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeekSubscriptionRefusal {
    /// There is none of that name.
    #[error(transparent)]
    NotFound(#[from] SubscriptionNotFound),
    /// Its topic has fewer partitions.
    #[error("there is no partition {partition}")]
    PartitionNotFound {
        /// The number asked for.
        partition: u32,
    },
}

impl State {
    /// Decides on changing a subscription: its settings then, and the rows; none if nothing would change.
    ///
    /// # Errors
    /// [`UpdateSubscriptionRefusal`].
    pub fn update_subscription(
        &self,
        wish: &UpdateSubscription,
    ) -> Result<(SubscriptionId, SubscriptionConfig, Vec<Row>), UpdateSubscriptionRefusal> {
        let name = || wish.name.clone();
        let known = self.subscription_named(&wish.name);
        let known = known.ok_or_else(|| SubscriptionNotFound { name: name() })?;
        let current = known.revision();
        if wish.expected.is_some_and(|expected| expected != current) {
            return Err(UpdateSubscriptionRefusal::Changed {
                name: name(),
                current,
            });
        }
        let before = known.config();
        let retry = before.retry;
        let config = SubscriptionConfig {
            ack_deadline_ms: wish.ack_deadline_ms.unwrap_or(before.ack_deadline_ms),
            retry: RetryPolicy {
                backoff_ms_min: wish.backoff_ms_min.unwrap_or(retry.backoff_ms_min),
                backoff_ms_max: wish.backoff_ms_max.unwrap_or(retry.backoff_ms_max),
                attempts_max: wish.attempts_max.unwrap_or(retry.attempts_max),
                age_ms_max: wish.age_ms_max.unwrap_or(retry.age_ms_max),
            },
            filter: wish.filter.clone().unwrap_or(before.filter.clone()),
            on_filter_error: wish.on_filter_error.unwrap_or(before.on_filter_error),
            ..before.clone()
        };
        let RetryPolicy {
            backoff_ms_min,
            backoff_ms_max,
            ..
        } = config.retry;
        if backoff_ms_min > backoff_ms_max {
            return Err(UpdateSubscriptionRefusal::Backoff {
                backoff_ms_min,
                backoff_ms_max,
            });
        }
        let is_changed = config != *before;
        let row = is_changed.then(|| RowId::Subscription(known.id).put(&known.row_with(&config)));
        let superseded = known.supersede_filter(&config)?;
        let rows = superseded.into_iter().chain(row).collect();
        Ok((known.id, config, rows))
    }

    /// Decides on pausing a subscription, or letting it go on. No rows if nothing would change.
    ///
    /// # Errors
    /// [`SubscriptionNotFound`].
    pub fn pause_subscription(
        &self,
        name: &SubscriptionName,
        is_paused: bool,
    ) -> Result<Vec<Row>, SubscriptionNotFound> {
        let found = self.subscription_named(name);
        let found = found.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let mut row = found.to_row();
        let is_changed = std::mem::replace(&mut row.is_paused, is_paused) != is_paused;
        let row = is_changed.then(|| RowId::Subscription(found.id).put(&row));
        Ok(row.into_iter().collect())
    }

    /// Decides on moving a subscription: what that does to each partition. Consumers lose what they have of
    /// them, and attempts begin anew; a dry run changes nothing.
    ///
    /// # Errors
    /// [`SeekSubscriptionRefusal`].
    pub fn seek_subscription(
        &mut self,
        wish: &SeekSubscription,
        is_dry_run: bool,
    ) -> Result<
        (
            SubscriptionId,
            Vec<SoughtSubscriptionPartition>,
            SubscriptionDecision,
        ),
        SeekSubscriptionRefusal,
    > {
        let name = || wish.name.clone();
        let known = self.subscription_named(&wish.name);
        let known = known.ok_or_else(|| SubscriptionNotFound { name: name() })?;
        let id = known.id;
        let sought = wish.positions.iter().map(|(number, to)| {
            let described = known.sought(*number, *to);
            let partition = *number;
            described.ok_or(SeekSubscriptionRefusal::PartitionNotFound { partition })
        });
        let sought = sought.collect::<Result<Vec<_>, _>>()?;
        let mut decision = SubscriptionDecision::default();
        if !is_dry_run && let Some(subscription) = self.activate(id) {
            for (number, to) in &wish.positions {
                subscription.seek(*number, *to, &mut decision);
            }
            let partitions = wish.positions.iter().map(|(number, _)| *number);
            subscription.end_superseded(partitions, &mut decision);
        }
        Ok((id, sought, decision))
    }
}

impl Subscription {
    /// Which state its settings are in.
    pub fn revision(&self) -> SubscriptionRevision {
        SubscriptionRevision {
            id: self.id,
            revision: self.revision,
        }
    }

    fn sought(&self, number: u32, to: Offset) -> Option<SoughtSubscriptionPartition> {
        let partition = self.partitions.get(number as usize)?;
        let leases = self.leases.iter().filter(|(_, it)| it.partition == number);
        Some(SoughtSubscriptionPartition {
            partition: number,
            from: partition.settled.floor(),
            to,
            in_flight_count: leases
                .map(|(_, lease)| u64::from(lease.records.count_ones()))
                .sum(),
            waiting_count: partition.waiting.len() as u64,
        })
    }

    fn seek(&mut self, number: u32, to: Offset, decision: &mut SubscriptionDecision) {
        let leases = self.leases.iter().filter(|(_, it)| it.partition == number);
        let leased = leases.map(|(lease, it)| Found {
            lease,
            held: it.held,
            word: it.word,
            records: it.records,
        });
        for found in leased.collect::<Vec<_>>() {
            let consumer = self.take_off(number, &found);
            self.tell_taken(consumer, number, &found, Told::Now, decision);
        }
        self.suspicion.forget_partition(number);
        let Some(partition) = self.partitions.get(number as usize) else {
            return;
        };
        let row = partition.to_row().sought(to);
        let id = RowId::SubscriptionPartition(self.id, number);
        decision.rows.push(id.put(&row));
        self.consumers.forget_absent();
    }
}
