//! The Rust SDK of Towpath, an event log and broker.
//!
//! A [`Client`] is the entry: it stands for one broker, connects when it has to, and connects again
//! for as long as somebody waits. From it come
//!
//! - a [`Producer`] for each topic that is written: what it acknowledges is on disk, a retry makes
//!   no duplicate, and the records of a key keep their order;
//! - a [`Reader`] for topics that are read: each record once, to the end or onwards for ever;
//! - a [`GroupConsumer`] for topics that several share: the broker remembers how far they are;
//! - a [`Subscriber`] for durable subscriptions: each record is settled by itself, retried, and keeps its
//!   place behind others of its key;
//! - a [`KeyReader`] for the history of one key, on topics that count the records of each;
//! - a [`Commit`] for several of these at once, all or none: records that are written, deliveries that are
//!   settled, offsets that are committed, records that are scheduled;
//! - [`Admin`] for topics, groups, subscriptions, offsets and the broker itself.
//!
//! ```no_run
//! use towpath_client::{Client, Event, Start};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct OrderPlaced {
//!     order: u64,
//!     total: u32,
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), towpath_client::Error> {
//!     let client = Client::connect("http://127.0.0.1:7600")?;
//!     client.admin().ensure_topic("orders").await?;
//!
//!     // On disk when `send` returns.
//!     let orders = client.producer("orders").build();
//!     let placed = OrderPlaced { order: 42, total: 990 };
//!     let position = orders.send(Event::json("order.placed", &placed)?.key("42")).await?;
//!     println!("partition {} offset {}", position.partition, position.offset);
//!
//!     // Many records: `enqueue` waits for room only, receipts tell when each is on disk.
//!     let mut receipts = Vec::new();
//!     for order in 0..10_000 {
//!         let event = Event::json("order.placed", &OrderPlaced { order, total: 1 })?;
//!         receipts.push(orders.enqueue(event.key(order.to_string())).await?);
//!     }
//!     orders.flush().await?;
//!     for receipt in receipts {
//!         receipt.await?;
//!     }
//!
//!     // Everything that is there, then whatever comes.
//!     let mut reader = client.reader(["orders"]).from(Start::Beginning).follow().build();
//!     while let Some(record) = reader.next_record().await? {
//!         let placed: OrderPlaced = record.json()?;
//!         println!("{} order {} total {}", record.address(), placed.order, placed.total);
//!     }
//!     client.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # When something fails
//!
//! Every failure is an [`Error`]. What to do next does not depend on its text:
//! [`Error::kind`] and [`Error::reason`] say what is the matter, [`Error::retry_advice`] whether the
//! same may succeed later, and [`Error::may_have_happened`] whether the broker may have acted
//! although it did not say so. The SDK repeats by itself whatever it can repeat without harm.
//!
//! # What it takes for granted
//!
//! A tokio runtime with time and I/O, for everything that is awaited. Futures may be dropped at any
//! point; each says what that means. Nothing is logged but through `tracing`, and never a key, a
//! value or the value of a header.
#![forbid(unsafe_code)]

mod admin;
mod backoff;
mod client;
mod commit;
pub mod dead_letter;
mod error;
mod event;
mod flow;
mod group;
mod key;
mod outage;
mod perseverance;
mod position;
mod producer;
mod publish;
mod reader;
mod record;
mod schedule;
mod shutdown;
mod subscriber;
#[cfg(test)]
mod testing;
mod time;
mod transport;

pub use admin::{
    Admin, CreatedSubscription, DeadLetter, DeadLetterFilter, DeadLetterJob, DeadLetterKind,
    DeadLetterList, DeadLetterProgress, DeadLetterState, DiscardDeadLetters, FailedAttempt,
    FilterVerdict, Group, GroupDeletion, GroupMember, GroupPartition, GroupSeek, GroupState,
    Limits, LookedUpOffset, LookedUpOffsets, NamedProducer, NewSubscription, NewTopic, Obstacle,
    ObstacleKind, OnDeadLetter, OnFilterError, PendingList, PendingPage, PendingRecord,
    ProducerDeletion, RecordExplanation, RecordHolder, RecordState, RedriveDeadLetters,
    ScheduleList, SchedulePage, ScheduledRecord, ServerInfo, SoughtPartition,
    SoughtSubscriptionPartition, StaleRecords, Subscription, SubscriptionConfig,
    SubscriptionConsumer, SubscriptionDeletion, SubscriptionMode, SubscriptionPartition,
    SubscriptionSeek, SubscriptionUpdate, Topic, TopicCompaction, TopicDeletion, TopicPartition,
    TopicTrim, TopicUpdate, TrimmedPartition, TrimmedTopic,
};
pub use client::{Client, ClientBuilder};
pub use commit::{Commit, CommitError, Committed, PulledRecords};
pub use error::{Error, ErrorKind, SendError};
pub use event::Event;
pub use group::{
    AssignedPartition, Assignment, ByKey, ByPartition, ForEachError, GroupBatch, GroupConsumer,
    GroupConsumerBuilder, GroupItem, GroupOffset, GroupRecord, GroupRecords, GroupShutdownHandle,
    Revoking, StoppedPartition, ToGroupOffsets,
};
pub use key::{
    KeyGap, KeyGapReason, KeyItem, KeyReader, KeyReaderBuilder, KeyRecord, LatestRecord,
};
pub use position::Position;
pub use producer::{Compression, ParseCompressionError, Producer, ProducerBuilder, Receipt};
pub use reader::{
    Batch, BatchRecords, CaughtUp, Gap, GapReason, KeyState, Reader, ReaderBuilder, ReaderItem,
    Source, Start,
};
pub use record::{Header, ReceivedRecord, Record};
pub use schedule::{Due, Schedule, ScheduleCall, Scheduled};
pub use shutdown::{Drain, ShutdownHandle};
pub use subscriber::{
    CaughtUpWatch, DeliveredRecord, Delivery, DeliveryGap, DeliveryOutcome, IntoDeliveryCommit,
    IntoDeliveryOutcome, Parallel, Parallelism, Subscriber, SubscriberBuilder, SubscriberItem,
    SubscriberShutdownHandle, SubscriptionCaughtUp,
};

pub use bytes::Bytes;
pub use towpath_proto::address::{Address, AddressError};
pub use towpath_proto::ids::{Generation, Lsn, Offset, OffsetRange, PartitionId, TopicId};
pub use towpath_proto::names::{GroupName, NameError, ProducerName, SubscriptionName, TopicName};
pub use towpath_proto::reason::{ErrorReason, RetryAdvice, UnknownReason};
