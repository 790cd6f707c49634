//! Who receives: consumers of a subscription with what they allow to be sent. Volatile.

use std::collections::{BTreeMap, BTreeSet};

use super::caught_up::Told;
use crate::core::group::SessionId;

/// Identity of a consumer: 128 random bits that it draws once and keeps through reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId([u8; 16]);

impl ConsumerId {
    /// Wraps the bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// How much may be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credit {
    /// Records.
    pub records: u64,
    /// Bytes of encoded records; below zero by what the last record took beyond.
    pub bytes: i64,
}

impl Credit {
    /// So many records and bytes.
    pub fn new(records: u64, bytes: u64) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        Self { records, bytes }
    }

    /// Whether one more record may be sent; it may be longer than what is left.
    pub fn is_open(&self) -> bool {
        self.records > 0 && self.bytes > 0
    }

    /// Uses what a record takes.
    pub fn spend(&mut self, bytes: u32) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(i64::from(bytes));
    }

    /// Allows more.
    pub fn add(&mut self, more: Self) {
        self.records = self.records.saturating_add(more.records);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// Somebody who receives, or who did and still has records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// What it calls itself, for people.
    pub client_name: String,
    /// Its connection; none while it is away.
    pub session: Option<SessionId>,
    /// Broker time at which it connected, milliseconds since the Unix epoch.
    pub connected_at_ms: i64,
    /// What may be sent to it.
    pub credit: Credit,
    /// Records that it has.
    pub in_flight: u64,
    /// It says which records its handlers have begun with; of others all that are sent count as begun.
    pub reports_start: bool,
    /// Settlements in a row by which it gave records back that it had not handled.
    pub(super) release_count: u32,
    /// It gets nothing before, broker time in milliseconds since the Unix epoch.
    pub(super) rests_until_ms: Option<i64>,
    /// Number of its turn among those that ask for the whole subscription.
    pub(super) order: u64,
    /// What it was told last of being caught up, over its present connection.
    pub(super) told: Option<Told>,
    /// Whether it got records since, or has some no more.
    pub(super) has_moved: bool,
}

/// The consumers of a subscription.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    by_id: BTreeMap<ConsumerId, Consumer>,
    /// The one that was served last.
    last_served: Option<ConsumerId>,
    next_order: u64,
    /// Those that rest, by when that is over.
    resting: BTreeSet<(i64, ConsumerId)>,
}

/// First rest of a consumer that gives everything back; it doubles each time, milliseconds.
const REST_MS_MIN: i64 = 10;
/// Longest such rest, milliseconds.
const REST_MS_MAX: i64 = 1_000;

impl Consumers {
    pub(super) fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.by_id.iter().map(|(id, consumer)| (*id, consumer))
    }

    /// Those that are connected.
    pub(super) fn connected(&self) -> impl Iterator<Item = (ConsumerId, &Consumer)> {
        self.iter().filter(|(_, it)| it.session.is_some())
    }

    pub(super) fn insert(&mut self, id: ConsumerId, mut consumer: Consumer) {
        self.next_order += 1;
        // Who comes back keeps its turn.
        consumer.order = self.get(id).map_or(self.next_order, |known| known.order);
        self.by_id.insert(id, consumer);
    }

    /// The one that has asked for the whole subscription for the longest; also one that is away, as long as
    /// it has records.
    pub(super) fn holder(&self) -> Option<ConsumerId> {
        let there = self.iter();
        let there = there.filter(|(_, it)| it.session.is_some() || it.in_flight > 0);
        there.min_by_key(|(_, it)| it.order).map(|(id, _)| id)
    }

    /// Notes that a consumer has given records back. If that is all that it does, what nobody else takes
    /// would go to and fro: it rests, from the second time on and longer each time, while others get what
    /// it gave back at once.
    pub(super) fn note_release(&mut self, id: ConsumerId, now_ms: i64) {
        let Some(consumer) = self.by_id.get_mut(&id) else {
            return;
        };
        if consumer.rests_until_ms.is_some() {
            // It had this before it began to rest.
            return;
        }
        let doublings = consumer.release_count.checked_sub(1);
        consumer.release_count = consumer.release_count.saturating_add(1);
        if let Some(doublings) = doublings {
            let rest_ms = REST_MS_MIN << doublings.min(10);
            let until_ms = now_ms.saturating_add(rest_ms.min(REST_MS_MAX));
            consumer.rests_until_ms = Some(until_ms);
            self.resting.insert((until_ms, id));
        }
    }

    /// Notes that a consumer has handled records, or has tried to.
    pub(super) fn note_work(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.release_count = 0;
        }
    }

    /// Ends the rests that are over.
    pub(super) fn wake(&mut self, now_ms: i64) {
        while let Some((until_ms, id)) = self.resting.first().copied()
            && until_ms <= now_ms
        {
            self.resting.pop_first();
            if let Some(consumer) = self.by_id.get_mut(&id)
                && consumer.rests_until_ms == Some(until_ms)
            {
                consumer.rests_until_ms = None;
            }
        }
    }

    /// When the next rest is over, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_wake_ms(&self) -> Option<i64> {
        self.resting.first().map(|(until_ms, _)| *until_ms)
    }

    /// The next one, in turn, to which something may be sent.
    pub(super) fn next_open(
        &mut self,
        is_exclusive: bool,
        reserved: Option<ConsumerId>,
    ) -> Option<ConsumerId> {
        use std::ops::Bound;
        let is_open = |id: &ConsumerId, consumer: &Consumer| {
            let is_there = consumer.session.is_some() && consumer.rests_until_ms.is_none();
            is_there && consumer.credit.is_open() && reserved != Some(*id)
        };
        if is_exclusive {
            let holder = self.holder()?;
            let consumer = self.by_id.get(&holder)?;
            return is_open(&holder, consumer).then_some(holder);
        }
        let behind = self.last_served.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_id.range((behind, Bound::Unbounded));
        let next = rest
            .chain(&self.by_id)
            .find(|(id, consumer)| is_open(id, consumer))
            .map(|(id, _)| *id);
        self.last_served = next.or(self.last_served);
        next
    }

    /// Records that may still be sent to all of them; none if nobody is connected.
    pub(super) fn open_records(&self) -> Option<u64> {
        let open = self.connected().map(|(_, it)| match it.credit.is_open() {
            true => it.credit.records,
            false => 0,
        });
        open.reduce(u64::saturating_add)
    }

    /// Forgets those that are away and have nothing any more.
    pub(super) fn forget_absent(&mut self) {
        self.by_id
            .retain(|_, it| it.session.is_some() || it.in_flight > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_long_record_took_beyond_is_paid_before_the_next_one() {
        let mut credit = Credit::new(10, 100);
        credit.spend(1_000);
        assert_eq!(credit.bytes, -900);
        credit.add(Credit::new(1, 900));
        assert!(!credit.is_open(), "{credit:?}");
        credit.add(Credit::new(0, 1));
        assert!(credit.is_open());
        assert_eq!(credit.records, 10);
        credit.add(Credit::new(u64::MAX, u64::MAX));
        credit.add(Credit::new(u64::MAX, u64::MAX));
        assert!(credit.is_open(), "there is no end to what may be allowed");
    }
}
