//! What is told about groups.

mod change;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::{Group, GroupMember, GroupPartition, GroupState};

use crate::output::{Align, Report, Table, count, count_of, duration, json_line};

pub(super) use change::{DeletedGroup, SeekReport};

/// So much of a member's id tells it from the others of a group.
const SHORT_ID_LEN: usize = 8;

/// A group as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct GroupReport {
    group: String,
    group_id: u64,
    state: &'static str,
    generation: u64,
    create_time: String,
    members: Vec<MemberReport>,
    partitions: Vec<PartitionReport>,
}

#[derive(Debug, Serialize)]
struct MemberReport {
    member: String,
    client_name: String,
    join_time: String,
    is_connected: bool,
    partition_count: u32,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    topic: String,
    partition: u32,
    committed_offset: u64,
    end_offset: u64,
    lag_records: u64,
    lag_ms: u64,
    member: Option<String>,
    skipped_records: u64,
}

impl GroupReport {
    pub(super) fn of(group: &Group) -> Self {
        Self {
            group: group.name.to_string(),
            group_id: group.group_id,
            state: state_text(group.state),
            generation: group.generation.get(),
            create_time: time_text(group.create_time),
            members: group.members.iter().map(MemberReport::of).collect(),
            partitions: group.partitions.iter().map(PartitionReport::of).collect(),
        }
    }

    /// Who reads a partition, for people.
    fn reader(&self, member: Option<&String>) -> String {
        let names: BTreeMap<&String, &str> = self
            .members
            .iter()
            .map(|it| (&it.member, it.client_name.as_str()))
            .collect();
        let Some(member) = member else {
            return "-".to_owned();
        };
        let name = names.get(member).copied().unwrap_or_default();
        let short = member.get(..SHORT_ID_LEN).unwrap_or(member);
        match name {
            "" => short.to_owned(),
            name => format!("{} {short}", name.escape_default()),
        }
    }
}

impl MemberReport {
    fn of(member: &GroupMember) -> Self {
        Self {
            member: member.member_id.clone(),
            client_name: member.client_name.clone(),
            join_time: time_text(member.join_time),
            is_connected: member.is_connected,
            partition_count: member.partition_count,
        }
    }
}

impl PartitionReport {
    fn of(partition: &GroupPartition) -> Self {
        Self {
            topic: partition.topic.to_string(),
            partition: partition.partition.get(),
            committed_offset: partition.committed_offset.get(),
            end_offset: partition.end_offset.get(),
            lag_records: partition.lag_records,
            lag_ms: u64::try_from(partition.lag.as_millis()).unwrap_or(u64::MAX),
            member: partition.member_id.clone(),
            skipped_records: partition.skipped_records,
        }
    }
}

const fn state_text(state: GroupState) -> &'static str {
    match state {
        GroupState::Empty => "EMPTY",
        GroupState::Stable => "STABLE",
        GroupState::Rebalancing => "REBALANCING",
        _ => "UNKNOWN",
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

impl Report for GroupReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let lag = self.partitions.iter().map(|it| it.lag_records).sum();
        let oldest_ms = self.partitions.iter().map(|it| it.lag_ms).max();
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX);
        writeln!(
            out,
            "{}  {}, generation {}, {}, lag {}, {}",
            self.group,
            self.state,
            self.generation,
            count_of(members, "member"),
            count_of(lag, "record"),
            duration(Duration::from_millis(oldest_ms.unwrap_or(0)))
        )?;
        let mut table = Table::new([
            ("TOPIC", Align::Left),
            ("PARTITION", Align::Right),
            ("COMMITTED", Align::Right),
            ("END", Align::Right),
            ("LAG", Align::Right),
            ("BEHIND", Align::Right),
            ("MEMBER", Align::Left),
        ]);
        for it in &self.partitions {
            table.row([
                it.topic.clone(),
                it.partition.to_string(),
                count(it.committed_offset),
                count(it.end_offset),
                count(it.lag_records),
                duration(Duration::from_millis(it.lag_ms)),
                self.reader(it.member.as_ref()),
            ]);
        }
        write!(out, "{table}")?;
        let skipped: u64 = self.partitions.iter().map(|it| it.skipped_records).sum();
        match skipped {
            0 => Ok(()),
            skipped => writeln!(
                out,
                "{} passed over, gone before the group came there",
                count_of(skipped, "record")
            ),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// All groups, one a line.
#[derive(Debug)]
pub(super) struct GroupList {
    groups: Vec<ListedGroup>,
}

#[derive(Debug, Serialize)]
struct ListedGroup {
    group: String,
    group_id: u64,
    state: &'static str,
    generation: u64,
    member_count: u32,
    create_time: String,
}

impl GroupList {
    pub(super) fn of(groups: &[Group]) -> Self {
        let groups = groups.iter().map(|group| ListedGroup {
            group: group.name.to_string(),
            group_id: group.group_id,
            state: state_text(group.state),
            generation: group.generation.get(),
            member_count: group.member_count,
            create_time: time_text(group.create_time),
        });
        Self {
            groups: groups.collect(),
        }
    }
}

impl Report for GroupList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("GROUP", Align::Left),
            ("STATE", Align::Left),
            ("GENERATION", Align::Right),
            ("MEMBERS", Align::Right),
            ("CREATED", Align::Left),
        ]);
        for group in &self.groups {
            table.row([
                group.group.clone(),
                group.state.to_owned(),
                count(group.generation),
                group.member_count.to_string(),
                group.create_time.clone(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.groups
            .iter()
            .try_for_each(|group| json_line(out, group))
    }
}
