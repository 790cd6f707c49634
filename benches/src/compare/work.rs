//! What is measured: the same of every system.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::size::format_bytes;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// One producer writes to one partition, many records in flight.
    Produce,
    /// One consumer reads one partition from its start.
    Consume,
    /// One producer, one record in flight.
    Latency,
    /// 64 producers, one record in flight each.
    Clients,
    /// Consumers of a durable subscription ack each record by itself.
    Subscription,
    /// Members of a consumer group read eight partitions.
    Group,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Latency => "one at a time",
            Self::Clients => "clients",
            Self::Subscription => "subscription",
            Self::Group => "group",
        })
    }
}

/// One measurement: equal jobs are rounds of the same one, whoever does them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What is done.
    pub work: Work,
    /// Bytes of the value of each record, which do not compress.
    pub size_bytes: usize,
    /// Clients, each with connections of its own.
    pub clients: u32,
    /// Keys of the records whose order is kept among the consumers of a subscription; none where
    /// anyone may get any record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u32>,
}

impl Job {
    /// One client, no keys.
    pub(crate) fn new(work: Work, size_bytes: usize) -> Self {
        Self {
            work,
            size_bytes,
            clients: 1,
            keys: None,
        }
    }

    /// Partitions of the topic.
    pub(crate) fn partitions(&self) -> u32 {
        match self.work {
            Work::Group => GROUP_PARTITIONS,
            _ => 1,
        }
    }

    /// Whether single records are timed, and the time of one is what counts.
    pub(crate) fn is_of_time(&self) -> bool {
        self.work == Work::Latency
    }

    /// Whether so much is moved that bytes count.
    pub(crate) fn is_bulk(&self) -> bool {
        matches!(self.work, Work::Produce | Work::Consume | Work::Group)
    }

    /// Whether records are read that were written before.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.work, Work::Consume | Work::Subscription | Work::Group)
    }
}

/// Partitions that a group shares.
const GROUP_PARTITIONS: u32 = 8;

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = format_bytes(self.size_bytes);
        match self.work {
            Work::Produce => write!(f, "produce {size}"),
            Work::Consume => write!(f, "consume {size}"),
            Work::Latency => write!(f, "one at a time {size}"),
            Work::Clients => write!(f, "{} clients, one at a time each, {size}", self.clients),
            Work::Subscription => {
                write!(f, "subscription {size}, acked one by one, ")?;
                match self.keys {
                    Some(keys) => write!(f, "order of {keys} keys kept")?,
                    None => write!(f, "any order")?,
                }
                write!(f, ", clients {}", self.clients)
            }
            Work::Group => write!(f, "group {size}, members {}", self.clients),
        }
    }
}

/// When a record counts as written. What is weaker than `fsync` is lost with the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// In the memory of the server's process.
    Memory,
    /// In the operating system's memory.
    PageCache,
    /// In the operating system's memory, and synced once a second.
    EverySecond,
    /// In the memory of the server's process, saved and synced with every 1024th record or MiB.
    #[serde(rename = "every-1024")]
    Every1024,
    /// On the disk.
    Fsync,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::PageCache => "page cache",
            Self::EverySecond => "every second",
            Self::Every1024 => "every 1024",
            Self::Fsync => "fsync",
        })
    }
}
