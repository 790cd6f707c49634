//! The broker as a client of any language meets it: over a real connection on 127.0.0.1, with the raw
//! messages of the contract. One file for each capability.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod abandoned;
mod admin;
mod commit;
mod compaction;
mod compression;
mod connector;
mod consumer;
mod dead_letter;
mod drain;
mod exact;
mod fetch;
mod fetch_damage;
mod fetch_start;
mod gated_disk;
mod group;
mod group_damage;
mod group_member;
mod group_rejoin;
mod harness;
mod http2;
mod letters_topic;
mod limits;
mod malformed;
mod metrics;
mod named_producer;
mod panic;
mod produce;
mod publish;
mod raw;
mod reflection;
mod restart;
mod retention;
mod schedule;
mod scrape;
mod start;
mod storage_full;
mod subscription;
mod subscription_dead;
mod subscription_delete;
mod subscription_hold;
mod topic_change;
mod topics;
mod trim;
mod trim_readers;
mod unread;
mod unreadable;
mod visibility;
