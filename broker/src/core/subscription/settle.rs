//! Settling: what consumers say about records that they have.

use towpath_storage::{Offset, OffsetRange, Row};

use super::consumer::ConsumerId;
use super::lease::Held;
use super::leased::Found;
use super::partition::{SubscriptionPartition, ranges};
use super::repeat::Said;
use super::rows::block_row;
use super::settled::{SettledDraft, offsets_in};
use super::waiting::{Failure, WaitingRecord};
use super::{Subscription, SubscriptionDecision, SubscriptionEvent, SubscriptionNotice};
use crate::core::row::RowId;

/// Failures that are kept of a record, so that its row stays small.
const FAILURES_KEPT_MAX: usize = 8;
/// Where more records than these wait, only the last one is, so that memory stays small.
const RECORDS_WITH_FAILURES_MAX: usize = 10_000;

/// What a consumer says of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The delivery that brought them.
    pub delivery: u64,
    /// Number of the partition.
    pub partition: u32,
    /// Which.
    pub ranges: Vec<OffsetRange>,
    /// What became of them.
    pub outcome: DeliveryOutcome,
}

/// What became of delivered records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// They were handled.
    Ack,
    /// Handling them failed: they are tried again.
    Nack {
        /// Wait before that, milliseconds; none for the subscription's back-off.
        delay_ms: Option<u64>,
        /// Why, for people.
        reason: String,
    },
    /// They were not handled, which is nobody's fault.
    Release,
    /// They cannot be handled.
    DeadLetter {
        /// Why, for people.
        reason: String,
    },
    /// Handling them begins.
    Start,
    /// They are being handled, or will be, and this takes longer.
    Extend,
}

impl Subscription {
    /// Decides on what a consumer says. Returns those of the ranges that it does not have any more: nothing
    /// happens to them. What was settled before is no such range, nor is that of which it has said the same
    /// before, with effect.
    pub(super) fn settle(
        &mut self,
        settlement: &Settlement,
        now_ms: i64,
        decision: &mut SubscriptionDecision,
    ) -> Vec<OffsetRange> {
        let Settlement {
            delivery,
            partition: number,
            ranges: asked,
            outcome,
        } = settlement;
        let Some(partition) = self.partitions.get(*number as usize) else {
            return asked.clone();
        };
        let mut found = Vec::new();
        let mut expired = Vec::new();
        for range in asked.iter().copied() {
            let of_range = partition.find(&self.leases, range, *delivery);
            let mut missing = partition.not_found(range, &of_range, settlement);
            missing.retain(|it| !self.given_back.has(settlement, *it));
            expired.extend(ranges(missing));
            found.extend(of_range);
        }
        if let Some(first) = found.first() {
            self.note_outcome(first, outcome, now_ms);
        }
        match outcome {
            DeliveryOutcome::Ack => self.ack(*number, &found, decision),
            DeliveryOutcome::Release => {
                for it in &found {
                    let of = (*number, *delivery);
                    self.given_back.note(of, it.word, it.records, Said::Release);
                }
                self.give_back(*number, &found, Told::Already, decision);
            }
            DeliveryOutcome::Start => self.start(&found, now_ms),
            DeliveryOutcome::Extend => self.extend(&found, now_ms),
            DeliveryOutcome::Nack { delay_ms, reason } => {
                let failed = Failed {
                    reason,
                    delay_ms: *delay_ms,
                    is_dead: false,
                    said_of: Some(*delivery),
                    now_ms,
                };
                self.fail(*number, &found, &failed, decision);
            }
            DeliveryOutcome::DeadLetter { reason } => {
                let failed = Failed {
                    reason,
                    delay_ms: None,
                    is_dead: true,
                    said_of: Some(*delivery),
                    now_ms,
                };
                self.fail(*number, &found, &failed, decision);
            }
        }
        self.write_settled(decision);
        expired
    }

    /// Those of the records of a settlement that its consumer does not have, for whatever reason. Nothing
    /// changes.
    pub(in crate::core) fn not_leased(&self, settlement: &Settlement) -> Vec<OffsetRange> {
        let Some(partition) = self.partitions.get(settlement.partition as usize) else {
            return settlement.ranges.clone();
        };
        let missing = settlement.ranges.iter().flat_map(|range| {
            let found = partition.find(&self.leases, *range, settlement.delivery);
            SubscriptionPartition::not_among(*range, &found).collect::<Vec<_>>()
        });
        ranges(missing)
    }

    /// Notes whether the consumer works, or only gives back what it gets.
    fn note_outcome(&mut self, found: &Found, outcome: &DeliveryOutcome, now_ms: i64) {
        let Some(consumer) = self.leases.get(found.lease).map(|lease| lease.consumer) else {
            return;
        };
        match outcome {
            DeliveryOutcome::Release => self.consumers.note_release(consumer, now_ms),
            DeliveryOutcome::Ack
            | DeliveryOutcome::Nack { .. }
            | DeliveryOutcome::DeadLetter { .. } => self.consumers.note_work(consumer),
            DeliveryOutcome::Start | DeliveryOutcome::Extend => {}
        }
    }

    fn ack(&mut self, number: u32, found: &[Found], decision: &mut SubscriptionDecision) {
        for found in found {
            self.outage.note_success();
            self.counts.acked += u64::from(found.records.count_ones());
            self.take_off(number, found);
            let (id, is_letter) = (self.id, self.source_of(number).is_some());
            let Some(partition) = self.partition_mut(number) else {
                return;
            };
            let mut letters = Vec::new();
            match found.held {
                Held::Window => {
                    partition.window.finish(found.word, found.records);
                    decision.note_done(number, found.word, found.records);
                }
                Held::Rows => {
                    for offset in offsets_in(found.word, found.records) {
                        partition.unlock_row(offset);
                        if is_letter {
                            letters.push((partition.key_of(found.held, offset), offset));
                        }
                        let row = RowId::WaitingRecord(id, number, offset).gone();
                        decision.rows.push(row);
                    }
                }
            }
            for (key, offset) in letters {
                self.note_letter_settled(number, key, offset, decision);
            }
        }
    }

    /// Gives records back that were not handled: others may have them at once. Of each key all behind the
    /// first one are given back with it, so that nothing overtakes it.
    pub(super) fn give_back(
        &mut self,
        number: u32,
        found: &[Found],
        told: Told,
        decision: &mut SubscriptionDecision,
    ) {
        for found in found {
            for offset in offsets_in(found.word, found.records) {
                self.give_back_behind(number, found.held, offset, decision);
            }
            // Some of them may have been given back just now, behind others of their key.
            let left = self.still_leased(found);
            self.counts.released += u64::from(left.records.count_ones());
            let consumer = self.take_off(number, &left);
            self.tell_taken(consumer, number, &left, told, decision);
            if let Some(partition) = self.partition_mut(number) {
                partition.release(&left);
            }
        }
    }

    /// Those of found records that are still with their consumer.
    pub(super) fn still_leased(&self, found: &Found) -> Found {
        let leased = self.leases.get(found.lease);
        Found {
            records: found.records & leased.map_or(0, |lease| lease.records),
            ..*found
        }
    }

    /// Gives back the records of a key that are with a consumer behind one that it does not settle, and
    /// tells it so.
    pub(super) fn give_back_behind(
        &mut self,
        number: u32,
        held: Held,
        offset: Offset,
        decision: &mut SubscriptionDecision,
    ) {
        let Some(partition) = self.partitions.get(number as usize) else {
            return;
        };
        let key = partition.key_of(held, offset);
        let behind = partition.leased_behind(&self.leases, offset, key);
        for found in &behind {
            self.counts.released += u64::from(found.records.count_ones());
            let consumer = self.take_off(number, found);
            self.tell_taken(consumer, number, found, Told::Now, decision);
            if let Some(partition) = self.partition_mut(number) {
                partition.release(found);
            }
        }
    }

    /// Tells a consumer that records were taken from it, unless it knows.
    pub(super) fn tell_taken(
        &self,
        consumer: Option<ConsumerId>,
        partition: u32,
        found: &Found,
        told: Told,
        decision: &mut SubscriptionDecision,
    ) {
        if told == Told::Already || found.records == 0 {
            return;
        }
        let consumer = consumer.and_then(|id| self.consumers.get(id));
        let session = consumer.and_then(|consumer| consumer.session);
        decision
            .notices
            .extend(session.map(|session| SubscriptionNotice {
                session,
                event: SubscriptionEvent::Lost {
                    partition,
                    ranges: ranges(offsets_in(found.word, found.records)),
                },
            }));
    }

    /// Takes records from their consumer, which it returns.
    pub(super) fn take_off(&mut self, number: u32, found: &Found) -> Option<ConsumerId> {
        let consumer = self.leases.get(found.lease).map(|lease| lease.consumer)?;
        let partition = self.partitions.get_mut(number as usize)?;
        let count = partition.unlease(&mut self.leases, found);
        if let Some(known) = self.consumers.get_mut(consumer) {
            known.in_flight = known.in_flight.saturating_sub(count);
            known.has_moved = true;
        }
        for offset in offsets_in(found.word, found.records) {
            self.suspicion.end(number, offset);
        }
        Some(consumer)
    }

    fn start(&mut self, found: &[Found], now_ms: i64) {
        for found in found {
            if let Some(lease) = self.leases.get_mut(found.lease) {
                lease.started |= found.records;
            }
        }
        self.extend(found, now_ms);
    }

    /// Lets the leases of records last from now on.
    fn extend(&mut self, found: &[Found], now_ms: i64) {
        let deadline_ms = self.deadline_ms(now_ms);
        for found in found {
            self.leases.extend(found.lease, deadline_ms);
        }
    }

    /// Notes that handling records has failed. Each gets a row, and waits.
    pub(super) fn fail(
        &mut self,
        number: u32,
        found: &[Found],
        failed: &Failed<'_>,
        decision: &mut SubscriptionDecision,
    ) {
        for found in found {
            for offset in offsets_in(found.word, found.records) {
                let records = super::settled::bit_of(offset);
                let one = self.still_leased(&Found { records, ..*found });
                if one.records == 0 {
                    // Given back behind another one of its key that failed.
                    if let Some(delivery) = failed.said_of {
                        let of = (number, delivery);
                        self.given_back.note(of, found.word, records, failed.said());
                    }
                    continue;
                }
                self.give_back_behind(number, found.held, offset, decision);
                let Some(row) = self.failed_row(number, &one, offset, failed) else {
                    continue;
                };
                match failed.told() {
                    Told::Already if !failed.is_dead => self.counts.nacked += 1,
                    Told::Already => {}
                    Told::Now => self.counts.expired += 1,
                }
                self.put_row(number, &one, offset, &row, failed.told(), decision);
            }
        }
    }

    /// Takes a record from its consumer and puts it into a row.
    #[expect(
        clippy::too_many_arguments,
        reason = "what it changes is in several places"
    )]
    pub(super) fn put_row(
        &mut self,
        number: u32,
        one: &Found,
        offset: Offset,
        row: &WaitingRecord,
        told: Told,
        decision: &mut SubscriptionDecision,
    ) {
        let consumer = self.take_off(number, one);
        self.tell_taken(consumer, number, one, told, decision);
        let Some(partition) = self.partition_mut(number) else {
            return;
        };
        match one.held {
            Held::Window => {
                partition.window.finish(one.word, one.records);
                decision.note_done(number, one.word, one.records);
            }
            Held::Rows => partition.unlock_row(offset),
        }
        let id = RowId::WaitingRecord(self.id, number, offset);
        decision.rows.push(id.put(&row.to_row()));
        if row.death.is_some() {
            self.look_at_source(number, row.key);
        }
    }

    /// What the row of a record says after a failure of its handler.
    fn failed_row(
        &mut self,
        number: u32,
        one: &Found,
        offset: Offset,
        failed: &Failed<'_>,
    ) -> Option<WaitingRecord> {
        let partition = self.partitions.get(number as usize)?;
        let mut row = partition.facts(one.held, offset);
        let failures_max = match partition.waiting.len() {
            0..RECORDS_WITH_FAILURES_MAX => FAILURES_KEPT_MAX,
            _ => 1,
        };
        self.outage.note_failure(row.key.0);
        let retry = self.config.retry;
        row.failure_count = row.failure_count.saturating_add(1);
        if !self.outage.is_outage() || failed.is_dead {
            row.attempts = row.attempts.saturating_add(1);
        }
        row.is_suspect = false;
        row.note_failure(failed, failures_max);
        let backoff_ms = retry.backoff_ms(row.failure_count, offset);
        let wait_ms = failed.delay_ms.unwrap_or(backoff_ms);
        row.due_ms = failed.now_ms.saturating_add_unsigned(wait_ms);
        let age_ms = failed.now_ms.saturating_sub(row.append_time_ms);
        let is_too_old = !self.outage.is_outage()
            && retry
                .age_ms_max
                .is_some_and(|age_ms_max| age_ms >= 0 && age_ms.unsigned_abs() > age_ms_max);
        if failed.is_dead || row.attempts >= retry.attempts_max || is_too_old {
            row.death = Some(failed.reason.to_owned());
        }
        Some(row)
    }

    /// Writes which records need not be looked at any more, and the floors that follow. Comes last: each
    /// row holds all that the entry changes of it.
    pub(super) fn write_settled(&self, decision: &mut SubscriptionDecision) {
        for (number, done) in std::mem::take(&mut decision.done) {
            let Some(partition) = self.partitions.get(number as usize) else {
                continue;
            };
            let mut draft = SettledDraft::new(&partition.settled);
            for (word, records) in done {
                draft.settle(word, records);
            }
            let passed = |word| partition.window.passed(word);
            let floor = draft.floor(partition.settled_end(), passed);
            let blocks = draft.blocks(floor).map(|(block, bits)| {
                RowId::SettledBlock(self.id, number, block).put(&block_row(&bits))
            });
            decision.rows.extend(blocks);
            if floor != partition.settled.floor() {
                decision.rows.push(self.partition_row(number, floor));
            }
        }
        self.write_freed(decision);
    }

    /// The row of a partition whose floor is moved.
    pub(super) fn partition_row(&self, number: u32, floor: Offset) -> Row {
        let id = RowId::SubscriptionPartition(self.id, number);
        let partition = self.partitions.get(number as usize);
        let mut row = partition.map(|it| it.to_row()).unwrap_or_default();
        let passed = partition.map(|it| {
            it.window.judged_in(OffsetRange {
                start: it.settled.floor(),
                end: floor,
            })
        });
        row.add_judged(passed.unwrap_or_default());
        row.set_floor(floor);
        id.put(&row)
    }
}

/// Whether a consumer knows that it has records no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It said so itself.
    Already,
    /// It is to be told.
    Now,
}

/// How handling a record has failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'a> {
    /// Why, for people.
    pub(super) reason: &'a str,
    /// Wait that was asked for, milliseconds.
    pub(super) delay_ms: Option<u64>,
    /// It is not to be tried again.
    pub(super) is_dead: bool,
    /// The delivery of which its consumer said so; none if it said nothing in time.
    pub(super) said_of: Option<u64>,
    /// Broker time, milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
}

impl Failed<'_> {
    /// Whether its consumer knows that it has the record no more.
    fn told(&self) -> Told {
        match self.said_of {
            Some(_) => Told::Already,
            None => Told::Now,
        }
    }

    /// What its consumer said.
    fn said(&self) -> Said {
        match self.is_dead {
            true => Said::DeadLetter,
            false => Said::Nack,
        }
    }
}

impl SubscriptionDecision {
    /// Notes that records leave the window: they are settled, or get rows.
    pub(super) fn note_done(&mut self, partition: u32, word: u64, records: u64) {
        let done = self.done.entry(partition).or_default();
        done.push((word, records));
    }
}

impl WaitingRecord {
    /// Notes why an attempt has failed; only the last few are kept.
    fn note_failure(&mut self, failed: &Failed<'_>, kept_max: usize) {
        let kept_count = kept_max.saturating_sub(1);
        self.failures
            .drain(..self.failures.len().saturating_sub(kept_count));
        self.failures.push(Failure {
            time_ms: failed.now_ms,
            reason: failed.reason.to_owned(),
            delivery: failed.said_of,
        });
    }
}
