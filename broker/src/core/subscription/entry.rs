//! The ways into a subscription: what consumers, the inspection and the dead letters ask of it.

use towpath_storage::{Offset, OffsetRange, Row};

use super::burial_failure::BurialFailure;
use super::connect::{Connect, ConnectRefusal, ConsumerDeparture};
use super::consumer::{ConsumerId, Credit};
use super::dead::BurialWish;
use super::settle::Settlement;
use super::{SubscriptionDecision, SubscriptionId};
use crate::core::State;
use crate::core::group::SessionId;

impl State {
    /// Lets a consumer in. Its records follow with [`State::step_subscription`].
    ///
    /// # Errors
    /// [`ConnectRefusal`].
    pub fn connect_consumer(
        &mut self,
        id: SubscriptionId,
        wish: &Connect,
        now_ms: i64,
    ) -> Result<SubscriptionDecision, ConnectRefusal> {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.connect(wish, now_ms, &mut decision)?;
        }
        Ok(decision)
    }

    /// Notes that a consumer's connection has ended.
    pub fn disconnect_consumer(
        &mut self,
        id: SubscriptionId,
        consumer: ConsumerId,
        session: SessionId,
        departure: ConsumerDeparture,
        now_ms: i64,
    ) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.disconnect(consumer, session, departure, now_ms, &mut decision);
        }
        decision
    }

    /// Allows more to be sent to a consumer.
    pub fn credit_consumer(&mut self, id: SubscriptionId, consumer: ConsumerId, more: Credit) {
        if let Some(subscription) = self.activate(id)
            && let Some(consumer) = subscription.consumers.get_mut(consumer)
        {
            consumer.credit.add(more);
        }
    }

    /// Sends nothing more to a consumer until it allows that, and gives back what it has not begun with.
    pub fn stop_consumer(
        &mut self,
        id: SubscriptionId,
        consumer: ConsumerId,
    ) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.stop(consumer, &mut decision);
        }
        decision
    }

    /// Decides on what a consumer says of its records. Returns what of it the consumer does not have any
    /// more: nothing happens to that.
    pub fn settle_deliveries(
        &mut self,
        id: SubscriptionId,
        settlement: &Settlement,
        now_ms: i64,
    ) -> (Vec<OffsetRange>, SubscriptionDecision) {
        let mut decision = SubscriptionDecision::default();
        let Some(subscription) = self.activate(id) else {
            return (settlement.ranges.clone(), decision);
        };
        let expired = subscription.settle(settlement, now_ms, &mut decision);
        (expired, decision)
    }

    /// Decides on records whose dead letters are appended with the same entry, from `base` on. None if they
    /// are not on their way any more: nothing may be appended then.
    pub fn bury(
        &mut self,
        id: SubscriptionId,
        wish: &BurialWish,
        base: Offset,
    ) -> Option<Vec<Row>> {
        self.activate(id)?.bury(wish, base)
    }

    /// Notes that records could not be moved to the dead letters: they stay, and are tried again.
    pub fn burial_failed(
        &mut self,
        id: SubscriptionId,
        wish: &BurialWish,
        failure: BurialFailure,
        now_ms: i64,
    ) {
        if let Some(subscription) = self.activate(id) {
            subscription.burial_failed(wish, failure, now_ms);
        }
    }
}
