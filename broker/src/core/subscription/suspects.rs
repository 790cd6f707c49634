//! Records that are delivered alone, because their last consumer went while it handled them and others.
//!
//! One at a time: whoever goes again has shown which one it is. Such a record needs a consumer that has
//! nothing. While there is none, one consumer gives back what it has not begun with and gets nothing more, so
//! that it will have nothing; and then nothing beside it. Neither for ever, for handlers may take long, and others wait for them: of a record
//! that was delivered alone and is with a consumer that goes, an attempt counts, whatever went with it.

use towpath_storage::Offset;

use super::consumer::{Consumer, ConsumerId};
use super::lease::Lease;
use super::{Mode, Subscription, SubscriptionDecision};

/// How long a consumer gets nothing else, before or while it handles such a record, and how long it then
/// does before that begins anew, milliseconds.
pub(super) const RESERVED_MS_MAX: i64 = 30_000;

/// What is known of records that are delivered alone. Volatile.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// The one that is with a consumer.
    alone: Option<(u32, Offset)>,
    reservation: Option<Reservation>,
    /// Nobody is reserved before, broker time in milliseconds since the Unix epoch.
    rests_until_ms: Option<i64>,
}

/// A consumer that gets nothing else until it has nothing, and then such a record.
#[derive(Debug, Clone, Copy)]
struct Reservation {
    consumer: ConsumerId,
    /// Broker time in milliseconds since the Unix epoch.
    until_ms: i64,
}

impl Suspicion {
    /// The record that is delivered alone, if one is.
    pub(super) fn alone(&self) -> Option<(u32, Offset)> {
        self.alone
    }

    /// The consumer that gets nothing else.
    pub(super) fn reserved(&self) -> Option<ConsumerId> {
        self.reservation.map(|it| it.consumer)
    }

    /// A consumer is gone.
    pub(super) fn forget_consumer(&mut self, id: ConsumerId) {
        if self.reserved() == Some(id) {
            self.reservation = None;
        }
    }

    /// A partition is moved.
    pub(super) fn forget_partition(&mut self, number: u32) {
        if self.alone.is_some_and(|(partition, _)| partition == number) {
            *self = Self::default();
        }
    }

    /// A record is not with its consumer any more: if it was delivered alone, others may be again.
    pub(super) fn end(&mut self, partition: u32, offset: Offset) {
        if self.alone == Some((partition, offset)) {
            *self = Self::default();
        }
    }

    /// When it is to be looked at again, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let until_ms = self.reservation.map(|it| it.until_ms);
        // While one is with a consumer, there is nothing to be done at the end of the rest.
        let rests_until_ms = self.rests_until_ms.filter(|_| self.alone.is_none());
        until_ms.or(rests_until_ms)
    }

    /// A record is with a consumer that gets nothing else for a while.
    fn begin(&mut self, record: (u32, Offset), consumer: ConsumerId, now_ms: i64) {
        *self = Self {
            alone: Some(record),
            reservation: Some(Reservation {
                consumer,
                until_ms: now_ms + RESERVED_MS_MAX,
            }),
            rests_until_ms: None,
        };
    }

    /// Ends what is over, so that nothing is due that has been.
    fn take_time(&mut self, now_ms: i64) {
        if self.reservation.is_some_and(|it| it.until_ms <= now_ms) {
            self.reservation = None;
            self.rests_until_ms = Some(now_ms + RESERVED_MS_MAX);
        }
        if self.rests_until_ms.is_some_and(|it| it <= now_ms) {
            self.rests_until_ms = None;
        }
    }

    /// Has a consumer that is busy get nothing more for a while. Returns whether that is new.
    fn reserve(&mut self, consumer: ConsumerId, now_ms: i64) -> bool {
        let is_new = self.reserved() != Some(consumer) && self.rests_until_ms.is_none();
        if is_new {
            let begun = self.reservation.map(|it| it.until_ms);
            self.reservation = Some(Reservation {
                consumer,
                until_ms: begun.unwrap_or(now_ms + RESERVED_MS_MAX),
            });
        }
        is_new
    }
}

impl Subscription {
    /// Delivers a record alone, if one waits for that and a consumer has nothing.
    pub(super) fn deliver_suspect(&mut self, now_ms: i64, decision: &mut SubscriptionDecision) {
        self.suspicion.take_time(now_ms);
        if self.suspicion.alone.is_some() {
            return;
        }
        let Some((number, offset)) = self.next_suspect() else {
            self.suspicion = Suspicion::default();
            return;
        };
        let Some(consumer) = self.idle_consumer(now_ms, decision) else {
            return;
        };
        let lease = self.new_lease(number, consumer, now_ms);
        let Some(known) = self.consumers.get_mut(consumer) else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(number as usize) else {
            return;
        };
        // Nothing else is sent to it, so whatever it handles is this one.
        let lease = Lease {
            started: u64::MAX,
            ..lease
        };
        let delivered = partition.lease_row(offset, &mut self.leases, &lease, &mut known.credit);
        known.in_flight += 1;
        known.has_moved = true;
        self.suspicion.begin((number, offset), consumer, now_ms);
        self.tell_delivered(consumer, &lease, vec![delivered], decision);
    }

    /// Whether a record waits for a consumer that has nothing.
    pub(super) fn has_suspect(&self) -> bool {
        self.suspicion.alone.is_none() && self.next_suspect().is_some()
    }

    /// A record that is to be delivered alone and can be.
    fn next_suspect(&self) -> Option<(u32, Offset)> {
        let numbered = (0..).zip(&self.partitions);
        let mut suspects = numbered.flat_map(|(number, partition)| {
            let offsets = partition.waiting.suspects.iter();
            offsets.map(move |offset| (number, *offset))
        });
        suspects.find(|(number, offset)| !self.is_locked_beside(*number, *offset))
    }

    /// A consumer that has nothing and may be sent something. While there is none, the one that has the
    /// least is reserved, and gives back what its handlers have not begun with.
    fn idle_consumer(
        &mut self,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) -> Option<ConsumerId> {
        let holder = (self.config.mode == Mode::Exclusive).then(|| self.consumers.holder());
        let connected = self.consumers.connected();
        // One that has nothing and takes nothing is not waited for.
        let candidates = connected
            .filter(|(id, _)| holder.is_none_or(|it| it == Some(*id)))
            .filter(|(_, it)| it.in_flight > 0 || it.credit.is_open());
        let is_idle =
            |it: &Consumer| it.in_flight == 0 && it.credit.is_open() && it.rests_until_ms.is_none();
        let is_other = |id| self.suspicion.reserved() != Some(id);
        let best = candidates.min_by_key(|(id, it)| (!is_idle(it), is_other(*id), it.in_flight));
        let (id, consumer) = best?;
        if is_idle(consumer) {
            return Some(id);
        }
        if self.suspicion.reserve(id, now_ms) {
            self.give_back_not_begun(id, decision);
        }
        None
    }
}
