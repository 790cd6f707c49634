//! Changes of a subscription: of its settings, of its place, and its end.

use std::time::Duration;

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;

use super::OnFilterError;
use crate::Error;
use crate::reader::Start;
use crate::time::whole_ms;

/// A change of a subscription's settings. What it does not name stays as it is.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::update_subscription`"]
pub struct SubscriptionUpdate {
    name: String,
    config: v1::SubscriptionConfig,
    paths: Vec<&'static str>,
    etag: String,
    is_dry_run: bool,
}

impl SubscriptionUpdate {
    /// A change of the subscription of this name, so far of nothing.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            config: v1::SubscriptionConfig::default(),
            paths: Vec::new(),
            etag: String::new(),
            is_dry_run: false,
        }
    }

    /// Sets how long a consumer may keep a record before it settles or extends it, in whole
    /// milliseconds, from 1 s to 1 h.
    pub fn ack_deadline(mut self, deadline: Duration) -> Self {
        self.config.ack_deadline_ms = Some(whole_ms(deadline));
        self.with(&["ack_deadline_ms"])
    }

    /// Sets the wait before the second attempt, which doubles with each failure, and the longest such
    /// wait, in whole milliseconds, up to a day.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff_min_ms = Some(whole_ms(min));
        self.config.backoff_max_ms = Some(whole_ms(max));
        self.with(&["backoff_min_ms", "backoff_max_ms"])
    }

    /// Sets the wait before the second attempt alone, as [`SubscriptionUpdate::backoff`] does.
    pub fn backoff_min(mut self, min: Duration) -> Self {
        self.config.backoff_min_ms = Some(whole_ms(min));
        self.with(&["backoff_min_ms"])
    }

    /// Sets the longest wait before another attempt alone, as [`SubscriptionUpdate::backoff`] does.
    pub fn backoff_max(mut self, max: Duration) -> Self {
        self.config.backoff_max_ms = Some(whole_ms(max));
        self.with(&["backoff_max_ms"])
    }

    /// Sets after how many failed attempts a record is dead, from 1 to 1,000,000.
    pub fn attempts_max(mut self, count: u32) -> Self {
        self.config.attempts_max = Some(count);
        self.with(&["attempts_max"])
    }

    /// Sets from which age on, in whole milliseconds, a record is dead when an attempt fails.
    pub fn age_max(mut self, age: Duration) -> Self {
        self.config.age_max_ms = Some(whole_ms(age));
        self.with(&["age_max_ms"])
    }

    /// No record is dead for its age any more: the broker's default.
    pub fn unset_age_max(mut self) -> Self {
        self.config.age_max_ms = None;
        self.with(&["age_max_ms"])
    }

    /// Sets which records are delivered: an expression in CEL that is true of them. This holds for the
    /// records that the subscription has not looked at yet.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.config.filter = expression.into();
        self.with(&["filter"])
    }

    /// All records are delivered: the broker's default.
    pub fn unset_filter(self) -> Self {
        self.filter("")
    }

    /// Sets what becomes of records that the filter cannot judge.
    pub fn on_filter_error(mut self, on_filter_error: OnFilterError) -> Self {
        self.config.set_on_filter_error(on_filter_error.to_proto());
        self.with(&["on_filter_error"])
    }

    /// Only if the subscription is still as it was when its [`etag`](crate::Subscription::etag) was
    /// read.
    pub fn if_unchanged(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Only asks what the subscription would be.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    fn with(mut self, paths: &[&'static str]) -> Self {
        self.paths.retain(|path| !paths.contains(path));
        self.paths.extend(paths);
        self
    }

    pub(in crate::admin) fn to_request(&self) -> v1::UpdateSubscriptionRequest {
        let paths = self.paths.iter().map(ToString::to_string).collect();
        v1::UpdateSubscriptionRequest {
            name: self.name.clone(),
            config: Some(self.config.clone()),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: self.etag.clone(),
            validate_only: self.is_dry_run,
        }
    }
}

/// A move of a subscription to another place.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::seek_subscription`"]
pub struct SubscriptionSeek {
    name: String,
    partitions: Vec<PartitionId>,
    start: Start,
    is_dry_run: bool,
}

impl SubscriptionSeek {
    /// To a place in all partitions.
    pub fn to(name: impl Into<String>, start: Start) -> Self {
        Self {
            name: name.into(),
            partitions: Vec::new(),
            start,
            is_dry_run: false,
        }
    }

    /// Only in these partitions. None at all means all of them.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Only asks what would happen.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(in crate::admin) fn to_request(&self) -> Result<v1::SeekSubscriptionRequest, Error> {
        let position = self.start.to_position().ok_or_else(|| {
            Error::invalid("position", "one seek has one place for all its partitions")
                .with("subscription", &self.name)
        })?;
        Ok(v1::SeekSubscriptionRequest {
            name: self.name.clone(),
            partitions: self.partitions.iter().map(|it| it.get()).collect(),
            position: Some(position),
            validate_only: self.is_dry_run,
        })
    }
}

/// What a seek does to one partition of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoughtSubscriptionPartition {
    /// Number of the partition.
    pub partition: PartitionId,
    /// Floor before.
    pub from_offset: Offset,
    /// Floor after.
    pub to_offset: Offset,
    /// Records from there to the end, which are delivered now.
    pub lag_records: u64,
    /// Records that consumers had and lose.
    pub in_flight_records: u64,
    /// Records that waited for another attempt and do not any more.
    pub waiting_records: u64,
    /// Dead letters that are not settled, parked and redriven ones among them, which stay.
    pub dead_letters: u64,
    /// Keys of which something is among the dead letters, which stay parked.
    pub parked_keys: u64,
}

impl SoughtSubscriptionPartition {
    pub(in crate::admin) const fn from_proto(partition: &v1::SoughtSubscriptionPartition) -> Self {
        Self {
            partition: PartitionId::new(partition.partition),
            from_offset: Offset::new(partition.from_offset),
            to_offset: Offset::new(partition.to_offset),
            lag_records: partition.lag_records,
            in_flight_records: partition.in_flight_records,
            waiting_records: partition.waiting_records,
            dead_letters: partition.dead_letters,
            parked_keys: partition.parked_keys,
        }
    }
}

/// A subscription to be deleted, with what it remembers.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::delete_subscription`"]
pub struct SubscriptionDeletion {
    name: String,
    with_dlq: bool,
    is_dry_run: bool,
}

impl SubscriptionDeletion {
    /// The subscription of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            with_dlq: false,
            is_dry_run: false,
        }
    }

    /// Deletes the topic of its dead letters as well, with all that is in it. Default: that stays.
    pub const fn with_dead_letters(mut self) -> Self {
        self.with_dlq = true;
        self
    }

    /// Only asks whether it would succeed.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(in crate::admin) fn to_request(&self) -> v1::DeleteSubscriptionRequest {
        v1::DeleteSubscriptionRequest {
            name: self.name.clone(),
            validate_only: self.is_dry_run,
            with_dlq: self.with_dlq,
        }
    }
}

impl<T: Into<String>> From<T> for SubscriptionDeletion {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}
