//! All subscriptions: by number, by name and by topic; which have something to do, and when.

use std::collections::{BTreeMap, BTreeSet};

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, TopicId};

use super::inspected::Halt;
use super::rows::SubscriptionRow;
use super::{Subscription, SubscriptionDecision, SubscriptionId};
use crate::core::State;
use crate::core::partition::Partition;

/// Numbers of deliveries that one life of the broker may use.
const DELIVERIES_PER_INCARNATION_BITS: u32 = 40;

/// All subscriptions.
#[derive(Debug, Default)]
pub(in crate::core) struct Subscriptions {
    by_id: BTreeMap<SubscriptionId, Subscription>,
    names: BTreeMap<SubscriptionName, SubscriptionId>,
    /// Those that get the records of a topic.
    of_topic: BTreeSet<(TopicId, SubscriptionId)>,
    /// Those whose dead letters are in a topic.
    of_dead_letters: BTreeSet<(TopicId, SubscriptionId)>,
    /// Those that hold nearly as much as they may, as was noted last. Volatile, as all below.
    near_limit: BTreeSet<SubscriptionId>,
    /// Those that have to be looked at.
    active: BTreeSet<SubscriptionId>,
    /// Those that want the next record of a topic.
    hungry: BTreeSet<(TopicId, SubscriptionId)>,
    timers: BTreeSet<(i64, SubscriptionId)>,
    timer_of: BTreeMap<SubscriptionId, i64>,
    incarnation: u64,
    /// Numbers of deliveries below this one may have been used by subscriptions that were deleted: one that
    /// has their name now does not use them again.
    past_deliveries: u64,
}

impl Subscriptions {
    pub(in crate::core) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.by_id.get(&id)
    }

    pub(in crate::core) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.by_id.get_mut(&id)
    }

    pub(in crate::core) fn named(&self, name: &SubscriptionName) -> Option<&Subscription> {
        self.by_id.get(self.names.get(name)?)
    }

    pub(in crate::core) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.by_id.values()
    }

    /// Puts or changes one. One that is new has no partitions yet.
    pub(in crate::core) fn put(
        &mut self,
        id: SubscriptionId,
        name: SubscriptionName,
        row: &SubscriptionRow,
    ) {
        if let Some(known) = self.by_id.get_mut(&id) {
            known.take_row(row);
        } else {
            self.names.insert(name.clone(), id);
            let first_delivery = self.incarnation << DELIVERIES_PER_INCARNATION_BITS;
            let next_delivery = first_delivery.max(self.past_deliveries);
            let new = Subscription::from_row(id, name, row, next_delivery);
            self.of_topic.insert((new.topic, id));
            self.of_dead_letters.insert((new.dead_letter_topic, id));
            self.by_id.insert(id, new);
        }
        self.active.insert(id);
    }

    /// Returns it, so that its rows can be noted as gone.
    pub(in crate::core) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let subscription = self.by_id.remove(&id)?;
        self.past_deliveries = self.past_deliveries.max(subscription.next_delivery);
        self.names.remove(&subscription.name);
        self.of_topic.remove(&(subscription.topic, id));
        self.of_dead_letters
            .remove(&(subscription.dead_letter_topic, id));
        self.near_limit.remove(&id);
        self.active.remove(&id);
        self.hungry.remove(&(subscription.topic, id));
        self.clear_timer(id);
        Some(subscription)
    }

    /// Those that get the records of a topic, by number.
    pub(in crate::core) fn of_topic(&self, topic: TopicId) -> impl Iterator<Item = &Subscription> {
        of(&self.of_topic, topic).filter_map(|id| self.get(id))
    }

    /// Those whose dead letters are in a topic, by number.
    pub(in crate::core) fn of_dead_letters(
        &self,
        topic: TopicId,
    ) -> impl Iterator<Item = &Subscription> {
        of(&self.of_dead_letters, topic).filter_map(|id| self.get(id))
    }

    /// Something was appended to a topic.
    pub(in crate::core) fn note_append(&mut self, topic: TopicId) {
        self.active.extend(of(&self.hungry, topic));
    }

    /// The log start of a partition of a topic has moved.
    pub(in crate::core) fn note_trim(&mut self, topic: TopicId) {
        for id in of(&self.of_topic, topic) {
            self.active.insert(id);
            if let Some(subscription) = self.by_id.get_mut(&id) {
                subscription.leaving.looks_for_trims = true;
            }
        }
    }

    /// Takes which subscriptions hold nearly as much as they may. Returns those that did not before.
    pub(in crate::core) fn note_near_limit(
        &mut self,
        near_limit: BTreeSet<SubscriptionId>,
    ) -> Vec<SubscriptionId> {
        let fresh = near_limit.difference(&self.near_limit).copied().collect();
        self.near_limit = near_limit;
        fresh
    }

    /// Those that have something to do, each once.
    fn take_active(&mut self, now_ms: i64) -> BTreeSet<SubscriptionId> {
        while let Some((at_ms, id)) = self.timers.first().copied()
            && at_ms <= now_ms
        {
            self.clear_timer(id);
            self.active.insert(id);
        }
        std::mem::take(&mut self.active)
    }

    /// Notes for what a subscription waits.
    fn settle_down(&mut self, id: SubscriptionId) {
        self.clear_timer(id);
        let Some(subscription) = self.by_id.get(&id) else {
            return;
        };
        let hungry = (subscription.topic, id);
        match subscription.is_hungry() {
            true => self.hungry.insert(hungry),
            false => self.hungry.remove(&hungry),
        };
        if let Some(at_ms) = subscription.next_due_ms() {
            self.timers.insert((at_ms, id));
            self.timer_of.insert(id, at_ms);
        }
    }

    fn clear_timer(&mut self, id: SubscriptionId) {
        if let Some(at_ms) = self.timer_of.remove(&id) {
            self.timers.remove(&(at_ms, id));
        }
    }
}

/// Those that stand in an index under a topic.
fn of(
    index: &BTreeSet<(TopicId, SubscriptionId)>,
    topic: TopicId,
) -> impl Iterator<Item = SubscriptionId> {
    let first = (topic, SubscriptionId::new(0));
    let last = (topic, SubscriptionId::new(u64::MAX));
    index.range(first..=last).map(|(_, id)| *id)
}

impl Subscription {
    /// Whether it wants records that are appended from now on.
    fn is_hungry(&self) -> bool {
        !self.is_paused && self.consumers.open_records().is_some()
    }

    /// When something is due in it without being asked, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let waiting = self.partitions.iter();
        let waiting = waiting.filter_map(|partition| partition.waiting.next_due_ms());
        let waiting = match self.is_paused || self.consumers.open_records().is_none() {
            true => None,
            false => waiting.min(),
        };
        let expiry = self.leases.first().map(|(_, lease)| lease.deadline_ms);
        let pauses = self.partitions.iter().filter_map(|it| match it.halt {
            Some(Halt::Disk { until_ms }) => Some(until_ms),
            Some(Halt::Lost(_)) | None => None,
        });
        let due = waiting.into_iter().chain(expiry).chain(pauses);
        let due = due.chain(self.consumers.next_wake_ms());
        let due = due.chain(self.burial_problems.next_due_ms());
        let due = due.chain(self.next_told_ms());
        let unreadable = self.partitions.iter();
        let due = due.chain(unreadable.filter_map(|it| it.unreadable.next_due_ms()));
        let due = due.chain(self.suspicion.next_due_ms().filter(|_| !self.is_paused));
        due.chain(self.next_pass_ms()).min()
    }
}

impl State {
    /// The subscription of a number.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(id)
    }

    /// The subscription of a name.
    pub fn subscription_named(&self, name: &SubscriptionName) -> Option<&Subscription> {
        self.subscriptions.named(name)
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter()
    }

    /// Subscriptions in the order of their names, from behind one of them.
    pub fn subscriptions_after(
        &self,
        name: Option<&SubscriptionName>,
    ) -> impl Iterator<Item = &Subscription> {
        use std::ops::Bound;
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let subscriptions = &self.subscriptions;
        let ids = subscriptions
            .names
            .range::<SubscriptionName, _>((from, Bound::Unbounded));
        ids.filter_map(|(_, id)| subscriptions.get(*id))
    }

    /// Begins a life of the broker: deliveries of earlier ones are not known any more.
    pub fn begin_incarnation(&mut self, incarnation: u64) {
        self.subscriptions.incarnation = incarnation;
        for subscription in self.subscriptions.by_id.values_mut() {
            subscription.next_delivery = incarnation << DELIVERIES_PER_INCARNATION_BITS;
        }
    }

    pub(in crate::core) fn activate(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        let found = self.subscriptions.by_id.get_mut(&id)?;
        self.subscriptions.active.insert(id);
        Some(found)
    }

    /// Subscriptions in which something is to be done, each once. Each is to be stepped until it has
    /// nothing to do.
    pub fn active_subscriptions(&mut self, now_ms: i64) -> BTreeSet<SubscriptionId> {
        self.subscriptions.take_active(now_ms)
    }

    /// Looks at a subscription again with the next round.
    pub fn keep_active(&mut self, id: SubscriptionId) {
        self.subscriptions.active.insert(id);
    }

    /// Does in one subscription what is due at broker time `now_ms`: ends leases, delivers, asks for more
    /// records to be inspected. To be called again after its rows were applied, until the decision is
    /// empty.
    pub fn step_subscription(&mut self, id: SubscriptionId, now_ms: i64) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        let topics = &self.topics;
        if let Some(subscription) = self.subscriptions.by_id.get_mut(&id) {
            let topic = topics.get(&subscription.topic);
            let partition_of = |number| topic.and_then(|topic| topic.partition(number));
            let log_start_of =
                |number| partition_of(number).map_or(Offset::ZERO, Partition::log_start);
            subscription.let_go(log_start_of, &mut decision);
            if decision.is_empty() {
                subscription.expire(now_ms, &mut decision);
            }
            if decision.rows.is_empty() {
                subscription.doom(&mut decision);
            }
            if decision.rows.is_empty() {
                subscription.pass_over(now_ms, &mut decision);
                subscription.drop_superseded(&mut decision);
            }
            if decision.rows.is_empty() {
                let end_of = |number| partition_of(number).map_or(Offset::ZERO, Partition::end);
                let may_bury = subscription.may_bury(now_ms);
                subscription.deliver(now_ms, end_of, &mut decision);
                if may_bury {
                    subscription.ask_for_burials(&mut decision);
                }
                subscription.tell_caught_up(now_ms, end_of, &mut decision);
            }
        }
        self.subscriptions.settle_down(id);
        decision
    }
}
