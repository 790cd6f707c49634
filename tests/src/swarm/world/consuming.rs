//! Consumers of subscriptions come and go, and the broker tells them what they have.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot::{self, error::TryRecvError};
use towpath_broker::core::{
    Connect, ConsumerDeparture, Credit, SessionId, SubscriptionEvent as Said, SubscriptionId,
};
use towpath_broker::runtime::command::ControlCommand;
use towpath_broker::runtime::subscription_command::SubscriptionCommand;
use towpath_storage::OffsetRange;

use super::World;
use crate::history::{DeliveryEvent, Place, Unit};
use crate::swarm::consumers::{Consumer, Holding, Listener, Session, Spot, Told};

/// How long what a consumer was handling is kept for it when it was cut off.
const RECONNECT_GRACE_MS: i64 = 2_000;

impl World {
    /// Something that a consumer does, or that is done to its subscription.
    pub(super) fn act_in_subscription(&mut self) {
        let consumer = self.random.usize(..self.crowd.consumers.len());
        match self.random.u32(..1000) {
            0..60 => self.connect(consumer),
            60..68 => self.disconnect(consumer, ConsumerDeparture::Left),
            68..84 => self.disconnect(consumer, ConsumerDeparture::CutOff),
            84..88 => self.disconnect(consumer, ConsumerDeparture::Detached),
            88..100 => self.kill_consumer(consumer),
            100..115 => self.crowd.consumers[consumer].is_stalled ^= true,
            115..300 => self.hear_delivery(consumer, false),
            300..340 => self.allow_more(consumer),
            340..480 => self.begin_handling(consumer),
            480..640 => self.settle(consumer),
            640..665 => self.extend(consumer),
            665..680 => self.settle_late(),
            680..690 => self.stop_consumer(consumer),
            690..850 => self.drive(|engine| {
                engine.step_inspect();
                Ok(())
            }),
            850..890 => self.move_letters(),
            890..900 => self.republish(),
            900..905 => self.create_subscription(),
            905..915 => self.pause_subscription(),
            915..921 => self.seek_subscription(),
            921..926 => self.update_subscription(),
            926..927 => self.delete_subscription(),
            927..960 => self.pass_a_moment(),
            _ => self.drive(|engine| engine.sequencer.idle()),
        }
    }

    pub(super) fn push_subscription(&mut self, command: SubscriptionCommand) {
        if let Some(engine) = &self.engine {
            let command = ControlCommand::Subscription(command);
            let pushed = engine.shared.commands.push_control(command);
            pushed.expect("the broker is running");
        }
    }

    /// Connects, also in place of an older connection.
    fn connect(&mut self, consumer: usize) {
        let is_there = self.crowd.consumers[consumer].session.is_some();
        if !is_there || self.random.u8(..8) == 0 {
            let credit = Credit {
                records: self.random.u64(..60),
                bytes: self.random.i64(0..100_000),
            };
            let refuses_to_wait = !is_there && self.random.u8(..8) == 0;
            self.connect_with(consumer, credit, refuses_to_wait);
        }
    }

    pub(super) fn connect_with(&mut self, consumer: usize, credit: Credit, refuses_to_wait: bool) {
        let session = self.crowd.consumers[consumer].session.as_ref();
        if session.is_some_and(|it| it.subscription.is_none()) || self.engine.is_none() {
            return;
        }
        self.hear_delivery(consumer, true);
        let id = SessionId(self.crowd.next_number());
        let (sender, answer) = oneshot::channel();
        let known = &mut self.crowd.consumers[consumer];
        known.held.retain(|_, holding| holding.has_begun);
        known.is_stalled = false;
        known.session = Some(Session {
            id,
            subscription: None,
            answer: Some(answer),
            told: VecDeque::new(),
        });
        let wish = Connect {
            consumer: known.id(),
            session: id,
            client_name: String::new(),
            credit,
            reports_start: known.reports_start,
            refuses_to_wait,
        };
        let sink = Arc::new(Listener {
            consumer,
            number: known.number,
            session: id,
            mailbox: Arc::clone(&self.crowd.mailbox),
        });
        self.push_subscription(SubscriptionCommand::Connect {
            name: self.crowd.consumers[consumer].name.clone(),
            id: None,
            wish: Box::new(wish),
            sink,
            answer: sender,
        });
    }

    /// A consumer's connection ends. What it has begun with it still has.
    pub(super) fn disconnect(&mut self, consumer: usize, departure: ConsumerDeparture) {
        let Some((session, subscription)) = self.crowd.consumers[consumer].seat() else {
            return;
        };
        self.hear_delivery(consumer, true);
        let free_from_ms = self.free_from_ms(consumer, subscription, departure);
        let known = &mut self.crowd.consumers[consumer];
        let (id, number) = (known.id(), known.number);
        known.session = None;
        known.held.retain(|_, holding| holding.has_begun);
        if departure == ConsumerDeparture::Left {
            known.held.clear();
        }
        self.note_delivery(
            subscription,
            DeliveryEvent::Parted {
                consumer: number,
                free_from_ms,
            },
        );
        self.push_subscription(SubscriptionCommand::Disconnect {
            subscription,
            consumer: id,
            session,
            departure,
        });
    }

    /// From when on others may get what a consumer has begun with.
    fn free_from_ms(
        &self,
        consumer: usize,
        subscription: SubscriptionId,
        departure: ConsumerDeparture,
    ) -> Option<i64> {
        let grace = match departure {
            ConsumerDeparture::Left => return Some(i64::MIN),
            ConsumerDeparture::Detached => return None,
            ConsumerDeparture::CutOff => self.broker_time_ms() + RECONNECT_GRACE_MS,
        };
        let deadline_ms = self.crowd.known.get(&subscription)?.ack_deadline_ms;
        let held = self.crowd.consumers[consumer].held.values();
        let expiry = held.map(|it| it.touched_ms.saturating_add_unsigned(deadline_ms));
        Some(expiry.chain([grace]).min().unwrap_or(grace))
    }

    /// A consumer dies, and another process takes its place.
    fn kill_consumer(&mut self, consumer: usize) {
        self.disconnect(consumer, ConsumerDeparture::CutOff);
        let number = self.crowd.next_number();
        let known = &self.crowd.consumers[consumer];
        let (name, reports_start) = (known.name.clone(), known.reports_start);
        if known.session.is_none() {
            self.crowd.consumers[consumer] = Consumer::new(name, number, reports_start);
        }
    }

    fn allow_more(&mut self, consumer: usize) {
        let known = &self.crowd.consumers[consumer];
        let Some((_, subscription)) = known.seat() else {
            return;
        };
        let consumer = known.id();
        let more = Credit {
            records: self.random.u64(1..40),
            bytes: self.random.i64(1..50_000),
        };
        self.push_subscription(SubscriptionCommand::Credit {
            subscription,
            consumer,
            more,
        });
    }

    fn stop_consumer(&mut self, consumer: usize) {
        let known = &mut self.crowd.consumers[consumer];
        let Some((_, subscription)) = known.seat() else {
            return;
        };
        let (id, number) = (known.id(), known.number);
        // Which of these it has begun with it does not know if it does not say so.
        self.note_delivery(subscription, DeliveryEvent::Stopped { consumer: number });
        self.push_subscription(SubscriptionCommand::Stop {
            subscription,
            consumer: id,
        });
    }

    /// A consumer hears what it was told: the first of it, or all.
    pub(super) fn hear_delivery(&mut self, consumer: usize, hears_all: bool) {
        loop {
            let known = &mut self.crowd.consumers[consumer];
            let is_deaf = known.is_stalled && !hears_all;
            let told = known.session.as_mut().filter(|_| !is_deaf);
            let told = told.and_then(|session| session.told.pop_front());
            let Some((touched_ms, event)) = told else {
                return;
            };
            match event {
                Said::Delivered(delivery) => {
                    let (number, partition) = (delivery.number, delivery.partition);
                    let has_begun = !known.reports_start;
                    let ranges = delivery.spans.iter().map(|span| span.range);
                    let offsets = ranges.flat_map(|it| it.start.get()..it.end.get());
                    for spot in offsets
                        .map(|offset| (partition, offset))
                        .collect::<Vec<_>>()
                    {
                        let holding = Holding {
                            delivery: number,
                            has_begun,
                            key: self.key_at(consumer, spot),
                            touched_ms,
                        };
                        self.crowd.consumers[consumer].held.insert(spot, holding);
                    }
                }
                Said::Lost { partition, ranges } => {
                    let offsets = ranges.iter().flat_map(|it| it.start.get()..it.end.get());
                    for offset in offsets {
                        known.held.remove(&(partition, offset));
                    }
                }
                Said::Skipped(_) | Said::CaughtUp(_) => {}
                Said::Replaced | Said::Deleted => {
                    known.held.clear();
                    known.session = None;
                    return;
                }
            }
            if !hears_all {
                return;
            }
        }
    }

    /// The key of a record in a lane.
    fn key_at(&self, consumer: usize, (lane, offset): Spot) -> Option<u64> {
        let (_, subscription) = self.crowd.consumers[consumer].seat()?;
        let known = self.crowd.known.get(&subscription)?;
        let (partition, offset) = match lane.checked_sub(known.partition_count) {
            None => (lane, offset),
            Some(partition) => {
                let letter = known.letters.get(&(partition, offset))?;
                (partition, letter.source)
            }
        };
        let topic = known.topic;
        let keys = self.crowd.keys.get(&Place { topic, partition })?;
        keys.get(&offset).copied().flatten()
    }

    /// Takes what the broker has said, once everything that it may be about was read.
    pub(super) fn take_delivery_answers(&mut self) {
        if self.crowd.is_absent() || !self.watch_subscriptions() {
            return;
        }
        for consumer in 0..self.crowd.consumers.len() {
            self.take_connect_answer(consumer);
        }
        let told = std::mem::take(&mut *self.crowd.mailbox.lock().unwrap());
        for told in told {
            match told {
                Told::Event {
                    consumer,
                    number,
                    session,
                    event,
                } => {
                    let id = self.crowd.sessions.get(&session.0).copied();
                    if let Some(id) = id.filter(|id| self.crowd.known.contains_key(id)) {
                        self.take_told(consumer, number, session, id, event);
                    }
                }
                Told::Answer {
                    said,
                    subscription,
                    expired,
                } => self.take_settled(subscription, &said, expired.ok()),
            }
        }
        self.crowd.heard_ms = self.broker_time_ms();
        self.take_subscription_controls();
        // Last: what has moved them was said before.
        self.watch_letters();
    }

    fn take_connect_answer(&mut self, consumer: usize) {
        let known = &mut self.crowd.consumers[consumer];
        let Some(session) = known.session.as_mut() else {
            return;
        };
        let Some(mut answer) = session.answer.take() else {
            return;
        };
        match answer.try_recv() {
            Err(TryRecvError::Empty) => session.answer = Some(answer),
            Ok(Ok(connected)) => {
                if !self.crowd.known.contains_key(&connected.subscription) {
                    // Deleted since.
                    known.session = None;
                    return;
                }
                session.subscription = Some(connected.subscription);
                let id = session.id.0;
                self.crowd.sessions.insert(id, connected.subscription);
            }
            Ok(Err(_)) | Err(TryRecvError::Closed) => known.session = None,
        }
    }

    /// What a connection is told that is gone, nobody hears.
    fn take_told(
        &mut self,
        consumer: usize,
        number: u64,
        session: SessionId,
        id: SubscriptionId,
        event: Said,
    ) {
        let time_ms = self.broker_time_ms();
        let known = &mut self.crowd.consumers[consumer];
        let has_begun = !known.reports_start;
        let open = known.session.as_mut().filter(|it| it.id == session);
        let is_heard = open.is_some();
        if let Some(open) = open {
            open.told.push_back((self.crowd.heard_ms, event.clone()));
        }
        match event {
            Said::Delivered(delivery) => {
                let ranges = delivery.spans.iter().map(|span| span.range);
                let counts = ranges.map(|it| it.end.get() - it.start.get());
                let is_alone = counts.sum::<u64>() == 1;
                for span in delivery.spans {
                    let range = span.range;
                    for offset in range.start.get()..range.end.get() {
                        self.counts.deliveries += 1;
                        let event = DeliveryEvent::Delivered {
                            unit: self.unit(id, (delivery.partition, offset)),
                            consumer: number,
                            delivery: delivery.number,
                            attempt: span.attempt,
                            has_begun,
                            is_alone,
                            time_ms,
                        };
                        self.note_delivery(id, event);
                    }
                }
                if !is_heard {
                    let free_from_ms = None;
                    let consumer = number;
                    let event = DeliveryEvent::Parted {
                        consumer,
                        free_from_ms,
                    };
                    self.note_delivery(id, event);
                }
            }
            Said::Lost { partition, ranges } => {
                for offset in ranges.iter().flat_map(|it| it.start.get()..it.end.get()) {
                    let unit = self.unit(id, (partition, offset));
                    let consumer = number;
                    self.note_delivery(id, DeliveryEvent::Lost { unit, consumer });
                }
            }
            Said::Replaced => {
                let consumer = number;
                self.note_delivery(id, DeliveryEvent::Stopped { consumer });
            }
            Said::Skipped(_) | Said::CaughtUp(_) | Said::Deleted => {}
        }
    }

    pub(super) fn unit(&self, id: SubscriptionId, (lane, offset): Spot) -> Unit {
        let partition_count = self.crowd.known[&id].partition_count;
        let letter = lane.checked_sub(partition_count);
        Unit {
            partition: letter.unwrap_or(lane),
            is_letter: letter.is_some(),
            offset,
        }
    }

    /// What was said is durable, or nobody knows.
    fn take_settled(
        &mut self,
        id: SubscriptionId,
        said: &[Vec<(u64, u64)>],
        expired: Option<Vec<Vec<OffsetRange>>>,
    ) {
        let Some(expired) = expired.filter(|_| self.crowd.known.contains_key(&id)) else {
            return;
        };
        assert_eq!(expired.len(), said.len(), "an answer to each");
        for (said, expired) in said.iter().zip(expired) {
            for (number, offset) in said.iter().copied() {
                let has = |it: &OffsetRange| (it.start.get()..it.end.get()).contains(&offset);
                let is_expired = expired.iter().any(has);
                self.counts.expired += u64::from(is_expired);
                self.counts.settled += u64::from(!is_expired);
                self.note_delivery(id, DeliveryEvent::Answered { number, is_expired });
            }
        }
    }

    /// The broker is gone, and with it all connections. What was not read before, nobody has heard.
    pub(super) fn cut_consumers_off(&mut self) {
        if self.crowd.is_absent() {
            return;
        }
        self.crowd.mailbox.lock().unwrap().clear();
        self.crowd.controls.clear();
        // What was not answered may not have happened: nobody goes on behind it.
        self.crowd.jobs.clear();
        self.crowd.looked_at = None;
        for consumer in 0..self.crowd.consumers.len() {
            self.hear_delivery(consumer, true);
            let known = &mut self.crowd.consumers[consumer];
            known.session = None;
            // Handlers go on, and say later what became of it.
            known.held.retain(|_, holding| holding.has_begun);
        }
    }
}
