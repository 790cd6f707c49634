//! Subscriptions against schedules: consumers come, go, handle, fail and die, the broker restarts, and
//! what each of them sees is compared with what a subscription promises.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "numbers of tests are small"
)]

use std::collections::{BTreeMap, BTreeSet};

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{Offset, OffsetRange, PartitionRef, Row, RowKey, StateMachine, TopicId};

use super::connect::RECONNECT_GRACE_MS;
use super::waiting::Handling;
use super::*;
use crate::core::group::SessionId;
use crate::core::partition::Partition;
use crate::core::{CoreLimits, CreateTopic, State, TopicConfig};

mod bench;
mod caught_up;
mod commit;
mod consumers;
mod dead_letters;
mod filters;
mod foreign_letters;
mod hold;
mod letters;
mod pending;
mod repeats;
mod rules;
mod schedule;
mod seek;
mod suspects;
mod unreadable;
mod window;

use bench::{Bench, Held, Place};
use repeats::Sayings;

const ACK_DEADLINE_MS: u64 = 30_000;
/// Longer windows are not looked at after each step.
const AUDITED_RECORDS_MAX: u64 = 4_000;

fn consumer_id(number: u8) -> ConsumerId {
    ConsumerId::new([number; 16])
}

fn dead() -> DeliveryOutcome {
    DeliveryOutcome::DeadLetter {
        reason: "never".to_owned(),
    }
}

fn config(mode: Mode) -> SubscriptionConfig {
    SubscriptionConfig {
        mode,
        on_dead_letter: OnDeadLetter::Park,
        retry: RetryPolicy::default(),
        ack_deadline_ms: ACK_DEADLINE_MS,
        filter: None,
        on_filter_error: OnFilterError::Deliver,
    }
}
