//! What is told about subscriptions.

mod change;
mod list;
mod seek;

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::{
    OnDeadLetter, OnFilterError, Subscription, SubscriptionConfig, SubscriptionConsumer,
    SubscriptionMode, SubscriptionPartition,
};

use crate::output::{
    Align, Report, Table, bytes, count, count_of, duration, exact_duration, json_line, printable,
};

pub(super) use change::{DeletedSubscription, Done, PausedSubscription, SubscriptionChange};
pub(super) use list::SubscriptionList;
pub(super) use seek::SeekReport;

/// So much of a consumer's id tells it from the others of a subscription.
const SHORT_ID_LEN: usize = 8;

/// A subscription as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct SubscriptionReport {
    subscription: String,
    subscription_id: u64,
    topic: String,
    is_paused: bool,
    create_time: String,
    config: ConfigReport,
    etag: String,
    dead_letter_topic: Option<String>,
    dead_letter_problem: Option<String>,
    consumer_count: u32,
    /// None in a list.
    #[serde(flatten)]
    details: Option<DetailsReport>,
}

/// What is told of one subscription only.
#[derive(Debug, Serialize)]
struct DetailsReport {
    held_bytes: u64,
    held_percent: u32,
    hold_warning: Option<String>,
    consumers: Vec<ConsumerReport>,
    partitions: Vec<PartitionReport>,
}

/// The settings of a subscription.
#[derive(Debug, Serialize)]
struct ConfigReport {
    mode: &'static str,
    on_dead_letter: &'static str,
    ack_deadline_ms: u64,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
    attempts_max: u32,
    age_max_ms: Option<u64>,
    filter: Option<String>,
    on_filter_error: &'static str,
}

#[derive(Debug, Serialize)]
struct ConsumerReport {
    consumer: String,
    client_name: String,
    connect_time: String,
    is_connected: bool,
    is_active: bool,
    in_flight_records: u64,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    partition: u32,
    floor_offset: u64,
    log_start_offset: u64,
    end_offset: u64,
    lag_records: u64,
    lag_ms: u64,
    in_flight_records: u64,
    waiting_records: u64,
    parked_keys: u64,
    dead_letters: u64,
    redriven_records: u64,
    skipped_records: u64,
    held_bytes: u64,
    held_ms: u64,
    filtered_records: u64,
    unjudged_records: u64,
    halt_reason: Option<String>,
}

impl SubscriptionReport {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let dead_letter_topic = subscription.dead_letter_topic.as_ref();
        Self {
            subscription: subscription.name.to_string(),
            subscription_id: subscription.subscription_id,
            topic: subscription.topic.to_string(),
            is_paused: subscription.is_paused,
            create_time: time_text(subscription.create_time),
            config: ConfigReport::of(&subscription.config),
            etag: subscription.etag.clone(),
            dead_letter_topic: dead_letter_topic.map(ToString::to_string),
            dead_letter_problem: subscription.dead_letter_problem.clone(),
            consumer_count: subscription.consumer_count,
            details: DetailsReport::of(subscription),
        }
    }

    fn partitions(&self) -> &[PartitionReport] {
        self.details.as_ref().map_or(&[], |it| &it.partitions)
    }

    fn sum(&self, of: impl Fn(&PartitionReport) -> u64) -> u64 {
        self.partitions().iter().map(of).sum()
    }

    fn write_partitions(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("PARTITION", Align::Right),
            ("FLOOR", Align::Right),
            ("END", Align::Right),
            ("LAG", Align::Right),
            ("BEHIND", Align::Right),
            ("IN FLIGHT", Align::Right),
            ("WAITING", Align::Right),
        ]);
        for it in self.partitions() {
            table.row([
                it.partition.to_string(),
                count(it.floor_offset),
                count(it.end_offset),
                count(it.lag_records),
                duration(Duration::from_millis(it.lag_ms)),
                count(it.in_flight_records),
                count(it.waiting_records),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_consumers(&self, out: &mut dyn Write) -> io::Result<()> {
        let consumers = self.details.as_ref().map(|it| it.consumers.as_slice());
        let consumers = consumers.unwrap_or_default();
        if consumers.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            ("CONSUMER", Align::Left),
            ("CONNECTED", Align::Left),
            ("IN FLIGHT", Align::Right),
            ("STATE", Align::Left),
        ]);
        for it in consumers {
            table.row([
                it.name(),
                it.connect_time.clone(),
                count(it.in_flight_records),
                it.state().to_owned(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_filter(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(filter) = self.config.filter_text() else {
            return Ok(());
        };
        let filtered = count_of(self.sum(|it| it.filtered_records), "record");
        let unjudged = count(self.sum(|it| it.unjudged_records));
        writeln!(out, "{filter}\n{filtered} left out, {unjudged} not judged")
    }

    /// What is not as it is most of the time.
    fn write_remarks(&self, out: &mut dyn Write) -> io::Result<()> {
        for it in self.partitions() {
            if let Some(reason) = &it.halt_reason {
                writeln!(out, "partition {} is halted: {reason}", it.partition)?;
            }
        }
        let redriven = self.sum(|it| it.redriven_records);
        if let dead @ 1.. = self.sum(|it| it.dead_letters) {
            let letters = count_of(dead, "dead letter");
            let name = &self.subscription;
            match redriven {
                0 => writeln!(out, "{letters}: towpath dlq list {name}")?,
                redriven => writeln!(out, "{letters}, {redriven} of them redriven")?,
            }
        }
        if let keys @ 1.. = self.sum(|it| it.parked_keys) {
            let keys = count_of(keys, "key");
            let topic = self.dead_letter_topic.as_deref().unwrap_or("-");
            writeln!(out, "{keys} parked behind dead letters, in topic {topic}")?;
        }
        if let Some(problem) = &self.dead_letter_problem {
            writeln!(out, "dead letters are not moved: {problem}")?;
        }
        if let skipped @ 1.. = self.sum(|it| it.skipped_records) {
            let records = count_of(skipped, "record");
            writeln!(out, "{records} passed over, gone before they were settled")?;
        }
        self.write_hold(out)
    }

    /// What the topic keeps for it past its retention.
    fn write_hold(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(details) = &self.details else {
            return Ok(());
        };
        if let held @ 1.. = details.held_bytes {
            let (held, topic) = (bytes(held), &self.topic);
            writeln!(out, "{held} held past the retention of topic {topic}")?;
        }
        match &details.hold_warning {
            None => Ok(()),
            Some(warning) => writeln!(out, "warning: {}", printable(warning.as_bytes())),
        }
    }
}

impl DetailsReport {
    /// A subscription has partitions wherever it is shown by itself.
    fn of(subscription: &Subscription) -> Option<Self> {
        let consumers = subscription.consumers.iter();
        let partitions = subscription.partitions.iter();
        (!subscription.partitions.is_empty()).then(|| Self {
            held_bytes: subscription.held_bytes,
            held_percent: subscription.held_percent,
            hold_warning: subscription.hold_warning.clone(),
            consumers: consumers.map(ConsumerReport::of).collect(),
            partitions: partitions.map(PartitionReport::of).collect(),
        })
    }
}

impl ConfigReport {
    fn of(config: &SubscriptionConfig) -> Self {
        Self {
            mode: mode_text(config.mode),
            on_dead_letter: match config.on_dead_letter {
                OnDeadLetter::Park => "park",
                OnDeadLetter::Skip => "skip",
                _ => "unknown",
            },
            ack_deadline_ms: whole_ms(config.ack_deadline),
            backoff_min_ms: whole_ms(config.backoff_min),
            backoff_max_ms: whole_ms(config.backoff_max),
            attempts_max: config.attempts_max,
            age_max_ms: config.age_max.map(whole_ms),
            filter: config.filter.clone(),
            on_filter_error: match config.on_filter_error {
                OnFilterError::Deliver => "deliver",
                OnFilterError::DeadLetter => "dead-letter",
                _ => "unknown",
            },
        }
    }

    /// Which records are delivered, unless all of them are.
    fn filter_text(&self) -> Option<String> {
        let filter = printable(self.filter.as_ref()?.as_bytes());
        let rule = self.on_filter_error;
        Some(format!(
            "filter {filter}, on a record that it cannot judge {rule}"
        ))
    }

    /// When a record is tried again, and for how long; and which ones are delivered, unless all of them are.
    fn rules(&self) -> String {
        let filter = self.filter_text().map(|it| format!("\n{it}"));
        self.retries() + &filter.unwrap_or_default()
    }

    /// When a record is tried again, and for how long.
    fn retries(&self) -> String {
        let time = |ms| exact_duration(Duration::from_millis(ms));
        let attempts = count_of(self.attempts_max.into(), "attempt");
        let (min, max) = (time(self.backoff_min_ms), time(self.backoff_max_ms));
        let age = self.age_max_ms.map(|ms| format!(" or {}", time(ms)));
        let age = age.unwrap_or_default();
        let deadline = time(self.ack_deadline_ms);
        format!("{attempts}{age}, back-off {min} to {max}, ack deadline {deadline}")
    }
}

impl ConsumerReport {
    fn of(consumer: &SubscriptionConsumer) -> Self {
        Self {
            consumer: consumer.consumer_id.clone(),
            client_name: consumer.client_name.clone(),
            connect_time: time_text(consumer.connect_time),
            is_connected: consumer.is_connected,
            is_active: consumer.is_active,
            in_flight_records: consumer.in_flight_records,
        }
    }

    /// What it calls itself and enough of its id.
    fn name(&self) -> String {
        let short = self.consumer.get(..SHORT_ID_LEN).unwrap_or(&self.consumer);
        match self.client_name.as_str() {
            "" => short.to_owned(),
            name => format!("{} {short}", printable(name.as_bytes())),
        }
    }

    const fn state(&self) -> &'static str {
        match (self.is_connected, self.is_active) {
            (false, _) => "GONE",
            (true, true) => "ACTIVE",
            (true, false) => "WAITING",
        }
    }
}

impl PartitionReport {
    fn of(partition: &SubscriptionPartition) -> Self {
        Self {
            partition: partition.partition.get(),
            floor_offset: partition.floor_offset.get(),
            log_start_offset: partition.log_start_offset.get(),
            end_offset: partition.end_offset.get(),
            lag_records: partition.lag_records,
            lag_ms: whole_ms(partition.lag),
            in_flight_records: partition.in_flight_records,
            waiting_records: partition.waiting_records,
            parked_keys: partition.parked_keys,
            dead_letters: partition.dead_letters,
            redriven_records: partition.redriven_records,
            skipped_records: partition.skipped_records,
            held_bytes: partition.held_bytes,
            held_ms: whole_ms(partition.held),
            filtered_records: partition.filtered_records,
            unjudged_records: partition.unjudged_records,
            halt_reason: partition.halt_reason.clone(),
        }
    }
}

const fn mode_text(mode: SubscriptionMode) -> &'static str {
    match mode {
        SubscriptionMode::KeyShared => "key-shared",
        SubscriptionMode::Shared => "shared",
        SubscriptionMode::Exclusive => "exclusive",
        _ => "unknown",
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

impl Report for SubscriptionReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let paused = if self.is_paused { "  PAUSED" } else { "" };
        let oldest_ms = self.partitions().iter().map(|it| it.lag_ms).max();
        writeln!(
            out,
            "{}{paused}  topic {}, {}, {}, lag {}, {}",
            self.subscription,
            self.topic,
            self.config.mode,
            count_of(self.consumer_count.into(), "consumer"),
            count_of(self.sum(|it| it.lag_records), "record"),
            duration(Duration::from_millis(oldest_ms.unwrap_or(0)))
        )?;
        let rule = self.config.on_dead_letter;
        writeln!(out, "{}, on a dead letter {rule}", self.config.retries())?;
        self.write_filter(out)?;
        self.write_partitions(out)?;
        self.write_consumers(out)?;
        self.write_remarks(out)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
