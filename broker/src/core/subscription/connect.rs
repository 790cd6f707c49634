//! Consumers that come and go.

use super::consumer::{Consumer, ConsumerId, Credit};
use super::lease::LeaseId;
use super::leased::Found;
use super::settle::Told;
use super::{Mode, Subscription, SubscriptionDecision, SubscriptionEvent, SubscriptionNotice};
use crate::core::group::SessionId;

/// How long what a consumer was handling is kept for it when it was cut off, milliseconds.
pub(super) const RECONNECT_GRACE_MS: i64 = 2_000;

/// A wish to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Who.
    pub consumer: ConsumerId,
    /// Its connection.
    pub session: SessionId,
    /// What it calls itself, for people.
    pub client_name: String,
    /// What may be sent to it.
    pub credit: Credit,
    /// It says which records its handlers begin with; of others all that are sent count as begun.
    pub reports_start: bool,
    /// It does not want to wait for another one that has the whole subscription.
    pub refuses_to_wait: bool,
}

/// How a consumer's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerDeparture {
    /// The consumer said that it goes.
    Left,
    /// It was cut off, and may come back.
    CutOff,
    /// It goes and keeps what it has until that expires, to settle it without a connection.
    Detached,
}

/// Why a consumer is not let in. Nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefusal {
    /// Another one has the whole subscription.
    #[error("another consumer has the subscription")]
    Busy,
    /// There are as many as there may be.
    #[error("the subscription has {consumer_count_max} consumers already")]
    TooMany {
        /// How many there may be.
        consumer_count_max: usize,
    },
}

/// Consumers that one subscription may have.
pub(super) const CONSUMERS_MAX: usize = 1_000;

impl Subscription {
    /// Lets a consumer in. One that comes back keeps what its handlers have begun with, and nothing else.
    pub(super) fn connect(
        &mut self,
        wish: &Connect,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) -> Result<(), ConnectRefusal> {
        let others = self.consumers.connected();
        let others = others.filter(|(id, _)| *id != wish.consumer).count();
        if others >= CONSUMERS_MAX {
            let consumer_count_max = CONSUMERS_MAX;
            return Err(ConnectRefusal::TooMany { consumer_count_max });
        }
        let holder = self.consumers.holder().filter(|id| *id != wish.consumer);
        if wish.refuses_to_wait && self.config.mode == Mode::Exclusive && holder.is_some() {
            return Err(ConnectRefusal::Busy);
        }
        let known = self.consumers.get(wish.consumer);
        let replaced = known.and_then(|known| known.session);
        decision
            .notices
            .extend(replaced.map(|session| SubscriptionNotice {
                session,
                event: SubscriptionEvent::Replaced,
            }));
        let consumer = Consumer {
            client_name: wish.client_name.clone(),
            session: Some(wish.session),
            connected_at_ms: now_ms,
            credit: wish.credit,
            in_flight: known.map_or(0, |known| known.in_flight),
            reports_start: wish.reports_start,
            // Who comes back goes on resting.
            release_count: known.map_or(0, |known| known.release_count),
            rests_until_ms: known.and_then(|known| known.rests_until_ms),
            order: 0,
            told: None,
            has_moved: false,
        };
        self.give_back_not_begun(wish.consumer, decision);
        let in_flight = self.consumers.get(wish.consumer).map(|it| it.in_flight);
        let consumer = Consumer {
            in_flight: in_flight.unwrap_or(0),
            ..consumer
        };
        self.consumers.insert(wish.consumer, consumer);
        let deadline_ms = self.deadline_ms(now_ms);
        for id in self.leases_of(wish.consumer) {
            self.leases.extend(id, deadline_ms);
        }
        Ok(())
    }

    /// Notes that a consumer's connection has ended. One that another connection has replaced changes
    /// nothing.
    pub(super) fn disconnect(
        &mut self,
        id: ConsumerId,
        session: SessionId,
        departure: ConsumerDeparture,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) {
        let Some(consumer) = self.consumers.get_mut(id) else {
            return;
        };
        if consumer.session != Some(session) {
            return;
        }
        consumer.session = None;
        self.suspicion.forget_consumer(id);
        match departure {
            ConsumerDeparture::Left => self.give_back_all(id, decision),
            ConsumerDeparture::CutOff => {
                self.give_back_not_begun(id, decision);
                for lease in self.leases_of(id) {
                    self.leases.shorten(lease, now_ms + RECONNECT_GRACE_MS);
                }
            }
            ConsumerDeparture::Detached => {}
        }
        self.consumers.forget_absent();
    }

    /// Sends nothing more to a consumer until it allows that, and gives back what its handlers have not
    /// begun with.
    pub(super) fn stop(&mut self, id: ConsumerId, decision: &mut SubscriptionDecision) {
        if let Some(consumer) = self.consumers.get_mut(id) {
            consumer.credit = Credit::default();
            self.give_back_not_begun(id, decision);
        }
    }

    fn leases_of(&self, consumer: ConsumerId) -> Vec<LeaseId> {
        let of_consumer = self.leases.iter().filter(|(_, it)| it.consumer == consumer);
        of_consumer.map(|(id, _)| id).collect()
    }

    fn give_back_all(&mut self, consumer: ConsumerId, decision: &mut SubscriptionDecision) {
        self.give_back_some(consumer, decision, |_| u64::MAX);
    }

    pub(super) fn give_back_not_begun(
        &mut self,
        consumer: ConsumerId,
        decision: &mut SubscriptionDecision,
    ) {
        self.give_back_some(consumer, decision, |started| !started);
    }

    /// Gives back those records of a consumer that `which` chooses by what its handlers have begun with.
    fn give_back_some(
        &mut self,
        consumer: ConsumerId,
        decision: &mut SubscriptionDecision,
        which: impl Fn(u64) -> u64,
    ) {
        for id in self.leases_of(consumer) {
            let Some(lease) = self.leases.get(id) else {
                // Given back behind another one of its key.
                continue;
            };
            let number = lease.partition;
            let found = Found {
                lease: id,
                held: lease.held,
                word: lease.word,
                records: lease.records & which(lease.started),
            };
            if found.records != 0 {
                self.give_back(number, &[found], Told::Now, decision);
            }
        }
    }
}
