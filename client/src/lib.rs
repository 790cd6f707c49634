//! The Rust SDK of Towpath.
#![forbid(unsafe_code)]

mod admin;
mod backoff;
mod client;
mod error;
mod event;
mod outage;
mod position;
mod producer;
mod publish;
mod reader;
mod record;
mod shutdown;
#[cfg(test)]
mod testing;
mod time;
mod transport;

pub use admin::{
    Admin, Limits, LookedUpOffset, LookedUpOffsets, NewTopic, ServerInfo, Topic, TopicDeletion,
    TopicPartition,
};
pub use client::{Client, ClientBuilder};
pub use error::{Error, ErrorKind, SendError};
pub use event::Event;
pub use position::Position;
pub use producer::{Producer, ProducerBuilder, Receipt};
pub use reader::{
    Batch, BatchRecords, CaughtUp, Gap, GapReason, Reader, ReaderBuilder, ReaderItem, Source, Start,
};
pub use record::{Header, ReceivedRecord, Record};
pub use shutdown::ShutdownHandle;

pub use bytes::Bytes;
pub use towpath_proto::address::Address;
pub use towpath_proto::ids::{Lsn, Offset, OffsetRange, PartitionId, TopicId};
pub use towpath_proto::names::{NameError, TopicName};
pub use towpath_proto::reason::{ErrorReason, RetryAdvice};
