//! What was done to a subscription as a whole.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::{Subscription, SubscriptionName, Topic};

use super::SubscriptionReport;
use crate::output::{Report, count_of, json_line};

/// What was done to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::subscription) enum Done {
    /// It is there now.
    Created,
    /// It was there, the same.
    Existed,
    /// It could be created.
    WouldCreate,
    /// Its settings are what was asked for.
    Updated,
    /// Its settings could be.
    WouldUpdate,
}

/// A subscription and what was done to it.
#[derive(Debug)]
pub(in crate::commands::subscription) struct SubscriptionChange {
    subscription: SubscriptionReport,
    done: Done,
}

impl SubscriptionChange {
    pub(in crate::commands::subscription) fn new(subscription: &Subscription, done: Done) -> Self {
        Self {
            subscription: SubscriptionReport::of(subscription),
            done,
        }
    }
}

impl Report for SubscriptionChange {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let SubscriptionReport {
            subscription: name,
            topic,
            config,
            ..
        } = &self.subscription;
        let rules = config.rules();
        let shape = format!(
            "{}, on a dead letter {}",
            config.mode, config.on_dead_letter
        );
        match self.done {
            Done::Created => writeln!(
                out,
                "created subscription {name} of topic {topic}: {shape}\n{rules}"
            ),
            Done::Existed => writeln!(
                out,
                "subscription {name} of topic {topic} is there, as asked for: {shape}\n{rules}"
            ),
            Done::WouldCreate => writeln!(
                out,
                "would create subscription {name} of topic {topic}: {shape}\n{rules}\n\
                 dry run: nothing was created"
            ),
            Done::Updated => writeln!(out, "updated subscription {name}: {rules}"),
            Done::WouldUpdate => writeln!(
                out,
                "would update subscription {name}: {rules}\ndry run: nothing was changed"
            ),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, &self.subscription)
    }
}

/// A subscription that was paused, or goes on.
#[derive(Debug, Serialize)]
pub(in crate::commands::subscription) struct PausedSubscription {
    subscription: String,
    is_paused: bool,
}

impl PausedSubscription {
    pub(in crate::commands::subscription) fn new(name: &SubscriptionName, is_paused: bool) -> Self {
        Self {
            subscription: name.to_string(),
            is_paused,
        }
    }
}

impl Report for PausedSubscription {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.subscription;
        match self.is_paused {
            true => writeln!(
                out,
                "paused subscription {name}: consumers keep what they have"
            ),
            false => writeln!(out, "resumed subscription {name}"),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// A subscription that is gone, or would be.
#[derive(Debug, Serialize)]
pub(in crate::commands::subscription) struct DeletedSubscription {
    subscription: String,
    subscription_id: u64,
    topic: String,
    consumer_count: u32,
    unsettled_records: u64,
    dead_letter_topic: Option<String>,
    with_dlq: bool,
    /// Records of that topic, if it is deleted too.
    dead_letter_topic_records: Option<u64>,
    is_dry_run: bool,
}

impl DeletedSubscription {
    /// With the topic of its dead letters, if that is deleted as well.
    pub(in crate::commands::subscription) fn new(
        found: &Subscription,
        letters: Option<&Topic>,
        is_dry_run: bool,
    ) -> Self {
        Self {
            subscription: found.name.to_string(),
            subscription_id: found.subscription_id,
            topic: found.topic.to_string(),
            consumer_count: found.consumer_count,
            unsettled_records: found.partitions.iter().map(|it| it.lag_records).sum(),
            dead_letter_topic: found.dead_letter_topic.as_ref().map(ToString::to_string),
            with_dlq: letters.is_some(),
            dead_letter_topic_records: letters.map(|topic| topic.record_count),
            is_dry_run,
        }
    }
}

impl Report for DeletedSubscription {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let consumers = count_of(self.consumer_count.into(), "consumer");
        let records = count_of(self.unsettled_records, "record");
        let shape = format!("{consumers}, {records} not settled");
        let name = &self.subscription;
        match self.is_dry_run {
            true => writeln!(out, "would delete subscription {name}: {shape}")?,
            false => writeln!(out, "deleted subscription {name}: {shape}")?,
        }
        if let Some(topic) = &self.dead_letter_topic {
            match self.dead_letter_topic_records {
                None => writeln!(out, "its dead letters stay in topic {topic}")?,
                Some(count) => {
                    let records = count_of(count, "record");
                    writeln!(
                        out,
                        "with the topic of its dead letters, {topic}: {records}"
                    )?;
                }
            }
        }
        match self.is_dry_run {
            true => writeln!(out, "dry run: nothing was deleted"),
            false => Ok(()),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
