//! Consumers of durable subscriptions: what each has, and what it was told and has not heard yet.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::oneshot::Receiver;
use towpath_broker::core::{
    AppendRefusal, ConsumerId, CreateSubscriptionRefusal, DeadLetter, SeekSubscriptionRefusal,
    SessionId, SoughtSubscriptionPartition, SubscriptionEvent, SubscriptionId,
};
use towpath_broker::runtime::command::{CommandError, Published};
use towpath_broker::runtime::subscription_command::{
    ConnectError, Connected, CreatedSubscription, SubscriptionSink,
};
use towpath_proto::names::SubscriptionName;
use towpath_storage::{Lsn, Offset, OffsetRange};

use crate::history::{Item, LetterState, Place};

/// How many consumers there may be.
const CONSUMERS: usize = 5;
/// The subscriptions that they belong to.
pub(super) const SUBSCRIPTIONS: [&str; 2] = ["billing", "shipping"];
/// How many claims are kept to be tried when they are out of date.
const CLAIMS_MAX: usize = 24;

/// Something that the broker said to a connection.
#[derive(Debug)]
pub(super) enum Told {
    /// About records.
    Event {
        consumer: usize,
        /// Its number in the history.
        number: u64,
        session: SessionId,
        event: SubscriptionEvent,
    },
    /// What of settlements had expired: for each the records that were named, by the numbers of what was
    /// said.
    Answer {
        said: Vec<Vec<(u64, u64)>>,
        subscription: SubscriptionId,
        expired: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>,
    },
}

/// What the broker has said to all consumers.
pub(super) type DeliveryMailbox = Mutex<Vec<Told>>;

/// A connection of a consumer.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) consumer: usize,
    pub(super) number: u64,
    pub(super) session: SessionId,
    pub(super) mailbox: Arc<DeliveryMailbox>,
}

/// Where a settlement is answered.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) subscription: SubscriptionId,
    /// For each settlement the numbers of what was said, and the offsets of which it was.
    pub(super) said: Vec<Vec<(u64, u64)>>,
    pub(super) mailbox: Arc<DeliveryMailbox>,
}

impl SubscriptionSink for Listener {
    fn tell(&self, event: SubscriptionEvent, _lsn: Lsn) {
        self.mailbox.lock().unwrap().push(Told::Event {
            consumer: self.consumer,
            number: self.number,
            session: self.session,
            event,
        });
    }

    fn answer(&self, _: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>) {
        panic!("nothing was said over this one");
    }
}

impl SubscriptionSink for Desk {
    fn tell(&self, event: SubscriptionEvent, _lsn: Lsn) {
        panic!("nobody listens here to {event:?}");
    }

    fn answer(&self, expired: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>) {
        self.mailbox.lock().unwrap().push(Told::Answer {
            said: self.said.clone(),
            subscription: self.subscription,
            expired,
        });
    }
}

/// A connection, as its consumer knows it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// None until the broker has answered.
    pub(super) subscription: Option<SubscriptionId>,
    pub(super) answer: Option<Receiver<Result<Connected, CommandError<ConnectError>>>>,
    /// Told and not heard, with a broker time that was before.
    pub(super) told: VecDeque<(i64, SubscriptionEvent)>,
}

/// A record that a consumer has, as far as it knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    pub(super) delivery: u64,
    pub(super) has_begun: bool,
    pub(super) key: Option<u64>,
    /// Broker time at which it was delivered, or something was said of it last, at the earliest.
    pub(super) touched_ms: i64,
}

/// Number of a lane, and an offset there.
pub(super) type Spot = (u32, u64);

/// One process after the other that handles records of a subscription.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: SubscriptionName,
    /// Of its present identity.
    pub(super) number: u64,
    pub(super) reports_start: bool,
    pub(super) session: Option<Session>,
    pub(super) held: BTreeMap<Spot, Holding>,
    /// It hears and handles nothing, but its connection is there.
    pub(super) is_stalled: bool,
}

impl Consumer {
    pub(super) fn new(name: SubscriptionName, number: u64, reports_start: bool) -> Self {
        Self {
            name,
            number,
            reports_start,
            session: None,
            held: BTreeMap::new(),
            is_stalled: false,
        }
    }

    pub(super) fn id(&self) -> ConsumerId {
        let mut bytes = [3; 16];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        ConsumerId::new(bytes)
    }

    /// Its connection and its subscription, once that has taken it in.
    pub(super) fn seat(&self) -> Option<(SessionId, SubscriptionId)> {
        let session = self.session.as_ref()?;
        Some((session.id, session.subscription?))
    }
}

/// What was said once of a record, to be said again when it is out of date.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) subscription: SubscriptionId,
    pub(super) consumer: u64,
    pub(super) spot: Spot,
    pub(super) delivery: u64,
}

/// What is known of a subscription.
#[derive(Debug)]
pub(super) struct KnownSubscription {
    pub(super) name: SubscriptionName,
    pub(super) topic: u64,
    pub(super) dead_letter_topic: u64,
    pub(super) partition_count: u32,
    pub(super) is_ordered: bool,
    pub(super) parks: bool,
    /// The shortest deadline that it ever had.
    pub(super) ack_deadline_ms: u64,
    pub(super) letters: BTreeMap<Spot, Letter>,
    /// Somebody has asked for its deletion.
    pub(super) is_doomed: bool,
}

/// A dead letter that was read.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) source: u64,
    pub(super) key: Option<Bytes>,
    pub(super) bytes: u32,
    pub(super) append_time_ms: i64,
    pub(super) state: LetterState,
}

/// What is done with dead letters, step by step.
#[derive(Debug)]
pub(super) struct LetterJob {
    pub(super) subscription: SubscriptionId,
    pub(super) partition: u32,
    pub(super) letters: VecDeque<DeadLetter>,
    pub(super) is_redrive: bool,
}

/// A command about a subscription that was not answered.
#[derive(Debug)]
pub(super) enum PendingSubscriptionControl {
    Create {
        answer: Receiver<Result<CreatedSubscription, CommandError<CreateSubscriptionRefusal>>>,
    },
    Seek {
        subscription: SubscriptionId,
        positions: Vec<(u32, Offset)>,
        answer: Receiver<
            Result<Vec<SoughtSubscriptionPartition>, CommandError<SeekSubscriptionRefusal>>,
        >,
    },
    Republish {
        subscription: SubscriptionId,
        partition: u32,
        letters: Vec<u64>,
        item: Item,
        value: u64,
        answer: Receiver<Result<Published, CommandError<AppendRefusal>>>,
    },
}

/// All consumers, and what is known of their subscriptions.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Empty if the run has no subscriptions.
    pub(super) consumers: Vec<Consumer>,
    pub(super) mailbox: Arc<DeliveryMailbox>,
    pub(super) controls: Vec<PendingSubscriptionControl>,
    pub(super) claims: VecDeque<Claim>,
    /// The subscription of each connection that was ever let in.
    pub(super) sessions: BTreeMap<u64, SubscriptionId>,
    pub(super) known: BTreeMap<SubscriptionId, KnownSubscription>,
    pub(super) jobs: Vec<LetterJob>,
    /// Keys of all records that were read, by place and offset.
    pub(super) keys: BTreeMap<Place, BTreeMap<u64, Option<u64>>>,
    /// Where reading goes on.
    pub(super) read_to: BTreeMap<Place, u64>,
    /// The durable entry at which everything was looked at last.
    pub(super) looked_at: Option<u64>,
    /// Whether where dead letters stand was not looked at since.
    pub(super) is_news: bool,
    /// Broker time when the broker was listened to last.
    pub(super) heard_ms: i64,
    /// How many keys there are.
    pub(super) key_count: u64,
    last_number: u64,
}

impl Crowd {
    pub(super) fn draw(random: &mut Rng) -> Self {
        let mut crowd = Self {
            key_count: [1, 4, 60][random.usize(..3)],
            ..Self::default()
        };
        let subscription_count = random.usize(1..=SUBSCRIPTIONS.len());
        for place in 0..random.usize(1..=CONSUMERS) {
            let number = crowd.next_number();
            let name = SUBSCRIPTIONS[place % subscription_count].parse().unwrap();
            let reports_start = random.u8(..4) != 0;
            crowd
                .consumers
                .push(Consumer::new(name, number, reports_start));
        }
        crowd
    }

    /// A number that nobody else has.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        1_000_000 + self.last_number
    }

    pub(super) fn is_absent(&self) -> bool {
        self.key_count == 0
    }

    pub(super) fn keep(&mut self, claim: Claim) {
        self.claims.push_back(claim);
        if self.claims.len() > CLAIMS_MAX {
            self.claims.pop_front();
        }
    }
}
