//! What was done to a group.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::{Group, SoughtPartition};

use crate::output::{Align, Report, Table, count, count_of, json_line};

/// Where a group was moved, or would be.
#[derive(Debug, Serialize)]
pub(in crate::commands::group) struct SeekReport {
    group: String,
    is_dry_run: bool,
    partitions: Vec<SoughtReport>,
}

#[derive(Debug, Serialize)]
struct SoughtReport {
    topic: String,
    partition: u32,
    from_offset: u64,
    to_offset: u64,
    lag_records: u64,
}

impl SeekReport {
    pub(in crate::commands::group) fn new(
        group: &str,
        sought: &[SoughtPartition],
        is_dry_run: bool,
    ) -> Self {
        let partitions = sought.iter().map(|it| SoughtReport {
            topic: it.topic.to_string(),
            partition: it.partition.get(),
            from_offset: it.from_offset.get(),
            to_offset: it.to_offset.get(),
            lag_records: it.lag_records,
        });
        Self {
            group: group.to_owned(),
            is_dry_run,
            partitions: partitions.collect(),
        }
    }
}

impl Report for SeekReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.partitions.is_empty() {
            let group = &self.group;
            return writeln!(out, "group {group} reads no partition: nothing to move");
        }
        let lag: u64 = self.partitions.iter().map(|it| it.lag_records).sum();
        let records = count_of(lag, "record");
        match self.is_dry_run {
            true => writeln!(
                out,
                "would move group {}: {records} to read then",
                self.group
            )?,
            false => writeln!(out, "moved group {}: {records} to read now", self.group)?,
        }
        let mut table = Table::new([
            ("TOPIC", Align::Left),
            ("PARTITION", Align::Right),
            ("FROM", Align::Right),
            ("TO", Align::Right),
            ("LAG", Align::Right),
        ]);
        for it in &self.partitions {
            table.row([
                it.topic.clone(),
                it.partition.to_string(),
                count(it.from_offset),
                count(it.to_offset),
                count(it.lag_records),
            ]);
        }
        write!(out, "{table}")?;
        match self.is_dry_run {
            true => writeln!(out, "dry run: nothing was moved"),
            false => Ok(()),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// A group that is gone, or would be.
#[derive(Debug, Serialize)]
pub(in crate::commands::group) struct DeletedGroup {
    group: String,
    group_id: u64,
    member_count: u32,
    partition_count: u64,
    is_dry_run: bool,
}

impl DeletedGroup {
    pub(in crate::commands::group) fn new(group: &Group, is_dry_run: bool) -> Self {
        Self {
            group: group.name.to_string(),
            group_id: group.group_id,
            member_count: group.member_count,
            partition_count: u64::try_from(group.partitions.len()).unwrap_or(u64::MAX),
            is_dry_run,
        }
    }
}

impl Report for DeletedGroup {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.group;
        let members = count_of(self.member_count.into(), "member");
        let partitions = count_of(self.partition_count, "partition");
        match self.is_dry_run {
            true => {
                writeln!(out, "would delete group {name}: {members}, {partitions}")?;
                writeln!(out, "dry run: nothing was deleted")
            }
            false => writeln!(out, "deleted group {name}: {members}, {partitions}"),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
