//! What a subscription of the fake broker remembers: of each record who has it, or what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::settlement::Outcome;

/// Partition and offset.
pub(super) type Place = (u32, u64);

/// What the broker does with settlements instead of what it should.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnSettle {
    /// As it should be.
    Answer,
    /// Carry them out and cut the connection before the answer.
    SettleAndCut,
    /// Cut the connection before anything is done.
    Cut,
}

#[derive(Debug)]
pub(crate) struct FakeSubscription {
    pub(crate) shown: v1::Subscription,
    start: Option<v1::Position>,
    pub(super) records: BTreeMap<Place, Record>,
    next_delivery: u64,
    /// Who is to be told that he has records no more.
    pub(super) lost: Vec<(Vec<u8>, Place)>,
    /// Settlements that took effect, such as `ack 0/3` and `nack 0/3 reason`, in their order.
    pub(crate) settled: Vec<String>,
    /// Ids of the consumers, one for each stream.
    pub(crate) opened: Vec<Vec<u8>>,
    /// What the consumers call themselves, one for each stream.
    pub(crate) client_names: Vec<String>,
    pub(crate) left_count: u32,
    pub(crate) heartbeat_count: u32,
    /// Settlements by their kind, also those without effect.
    pub(crate) said: BTreeMap<&'static str, u32>,
    /// For the next requests that settle something.
    pub(crate) on_settle: VecDeque<OnSettle>,
    /// To be told to the next consumer that has got all that is ready for it.
    pub(crate) caught_up: VecDeque<v1::SubscriptionCaughtUp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Option<Vec<u8>>,
    pub(super) failed_attempts: u32,
    pub(super) state: RecordState,
    /// Deliveries that have settled it.
    settled_by: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RecordState {
    Ready,
    Leased(Lease),
    Waiting(Instant),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    consumer: Vec<u8>,
    delivery: u64,
    is_begun: bool,
    until: Instant,
}

pub(super) fn with_defaults(config: v1::SubscriptionConfig) -> v1::SubscriptionConfig {
    let mode = match config.mode() {
        v1::SubscriptionMode::Unspecified => v1::SubscriptionMode::KeyShared,
        mode => mode,
    };
    v1::SubscriptionConfig {
        mode: mode.into(),
        on_dead_letter: v1::OnDeadLetter::Park.into(),
        ack_deadline_ms: config.ack_deadline_ms.or(Some(30_000)),
        backoff_min_ms: config.backoff_min_ms.or(Some(1_000)),
        backoff_max_ms: config.backoff_max_ms.or(Some(300_000)),
        attempts_max: config.attempts_max.or(Some(20)),
        age_max_ms: config.age_max_ms,
        on_filter_error: match config.on_filter_error() {
            v1::OnFilterError::Unspecified => v1::OnFilterError::Deliver.into(),
            on_filter_error => on_filter_error.into(),
        },
        filter: config.filter,
    }
}

impl FakeSubscription {
    pub(super) fn new(shown: v1::Subscription, start: Option<v1::Position>) -> Self {
        Self {
            shown,
            start,
            records: BTreeMap::new(),
            next_delivery: 1,
            lost: Vec::new(),
            settled: Vec::new(),
            opened: Vec::new(),
            client_names: Vec::new(),
            left_count: 0,
            heartbeat_count: 0,
            said: BTreeMap::new(),
            on_settle: VecDeque::new(),
            caught_up: VecDeque::new(),
        }
    }

    pub(super) fn mode(&self) -> v1::SubscriptionMode {
        self.shown.config.clone().unwrap_or_default().mode()
    }

    pub(super) fn ack_deadline(&self) -> Duration {
        let config = self.shown.config.clone().unwrap_or_default();
        Duration::from_millis(config.ack_deadline_ms())
    }

    pub(super) fn add(&mut self, place: Place, key: Option<Vec<u8>>) {
        let is_before = matches!(
            self.start.and_then(|it| it.position),
            Some(Position::Offset(offset)) if place.1 < offset
        );
        self.records.entry(place).or_insert(Record {
            key,
            failed_attempts: 0,
            state: if is_before {
                RecordState::Done
            } else {
                RecordState::Ready
            },
            settled_by: Vec::new(),
        });
    }

    pub(super) fn next_delivery(&mut self) -> u64 {
        self.next_delivery += 1;
        self.next_delivery
    }

    pub(super) fn lease(&mut self, place: Place, consumer: &[u8], delivery: u64) {
        let until = Instant::now() + self.ack_deadline();
        let lease = Lease {
            consumer: consumer.to_vec(),
            delivery,
            is_begun: false,
            until,
        };
        self.records.get_mut(&place).unwrap().state = RecordState::Leased(lease);
    }

    /// Everything that is acked, or to be, as far as the broker knows.
    pub(crate) fn is_done(&self) -> bool {
        let mut records = self.records.values();
        !self.records.is_empty() && records.all(|it| it.state == RecordState::Done)
    }

    /// Number of records that consumers have.
    pub(crate) fn leased_count(&self) -> usize {
        let leased = |it: &&Record| matches!(it.state, RecordState::Leased(_));
        self.records.values().filter(leased).count()
    }

    /// Number of records that consumers have begun with.
    pub(crate) fn begun_count(&self) -> usize {
        let begun = |it: &&Record| matches!(&it.state, RecordState::Leased(it) if it.is_begun);
        self.records.values().filter(begun).count()
    }

    /// What a consumer has comes back, as if the broker was started again.
    pub(crate) fn forget_leases(&mut self) {
        self.give_back(|_| true);
    }

    /// What a consumer was not handling comes back.
    pub(super) fn disconnect(&mut self, consumer: &[u8]) {
        self.give_back(|lease| lease.consumer == consumer && !lease.is_begun);
    }

    /// What a consumer has comes back.
    pub(super) fn leave(&mut self, consumer: &[u8]) {
        self.give_back(|lease| lease.consumer == consumer);
    }

    fn give_back(&mut self, which: impl Fn(&Lease) -> bool) {
        for record in self.records.values_mut() {
            if matches!(&record.state, RecordState::Leased(lease) if which(lease)) {
                record.state = RecordState::Ready;
            }
        }
    }

    /// Does what time alone does.
    pub(super) fn pass_time(&mut self, now: Instant) {
        let mut expired = Vec::new();
        for (place, record) in &mut self.records {
            match &record.state {
                RecordState::Waiting(until) if *until <= now => record.state = RecordState::Ready,
                RecordState::Leased(lease) if lease.until <= now => {
                    expired.push((*place, lease.consumer.clone()));
                }
                _ => {}
            }
        }
        for (place, consumer) in expired {
            self.lost.push((consumer, place));
            self.take_back(place, RecordState::Ready);
        }
    }

    /// When time alone does something next.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let times = self.records.values().filter_map(|it| match &it.state {
            RecordState::Waiting(until) => Some(*until),
            RecordState::Leased(lease) => Some(lease.until),
            RecordState::Ready | RecordState::Done => None,
        });
        times.min()
    }

    /// A consumer has a record no more, nor in ordered modes any later one of its key.
    fn take_back(&mut self, place: Place, becomes: RecordState) {
        let is_ordered = self.mode() != v1::SubscriptionMode::Shared;
        let record = self.records.get_mut(&place).unwrap();
        record.state = becomes;
        let key = record.key.clone().filter(|_| is_ordered);
        let behind = self
            .records
            .range_mut((place.0, place.1 + 1)..=(place.0, u64::MAX));
        for (behind, record) in behind.filter(|(_, it)| key.is_some() && it.key == key) {
            if let RecordState::Leased(lease) = &record.state {
                self.lost.push((lease.consumer.clone(), *behind));
                record.state = RecordState::Ready;
            }
        }
    }

    /// Settles records, and returns those of which the delivery has expired.
    pub(crate) fn settle(&mut self, settlement: &v1::Settlement) -> v1::SettleResult {
        let outcome = settlement.outcome.as_ref().unwrap();
        *self.said.entry(name_of(outcome)).or_default() += 1;
        let mut expired = Vec::new();
        for offset in settlement.ranges.iter().flat_map(|it| it.start..it.end) {
            let place = (settlement.partition, offset);
            if !self.settle_one(place, settlement.delivery, outcome) {
                let end = offset + 1;
                expired.push(v1::OffsetRange { start: offset, end });
            }
        }
        v1::SettleResult { expired }
    }

    /// Number of the delivery that has a record.
    pub(crate) fn delivery_of(&self, place: Place) -> u64 {
        match &self.records[&place].state {
            RecordState::Leased(lease) => lease.delivery,
            other => panic!("{other:?}"),
        }
    }

    /// The first record of a settlement that its delivery does not have.
    pub(crate) fn first_expired(&self, settlement: &v1::Settlement) -> Option<u64> {
        let mut offsets = settlement.ranges.iter().flat_map(|it| it.start..it.end);
        offsets.find(|offset| {
            let record = self.records.get(&(settlement.partition, *offset));
            !record.is_some_and(|it| {
                matches!(&it.state, RecordState::Leased(lease) if lease.delivery == settlement.delivery)
            })
        })
    }

    fn settle_one(&mut self, place: Place, delivery: u64, outcome: &Outcome) -> bool {
        let until = Instant::now() + self.ack_deadline();
        let Some(record) = self.records.get_mut(&place) else {
            return false;
        };
        let lease = match &mut record.state {
            RecordState::Leased(lease) if lease.delivery == delivery => lease,
            _ => return record.settled_by.contains(&delivery),
        };
        match outcome {
            Outcome::Start(_) | Outcome::Extend(_) => {
                lease.is_begun |= matches!(outcome, Outcome::Start(_));
                lease.until = until;
                return true;
            }
            _ => record.settled_by.push(delivery),
        }
        let reason = match outcome {
            Outcome::Nack(nack) => {
                record.failed_attempts += 1;
                format!(" {}", nack.reason)
            }
            Outcome::DeadLetter(dead) => format!(" {}", dead.reason),
            _ => String::new(),
        };
        let becomes = match outcome {
            Outcome::Nack(nack) => {
                let wait = Duration::from_millis(nack.delay_ms.unwrap_or(1_000));
                RecordState::Waiting(Instant::now() + wait)
            }
            Outcome::Release(_) => RecordState::Ready,
            _ => RecordState::Done,
        };
        match outcome {
            Outcome::Ack(_) => record.state = becomes,
            _ => self.take_back(place, becomes),
        }
        let text = format!("{} {}/{}{reason}", name_of(outcome), place.0, place.1);
        self.settled.push(text);
        true
    }
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ack(_) => "ack",
        Outcome::Nack(_) => "nack",
        Outcome::Release(_) => "release",
        Outcome::DeadLetter(_) => "dead-letter",
        Outcome::Start(_) => "start",
        Outcome::Extend(_) => "extend",
    }
}
