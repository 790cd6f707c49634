//! The other end of a consumer's stream, the wire between, and somebody who handles records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::oneshot;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;
use towpath_proto::v1::settlement::Outcome;
use towpath_proto::wire::receive_response::Response;

use super::*;
use crate::ErrorReason;

const RECORDS: u64 = 40;
const KEYS: [Option<&str>; 4] = [Some("a"), Some("b"), Some("c"), None];

/// A record as the broker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Ready,
    Leased {
        delivery: u64,
        is_begun: bool,
    },
    /// For another attempt.
    Waiting,
    Done,
}

/// A record that is being handled.
struct Handling {
    offset: u64,
    ticket: Ticket,
}

/// Somebody waits to hear what became of an ack.
struct Asked {
    offset: u64,
    delivery: u64,
    answer: oneshot::Receiver<Result<(), Error>>,
}

pub(super) struct World {
    random: fastrand::Rng,
    now: Instant,
    receiving: Receiving,
    // The broker.
    keys: Vec<Option<&'static str>>,
    known: Vec<Known>,
    next_delivery: u64,
    credit: u64,
    /// What was settled by which delivery, and with `true` for good.
    settled: BTreeMap<(u64, u64), bool>,
    // The connection.
    is_connected: bool,
    is_draining: bool,
    to_broker: VecDeque<Request>,
    to_consumer: VecDeque<Response>,
    // Whoever handles records.
    handling: Vec<Handling>,
    handled: BTreeSet<u64>,
    asked: Vec<Asked>,
    waiting: Vec<oneshot::Receiver<Result<(), Error>>>,
}

impl World {
    pub(super) fn new(mut random: fastrand::Rng) -> Self {
        let mut receiving = receiving();
        receiving.go_by_key();
        let keys = (0..RECORDS).map(|_| KEYS[random.usize(0..KEYS.len())]);
        Self {
            keys: keys.collect(),
            random,
            now: Instant::now(),
            receiving,
            known: vec![Known::Ready; usize::try_from(RECORDS).unwrap()],
            next_delivery: 1,
            credit: 0,
            settled: BTreeMap::new(),
            is_connected: false,
            is_draining: false,
            to_broker: VecDeque::new(),
            to_consumer: VecDeque::new(),
            handling: Vec::new(),
            handled: BTreeSet::new(),
            asked: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn step(&mut self) {
        self.now += Duration::from_millis(self.random.u64(0..2_000));
        match self.random.u32(0..40) {
            0 if self.is_connected => self.cut(),
            0..=5 if !self.is_connected => self.connect(),
            1 => self.restart(),
            2 => self.expire(),
            3 => self.drain(),
            4 => self.wait_for_all(),
            5 => self.receiving.pass_time(self.now),
            6..=8 => self.retry(),
            9..=15 => self.deliver(),
            16..=21 => self.arrive_at_consumer(),
            22..=27 => self.arrive_at_broker(),
            28..=32 => self.handle(),
            _ => self.finish(),
        }
        self.pump();
        self.check_answers();
        self.receiving.held.audit();
    }

    /// From now on everything succeeds: all is handled, and all is answered.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..RECORDS * 50 {
            if !self.is_connected || self.is_draining {
                if self.is_connected {
                    self.cut();
                }
                self.connect();
            }
            self.retry();
            self.deliver();
            self.pump();
            while !self.to_broker.is_empty() || !self.to_consumer.is_empty() {
                self.arrive_at_broker();
                self.arrive_at_consumer();
                self.pump();
            }
            self.handle();
            while let Some(handling) = self.handling.pop() {
                self.settle(handling, DeliveryOutcome::Ack);
            }
        }
        self.pump();
        assert!(
            self.known.iter().all(|it| *it == Known::Done),
            "{:?}",
            self.known
        );
        self.check_answers();
        assert_eq!((self.asked.len(), self.waiting.len()), (0, 0), "answers");
        let least = RECORDS_MAX - RECORDS_MAX / 4;
        assert!(
            (least..=RECORDS_MAX).contains(&self.credit),
            "{} records",
            self.credit
        );
    }

    fn connect(&mut self) {
        self.receiving.begin();
        self.is_connected = true;
        self.is_draining = false;
        self.credit = 0;
        self.give_back(|known| {
            matches!(
                known,
                Known::Leased {
                    is_begun: false,
                    ..
                }
            )
        });
        self.pump();
        let open = self.to_broker.pop_front();
        assert!(matches!(open, Some(Request::Open(_))), "{open:?}");
        self.to_consumer.push_back(opened());
    }

    /// What was on the way is lost. What was begun may be, too.
    fn cut(&mut self) {
        self.is_connected = false;
        self.to_broker.clear();
        self.to_consumer.clear();
        self.receiving.disconnect();
        let is_long = self.random.bool();
        self.give_back(|known| match known {
            Known::Leased { is_begun, .. } => is_long || !is_begun,
            _ => false,
        });
    }

    fn restart(&mut self) {
        if self.is_connected {
            self.cut();
        }
        self.give_back(|known| matches!(known, Known::Leased { .. }));
    }

    fn give_back(&mut self, which: impl Fn(&Known) -> bool) {
        for known in self.known.iter_mut().filter(|it| which(it)) {
            *known = Known::Ready;
        }
    }

    fn drain(&mut self) {
        if self.is_connected && !self.is_draining {
            self.is_draining = true;
            let draining = v1::Draining::default();
            self.to_consumer.push_back(Response::Draining(draining));
        }
    }

    fn retry(&mut self) {
        let mut waiting = self.known.iter_mut().filter(|it| **it == Known::Waiting);
        if let Some(known) = waiting.next() {
            *known = Known::Ready;
        }
    }

    fn expire(&mut self) {
        let offset = self.random.u64(0..RECORDS);
        if matches!(self.known(offset), Known::Leased { .. }) {
            self.take_from_consumer(offset, Known::Ready);
            self.tell_lost(offset);
        }
    }

    fn known(&mut self, offset: u64) -> &mut Known {
        &mut self.known[usize::try_from(offset).unwrap()]
    }

    fn key(&self, offset: u64) -> Option<&'static str> {
        self.keys[usize::try_from(offset).unwrap()]
    }

    fn tell_lost(&mut self, offset: u64) {
        if self.is_connected {
            let ranges = vec![v1::OffsetRange {
                start: offset,
                end: offset + 1,
            }];
            let lost = v1::DeliveryLost {
                partition: 0,
                is_dead_letter: false,
                ranges,
            };
            self.to_consumer.push_back(Response::Lost(lost));
        }
    }

    /// The consumer has a record no more, nor any later one of its key.
    fn take_from_consumer(&mut self, offset: u64, becomes: Known) {
        *self.known(offset) = becomes;
        let key = self.key(offset);
        for behind in offset + 1..RECORDS {
            let is_leased = matches!(self.known(behind), Known::Leased { .. });
            if key.is_some() && self.key(behind) == key && is_leased {
                *self.known(behind) = Known::Ready;
                self.tell_lost(behind);
            }
        }
    }

    /// Sends some records that are ready and have nothing of their key before them that is not on its
    /// way too.
    fn deliver(&mut self) {
        if !self.is_connected || self.is_draining {
            return;
        }
        let delivery = self.next_delivery;
        let mut blocked = BTreeSet::new();
        let mut records = Vec::new();
        let most = self.random.usize(1..6);
        for offset in 0..RECORDS {
            let key = self.key(offset);
            let is_free = key.is_none_or(|key| !blocked.contains(key));
            let known = *self.known(offset);
            match known {
                Known::Ready if is_free && records.len() < most && self.credit > 0 => {
                    self.credit -= 1;
                    records.push((offset, key));
                    *self.known(offset) = Known::Leased {
                        delivery,
                        is_begun: false,
                    };
                }
                Known::Ready | Known::Waiting => blocked.extend(key),
                Known::Leased { .. } | Known::Done => {}
            }
        }
        if !records.is_empty() {
            self.next_delivery += 1;
            self.to_consumer.push_back(delivered(delivery, 0, &records));
        }
    }

    fn arrive_at_consumer(&mut self) {
        if let Some(response) = self.to_consumer.pop_front() {
            let heard = self.receiving.hear(Some(response), self.now);
            assert!(matches!(heard, Heard::GoOn | Heard::Opened(_)), "{heard:?}");
        }
    }

    fn pump(&mut self) {
        while self.is_connected
            && let Some(request) = self.receiving.take_request()
        {
            self.to_broker.push_back(request.request.unwrap());
        }
    }

    fn arrive_at_broker(&mut self) {
        match self.to_broker.pop_front() {
            Some(Request::Credit(credit)) => self.credit += credit.records,
            Some(Request::Settle(settle)) => {
                let results = settle.settlements.iter().map(|it| self.take_settlement(it));
                let results = results.collect();
                self.to_consumer
                    .push_back(Response::Settled(v1::Settled { results }));
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }

    fn take_settlement(&mut self, settlement: &v1::Settlement) -> v1::SettleResult {
        let ranges = settlement.ranges.iter();
        let offsets: Vec<_> = ranges.flat_map(|it| it.start..it.end).collect();
        let outcome = settlement.outcome.as_ref().unwrap();
        let mut expired = Vec::new();
        for offset in offsets {
            let place = (settlement.delivery, offset);
            let known = *self.known(offset);
            match known {
                Known::Leased { delivery, .. } if delivery == settlement.delivery => {
                    self.take_outcome(place, outcome);
                }
                _ if self.settled.contains_key(&place) => {}
                _ => expired.push(v1::OffsetRange {
                    start: offset,
                    end: offset + 1,
                }),
            }
        }
        v1::SettleResult { expired }
    }

    fn take_outcome(&mut self, (delivery, offset): (u64, u64), outcome: &Outcome) {
        match outcome {
            Outcome::Start(_) => {
                *self.known(offset) = Known::Leased {
                    delivery,
                    is_begun: true,
                };
                return;
            }
            Outcome::Extend(_) => return,
            Outcome::Ack(_) => *self.known(offset) = Known::Done,
            Outcome::Release(_) => self.take_from_consumer(offset, Known::Ready),
            Outcome::Nack(_) | Outcome::DeadLetter(_) => {
                self.take_from_consumer(offset, Known::Waiting);
            }
        }
        let is_done = *self.known(offset) == Known::Done;
        self.settled.insert((delivery, offset), is_done);
    }

    /// Begins with what may be begun with, as far as there is room.
    fn handle(&mut self) {
        while self.handling.len() < 4 {
            match self.receiving.take(self.now) {
                Taken::Record(record, ticket) => self.begin(record.offset().get(), ticket),
                Taken::Nothing => return,
                other => panic!("{other:?}"),
            }
        }
    }

    fn begin(&mut self, offset: u64, ticket: Ticket) {
        if let Some(key) = self.key(offset) {
            let mut before = (0..offset).filter(|it| self.key(*it) == Some(key));
            assert!(
                before.all(|it| self.handled.contains(&it)),
                "{offset} overtakes one of its key: {:?}",
                self.handled
            );
            let mut running = self.handling.iter();
            assert!(
                running.all(|it| self.key(it.offset) != Some(key)),
                "two of one key"
            );
        }
        self.handling.push(Handling { offset, ticket });
    }

    fn finish(&mut self) {
        if self.handling.is_empty() {
            return;
        }
        let index = self.random.usize(0..self.handling.len());
        let handling = self.handling.swap_remove(index);
        let outcome = match self.random.u32(0..10) {
            0 => DeliveryOutcome::nack("failed"),
            1 => DeliveryOutcome::Release,
            2 => DeliveryOutcome::dead_letter("poison"),
            _ => DeliveryOutcome::Ack,
        };
        self.settle(handling, outcome);
    }

    fn settle(&mut self, handling: Handling, outcome: DeliveryOutcome) {
        let Handling { offset, ticket } = handling;
        let is_ack = outcome == DeliveryOutcome::Ack;
        let delivery = ticket.delivery.get();
        if is_ack {
            self.handled.insert(offset);
        }
        let (sender, answer) = oneshot::channel();
        self.receiving
            .settle(ticket, outcome, Some(sender).filter(|_| is_ack));
        if is_ack {
            self.asked.push(Asked {
                offset,
                delivery,
                answer,
            });
        }
    }

    fn wait_for_all(&mut self) {
        let (sender, answer) = oneshot::channel();
        self.receiving.wait_for_confirmations(sender);
        self.waiting.push(answer);
    }

    fn check_answers(&mut self) {
        let mut open = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            let is_done = self.settled.get(&(asked.delivery, asked.offset)).copied();
            match asked.answer.try_recv() {
                Ok(Ok(())) => assert_eq!(is_done, Some(true), "acked"),
                Ok(Err(error)) => {
                    assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
                    assert_eq!(is_done, None, "expired");
                }
                Err(_) => open.push(asked),
            }
        }
        self.asked = open;
        self.waiting.retain_mut(|it| it.try_recv().is_err());
    }
}
