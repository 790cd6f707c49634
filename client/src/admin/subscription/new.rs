//! Subscriptions to be created.

use std::time::Duration;

use towpath_proto::v1;

use super::{OnDeadLetter, OnFilterError, Subscription, SubscriptionMode};
use crate::Error;
use crate::reader::Start;
use crate::time::whole_ms;

/// A subscription to be created.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::create_subscription`"]
pub struct NewSubscription {
    name: String,
    topic: String,
    start: Option<Start>,
    config: v1::SubscriptionConfig,
    is_dry_run: bool,
}

impl NewSubscription {
    /// A subscription of this name to a topic, with the broker's defaults for everything else. `start`
    /// has none: it is the difference between all records that are there and none of them. Without it the
    /// broker refuses with [`ErrorReason::StartUnset`](crate::ErrorReason::StartUnset), and tells how many
    /// records each choice would deliver.
    pub fn new(
        name: impl Into<String>,
        topic: impl Into<String>,
        start: impl Into<Option<Start>>,
    ) -> Self {
        Self {
            name: name.into(),
            topic: topic.into(),
            start: start.into(),
            config: v1::SubscriptionConfig::default(),
            is_dry_run: false,
        }
    }

    /// Sets who gets records, and in which order; this cannot be changed later. Default: the broker's,
    /// [`SubscriptionMode::KeyShared`].
    pub fn mode(mut self, mode: SubscriptionMode) -> Self {
        self.config.set_mode(mode.to_proto());
        self
    }

    /// Sets what dead letters do to their key; this cannot be changed later. Default: the broker's,
    /// [`OnDeadLetter::Park`], and [`OnDeadLetter::Skip`] in the mode [`SubscriptionMode::Shared`].
    pub fn on_dead_letter(mut self, on_dead_letter: OnDeadLetter) -> Self {
        self.config.set_on_dead_letter(on_dead_letter.to_proto());
        self
    }

    /// Sets how long a consumer may keep a record before it settles or extends it, in whole
    /// milliseconds, from 1 s to 1 h. Default: the broker's, 30 s.
    pub fn ack_deadline(mut self, deadline: Duration) -> Self {
        self.config.ack_deadline_ms = Some(whole_ms(deadline));
        self
    }

    /// Sets the wait before the second attempt, which doubles with each failure, and the longest such
    /// wait, in whole milliseconds, up to a day. Default: the broker's, 1 s and 5 min.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff_min_ms = Some(whole_ms(min));
        self.config.backoff_max_ms = Some(whole_ms(max));
        self
    }

    /// Sets the wait before the second attempt alone, as [`NewSubscription::backoff`] does.
    pub fn backoff_min(mut self, min: Duration) -> Self {
        self.config.backoff_min_ms = Some(whole_ms(min));
        self
    }

    /// Sets the longest wait before another attempt alone, as [`NewSubscription::backoff`] does.
    pub fn backoff_max(mut self, max: Duration) -> Self {
        self.config.backoff_max_ms = Some(whole_ms(max));
        self
    }

    /// Sets after how many failed attempts a record is dead, from 1 to 1,000,000. Default: the
    /// broker's, 20.
    pub const fn attempts_max(mut self, count: u32) -> Self {
        self.config.attempts_max = Some(count);
        self
    }

    /// Sets from which age on, in whole milliseconds, a record is dead when an attempt fails. Default:
    /// the broker's, at no age.
    pub fn age_max(mut self, age: Duration) -> Self {
        self.config.age_max_ms = Some(whole_ms(age));
        self
    }

    /// Sets which records are delivered: an expression in CEL that is true of them. The others are settled
    /// without a delivery. Default: all.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.config.filter = expression.into();
        self
    }

    /// Sets what becomes of records that the filter cannot judge. Default: the broker's,
    /// [`OnFilterError::Deliver`].
    pub fn on_filter_error(mut self, on_filter_error: OnFilterError) -> Self {
        self.config.set_on_filter_error(on_filter_error.to_proto());
        self
    }

    /// Only asks whether it would succeed.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    pub(in crate::admin) fn to_request(&self) -> Result<v1::CreateSubscriptionRequest, Error> {
        let to_position = |start: &Start| {
            let text = "a subscription does not begin at single offsets";
            let hint = "move it there with Admin::seek_subscription, partition by partition";
            let refusal = || Error::invalid("start", text).with_hint(hint);
            start.to_position().ok_or_else(refusal)
        };
        Ok(v1::CreateSubscriptionRequest {
            name: self.name.clone(),
            topic: self.topic.clone(),
            start: self.start.as_ref().map(to_position).transpose()?,
            config: Some(self.config.clone()),
            validate_only: self.is_dry_run,
        })
    }
}

/// A subscription that was created, or was there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedSubscription {
    /// The subscription.
    pub subscription: Subscription,
    /// Whether it was there before: also when the answer to an earlier try was lost.
    pub existed: bool,
}

impl CreatedSubscription {
    pub(in crate::admin) fn from_proto(
        response: v1::CreateSubscriptionResponse,
    ) -> Result<Self, Error> {
        Ok(Self {
            subscription: Subscription::from_proto(response.subscription)?,
            existed: response.existed,
        })
    }
}
