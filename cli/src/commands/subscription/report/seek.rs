//! Where a subscription was moved.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::SoughtSubscriptionPartition;

use crate::output::{Align, Report, Table, count, count_of, json_line};

/// Where a subscription was moved, or would be.
#[derive(Debug, Serialize)]
pub(in crate::commands::subscription) struct SeekReport {
    subscription: String,
    is_dry_run: bool,
    partitions: Vec<SoughtReport>,
}

#[derive(Debug, Serialize)]
struct SoughtReport {
    partition: u32,
    from_offset: u64,
    to_offset: u64,
    lag_records: u64,
    in_flight_records: u64,
    waiting_records: u64,
    dead_letters: u64,
    parked_keys: u64,
}

impl SeekReport {
    pub(in crate::commands::subscription) fn new(
        subscription: &str,
        sought: &[SoughtSubscriptionPartition],
        is_dry_run: bool,
    ) -> Self {
        let partitions = sought.iter().map(|it| SoughtReport {
            partition: it.partition.get(),
            from_offset: it.from_offset.get(),
            to_offset: it.to_offset.get(),
            lag_records: it.lag_records,
            in_flight_records: it.in_flight_records,
            waiting_records: it.waiting_records,
            dead_letters: it.dead_letters,
            parked_keys: it.parked_keys,
        });
        Self {
            subscription: subscription.to_owned(),
            is_dry_run,
            partitions: partitions.collect(),
        }
    }
}

impl Report for SeekReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let lag: u64 = self.partitions.iter().map(|it| it.lag_records).sum();
        let records = count_of(lag, "record");
        let name = &self.subscription;
        match self.is_dry_run {
            true => writeln!(
                out,
                "would move subscription {name}: {records} to come then"
            )?,
            false => writeln!(out, "moved subscription {name}: {records} to come now")?,
        }
        let mut table = Table::new([
            ("PARTITION", Align::Right),
            ("FROM", Align::Right),
            ("TO", Align::Right),
            ("LAG", Align::Right),
            ("TAKEN BACK", Align::Right),
            ("RETRIES ENDED", Align::Right),
            ("DEAD LETTERS", Align::Right),
            ("PARKED KEYS", Align::Right),
        ]);
        for it in &self.partitions {
            table.row([
                it.partition.to_string(),
                count(it.from_offset),
                count(it.to_offset),
                count(it.lag_records),
                count(it.in_flight_records),
                count(it.waiting_records),
                count(it.dead_letters),
                count(it.parked_keys),
            ]);
        }
        write!(out, "{table}")?;
        if self.partitions.iter().any(|it| it.dead_letters > 0) {
            let name = &self.subscription;
            writeln!(out, "dead letters stay: towpath dlq list {name}")?;
        }
        match self.is_dry_run {
            true => writeln!(out, "dry run: nothing was moved"),
            false => Ok(()),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
