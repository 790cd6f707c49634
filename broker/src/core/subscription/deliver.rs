//! Delivering: what is ready goes to consumers that allow it, in turn.

use towpath_storage::{Offset, OffsetRange};

use super::consumer::ConsumerId;
use super::hand_over::Delivered;
use super::lease::{Held, Lease};
use super::partition::Lane;
use super::{
    Credit, DeliveredSpan, Delivery, InspectWish, Mode, Subscription, SubscriptionDecision,
    SubscriptionEvent, SubscriptionNotice,
};

/// Records that one consumer gets before the next one has its turn.
const TURN_RECORDS_MAX: u64 = 256;
/// Records that are ready, or nearly, before somebody may be sent them.
const AHEAD_RECORDS: u64 = 256;
/// Most records that are inspected at once.
const INSPECT_RECORDS_MAX: u64 = 2_048;
/// Longest window: what lies behind waits until something of it is settled.
const WINDOW_RECORDS_MAX: u64 = 64 * 1024;

impl Subscription {
    /// Gives to consumers what is ready and what they allow, and asks for more to be inspected.
    /// `end_of` tells where a partition ends.
    pub(super) fn deliver(
        &mut self,
        now_ms: i64,
        end_of: impl Fn(u32) -> Offset,
        decision: &mut SubscriptionDecision,
    ) {
        self.consumers.wake(now_ms);
        if self.is_paused {
            return;
        }
        for partition in &mut self.partitions {
            partition.take_due(now_ms);
        }
        self.line_up_beside();
        self.deliver_suspect(now_ms, decision);
        let is_exclusive = self.config.mode == Mode::Exclusive;
        while let Some(partition) = self.next_ready_partition()
            && let Some(consumer) = self
                .consumers
                .next_open(is_exclusive, self.suspicion.reserved())
        {
            self.deliver_turn(partition, consumer, now_ms, decision);
        }
        // In an ordered mode suspects are found on the way: nothing else may bring them back here.
        self.has_ready(now_ms);
        self.deliver_suspect(now_ms, decision);
        self.ask_for_more(now_ms, end_of, decision);
    }

    /// The next partition, in turn, that may have something to deliver.
    fn next_ready_partition(&mut self) -> Option<u32> {
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let in_turn = (self.next_partition..count).chain(0..self.next_partition.min(count));
        let may_deliver = |number: &u32| {
            let partition = self.partitions.get(*number as usize);
            partition.is_some_and(|partition| partition.may_deliver())
        };
        let next = { in_turn }.find(may_deliver)?;
        self.next_partition = (next + 1) % count;
        Some(next)
    }

    fn deliver_turn(
        &mut self,
        partition: u32,
        consumer: ConsumerId,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) {
        let lease = self.new_lease(partition, consumer, now_ms);
        let Some(known) = self.consumers.get_mut(consumer) else {
            return;
        };
        let mut turn = Credit {
            records: known.credit.records.min(TURN_RECORDS_MAX),
            ..known.credit
        };
        let (sources, lanes) = self
            .partitions
            .split_at_mut(self.topic_partition_count as usize);
        let place = partition as usize;
        let found = match place.checked_sub(sources.len()) {
            None => sources.get_mut(place).zip(lanes.get(place)),
            Some(place) => lanes.get_mut(place).zip(sources.get(place)),
        };
        let Some((found, beside)) = found else {
            return;
        };
        let delivered = found.deliver(&mut self.leases, &lease, &mut turn, beside, now_ms);
        let count = delivered.len() as u64;
        known.credit.records -= count;
        known.credit.bytes = turn.bytes;
        known.in_flight += count;
        known.has_moved |= count > 0;
        self.tell_delivered(consumer, &lease, delivered, decision);
    }

    /// Whether anything can be delivered, to somebody who allows it, but for what is to be delivered alone.
    pub(super) fn has_ready(&mut self, now_ms: i64) -> bool {
        // What a consumer has given back in the meantime is due again.
        for partition in &mut self.partitions {
            partition.take_due(now_ms);
        }
        let (sources, lanes) = self
            .partitions
            .split_at_mut(self.topic_partition_count as usize);
        // Of all, since in each there may be something that stands in line for nothing.
        let mut has_ready = false;
        for (source, lane) in sources.iter_mut().zip(lanes) {
            has_ready |= source.has_ready(lane, now_ms);
            has_ready |= lane.has_ready(source, now_ms);
        }
        has_ready
    }

    /// Lines up keys that had to wait because they were delivered from the lane beside.
    fn line_up_beside(&mut self) {
        let (sources, lanes) = self
            .partitions
            .split_at_mut(self.topic_partition_count as usize);
        for (source, lane) in sources.iter_mut().zip(lanes) {
            source.line_up_beside(lane);
            lane.line_up_beside(source);
        }
    }

    /// Whether the key of a record that has a row is delivered from the lane beside.
    pub(super) fn is_locked_beside(&self, number: u32, offset: Offset) -> bool {
        let beside = match self.source_of(number) {
            Some(partition) => partition,
            None => self.dead_lane(number),
        };
        let known = self.partitions.get(number as usize);
        let row = known.and_then(|known| known.waiting.get(offset));
        let beside = self.partitions.get(beside as usize);
        let locked = row
            .zip(beside)
            .map(|(row, beside)| beside.window.keys.is_locked(row.key));
        self.config.mode.is_ordered() && locked.unwrap_or(false)
    }

    pub(super) fn new_lease(&self, partition: u32, consumer: ConsumerId, now_ms: i64) -> Lease {
        let reports_start = self
            .consumers
            .get(consumer)
            .is_some_and(|it| it.reports_start);
        Lease {
            consumer,
            delivery: self.next_delivery,
            partition,
            word: 0,
            held: Held::Window,
            records: 0,
            started: match reports_start {
                true => 0,
                false => u64::MAX,
            },
            deadline_ms: self.deadline_ms(now_ms),
            since_ms: now_ms,
            is_one_of_many: false,
        }
    }

    /// When a lease of now expires.
    pub(super) fn deadline_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add_unsigned(self.config.ack_deadline_ms)
    }

    pub(super) fn tell_delivered(
        &mut self,
        consumer: ConsumerId,
        lease: &Lease,
        delivered: Vec<Delivered>,
        decision: &mut SubscriptionDecision,
    ) {
        let session = self.consumers.get(consumer).and_then(|it| it.session);
        if delivered.is_empty() {
            return;
        }
        self.next_delivery += 1;
        self.counts.delivered += delivered.len() as u64;
        decision
            .notices
            .extend(session.map(|session| SubscriptionNotice {
                session,
                event: SubscriptionEvent::Delivered(Delivery {
                    number: lease.delivery,
                    partition: lease.partition,
                    spans: spans(delivered),
                }),
            }));
    }

    /// Asks for records to be inspected where consumers allow more than is ready.
    fn ask_for_more(
        &mut self,
        now_ms: i64,
        end_of: impl Fn(u32) -> Offset,
        decision: &mut SubscriptionDecision,
    ) {
        let Some(open_records) = self.consumers.open_records() else {
            return;
        };
        // What is ready while somebody could be sent more is behind others of its key: to look for other
        // keys is worth a window that is not long.
        let is_short = open_records > 0;
        let count_max = match self.config.filter {
            None => open_records.clamp(AHEAD_RECORDS, INSPECT_RECORDS_MAX),
            // Few of them may be delivered.
            Some(_) => INSPECT_RECORDS_MAX,
        };
        for (number, partition) in (0..).zip(&mut self.partitions) {
            let start = partition.window.end();
            if partition.lane == Lane::DeadLetters {
                break;
            }
            let looks_for_keys = is_short && !partition.is_long();
            let wants = looks_for_keys || partition.window.ready_count() < AHEAD_RECORDS;
            let has_room =
                partition.window.span() < WINDOW_RECORDS_MAX && partition.can_go_on(now_ms);
            let has_room = has_room && partition.has_row_room();
            if wants && has_room && partition.asked.is_none() && start < end_of(number) {
                decision.inspections.push(InspectWish {
                    number: partition.ask(),
                    partition: number,
                    start,
                    count_max,
                });
            }
        }
    }
}

/// Delivered records, ascending, as spans of the same attempt.
fn spans(delivered: Vec<Delivered>) -> Vec<DeliveredSpan> {
    let mut spans: Vec<DeliveredSpan> = Vec::new();
    for Delivered { offset, attempt } in delivered {
        let end = offset.advance(1);
        match spans.last_mut() {
            Some(last) if last.range.end == offset && last.attempt == attempt => {
                last.range.end = end;
            }
            _ => spans.push(DeliveredSpan {
                range: OffsetRange { start: offset, end },
                attempt,
            }),
        }
    }
    spans
}
