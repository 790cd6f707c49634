//! What the sequencer does of its own accord: showing a durable round, keeping a journal file ahead,
//! forgetting idle producers, starting checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use towpath_storage::{
    CheckpointInput, CommittedFrame, CommittedRound, PartitionRef, StateMachine,
};

use super::super::command::send;
use super::super::maintenance::{CheckpointJob, Dropped};
use super::super::published::PartitionHandle;
use super::super::settle::{SETTLE_BYTES, SettleWork};
use super::draft::{Draft, TableChange};
use super::{CONTROL_ROOM_BYTES, JournalWish, Sequencer};
use crate::core::{SubscriptionId, Trim};

/// How often idle producers are looked for.
const FORGET_INTERVAL_MS: i64 = 60_000;
/// How often retention is looked at.
const EXPIRE_INTERVAL_MS: i64 = 1_000;
/// Partitions in which one entry lets go of something.
const EXPIRE_PARTITIONS_MAX: usize = 100;

impl Sequencer {
    /// Adds what is due to the round.
    pub(super) fn upkeep(&mut self, draft: &mut Draft) {
        if self.journal.wants_file() && self.journal_wish == JournalWish::None {
            self.ask_for_journal_file(0, draft);
        }
        if let JournalWish::Full { ask_again_at_ms } = self.journal_wish
            && self.time.now_ms() >= ask_again_at_ms
        {
            // Asked again and again, so that service resumes when there is room.
            self.ask_for_journal_file(0, draft);
        }
        let is_due = self.time.now_ms() >= self.forget_at_ms;
        if (is_due || self.state.has_surplus_producers()) && self.fits(draft, FORGET_ROOM_BYTES) {
            self.forget_at_ms = self.time.now_ms() + FORGET_INTERVAL_MS;
            let now_ms = self.time.now_ms();
            let state = &mut self.state;
            let rows = state.forget_producers(now_ms, self.up_since_ms, FORGET_ROWS_MAX);
            if rows.len() == FORGET_ROWS_MAX {
                // There may be more.
                self.forget_at_ms = now_ms;
            }
            self.push_rows(rows, draft);
        }
        self.expire(draft);
        self.seal_wanted(draft);
        self.step_groups(draft);
        self.step_subscriptions(draft);
        self.step_schedules(draft);
        self.checkpoint.add_appended(draft.appended_bytes);
    }

    /// Asks for a journal file with room for a round.
    pub(super) fn ask_for_journal_file(&mut self, round_bytes: u64, draft: &mut Draft) {
        self.journal_wish = JournalWish::Asked;
        draft.settle_work.push(SettleWork::JournalFile {
            round_bytes,
            durable: self.journal.durable(),
        });
    }

    /// Lets go of what topics do not keep any longer.
    fn expire(&mut self, draft: &mut Draft) {
        let now_ms = self.time.now_ms();
        if now_ms < self.expire_at_ms || !self.fits(draft, CONTROL_ROOM_BYTES) {
            return;
        }
        let trusts_age = now_ms >= self.time.trusts_age_from_ms();
        let expiry = self.state.expire(now_ms, trusts_age, EXPIRE_PARTITIONS_MAX);
        let is_all = expiry.trims.len() + expiry.seals.len() < EXPIRE_PARTITIONS_MAX;
        if is_all {
            self.expire_at_ms = now_ms + EXPIRE_INTERVAL_MS;
        }
        self.trim(expiry.trims, draft);
        for end in expiry.hold_ends {
            self.state.end_hold(end);
        }
        if is_all {
            self.warn_of_holds(expiry.near_limit, now_ms, trusts_age);
        }
        let seals = expiry.seals.into_iter();
        let rows = seals.filter_map(|partition| self.state.seal(partition));
        let rows = rows.collect();
        self.push_rows(rows, draft);
    }

    /// Says which subscriptions have come to hold nearly as much as they may.
    fn warn_of_holds(
        &mut self,
        near_limit: BTreeSet<SubscriptionId>,
        now_ms: i64,
        trusts_age: bool,
    ) {
        for id in self.state.note_near_limit(near_limit) {
            let hold = self.state.hold_of(id, now_ms, trusts_age);
            let Some(subscription) = self.state.subscription(id) else {
                continue;
            };
            tracing::warn!(
                subscription = %subscription.name(),
                held_bytes = hold.bytes(),
                held_percent = hold.percent,
                "subscription holds nearly as much past retention as it may"
            );
        }
    }

    /// Shows a durable round to the world.
    pub(super) fn publish(&mut self, committed: CommittedRound, changes: Vec<TableChange>) {
        for change in &changes {
            if let TableChange::Rolled(segment) = change
                && let Some(topic) = self.table.with_id(segment.partition.topic)
                && let Some(handle) = topic.partition(segment.partition.partition)
            {
                handle.log().add_segment(segment.base);
            }
        }
        let partition_of = |place: usize| {
            let segment = committed.frames.get(place)?.line.place.segment;
            let topic = self.table.with_id(segment.partition.topic)?;
            topic.partition(segment.partition.partition)
        };
        self.tail.publish(&committed, |place| {
            partition_of(place).map(|handle| handle.log())
        });
        self.count(&committed);
        self.shared
            .published
            .set_durable(committed.last_lsn, self.time.now_ms());
        self.shared.index.set_next_commit(self.state.next_commit());
        let mut woken = None;
        for place in 0..committed.frames.len() {
            let Some(handle) = partition_of(place) else {
                continue;
            };
            // Batches of one partition come in runs: one wake for each run.
            if woken != Some(handle.log().partition()) {
                handle.wake();
                woken = Some(handle.log().partition());
            }
        }
        self.settle(committed);
        self.change_table(changes);
    }

    /// Counts what became durable, by topic. Batches of one topic come in runs, more often than not.
    fn count(&self, committed: &CommittedRound) {
        let topic_of = |frame: &CommittedFrame| frame.line.place.segment.partition.topic;
        let frames = &committed.frames;
        for run in frames.chunk_by(|left, right| topic_of(left) == topic_of(right)) {
            let topic = run.first().map(topic_of);
            let Some(topic) = topic.and_then(|topic| self.table.with_id(topic)) else {
                continue;
            };
            let headers = run.iter().map(|frame| &frame.line.frame);
            let sums = headers.fold((0, 0), |(records, bytes), header| {
                let payload_bytes = u64::from(header.payload_bytes);
                (
                    records + u64::from(header.record_count),
                    bytes + payload_bytes,
                )
            });
            topic.appended().add(sums.0, sums.1);
        }
    }

    fn settle(&self, committed: CommittedRound) {
        let bytes = match committed.frames.is_empty() {
            true => 0,
            false => committed.pinned_bytes as u64,
        };
        self.shared.progress.add_unsettled(bytes);
        let (frames, lsn) = (committed.frames, committed.last_lsn);
        let is_enough = self.shared.progress.unsettled_bytes() >= SETTLE_BYTES;
        self.shared
            .settle
            .push_lingering(SettleWork::Frames { frames, lsn, bytes }, is_enough);
    }

    fn change_table(&mut self, changes: Vec<TableChange>) {
        let mut is_changed = false;
        let mut created = Vec::new();
        for change in changes {
            match change {
                TableChange::Created(view, answer) => {
                    self.table.insert(Arc::clone(&view));
                    is_changed = true;
                    created.push((answer, view));
                }
                TableChange::CreatedBeside(view) => {
                    self.table.insert(view);
                    is_changed = true;
                }
                TableChange::Deleted(id) => {
                    if let Some(view) = self.table.remove(id) {
                        view.mark_deleted();
                        is_changed = true;
                    }
                }
                TableChange::Updated(settings) => {
                    if let Some(view) = self.table.with_id(settings.revision.topic_id) {
                        view.set_settings(settings);
                    }
                }
                TableChange::Trimmed(trim) => self.show_trim(&trim),
                TableChange::Swapped(swap) => self.show_swap(&swap),
                TableChange::Rolled(_) => {}
            }
        }
        if is_changed {
            self.shared.published.set_topics(self.table.clone());
        }
        for (answer, view) in created {
            send(answer, Ok(Some(view)));
        }
    }

    fn show_trim(&self, trim: &Trim) {
        let PartitionRef { topic, partition } = trim.partition;
        let handle = self.table.with_id(topic).and_then(|topic| {
            let handle = topic.partition(partition)?;
            handle
                .log()
                .trim(trim.log_start, &trim.dropped, trim.dropped_bytes);
            Some(handle)
        });
        // Who waits below the log start is told of the gap.
        handle.into_iter().for_each(PartitionHandle::wake);
    }

    /// Swaps the changed rows out and hands them to the maintenance thread, if it is time.
    pub(super) fn start_checkpoint(&mut self) {
        let now_ms = self.time.now_ms();
        let is_due = self.journal_files_in_use() >= self.limits.checkpoint_journal_files
            || self.checkpoint.appended_bytes() >= self.limits.checkpoint_appended_bytes
            || self.state.changed_row_count() >= self.limits.checkpoint_row_count
            || self.state.changed_index_bytes() >= self.limits.checkpoint_index_bytes
            || self.checkpoint.is_removal_due(now_ms);
        if is_due && !self.checkpoint.is_held_back(now_ms) {
            self.take_checkpoint();
        }
    }

    /// Starts a checkpoint at the last durable entry, unless one is under way: the next one must hold
    /// the rows of one that fails.
    pub fn take_checkpoint(&mut self) {
        if self.checkpoint.is_running() {
            return;
        }
        let continuation = self.journal.position();
        let input = CheckpointInput {
            lsn: self.journal.durable(),
            continuation,
            time_ms: self.time.now_ms(),
            changed: self.state.take_changed(),
        };
        self.checkpoint.take(continuation.file);
        // All that was dropped so far, what a failed attempt would have removed included.
        let topics = self.state.dropped().map(|(topic, _)| topic).collect();
        let segments = self.state.dropped_segments().collect();
        let dropped = Dropped { topics, segments };
        let compactions = self.plan_compactions();
        self.shared.maintenance.push(CheckpointJob {
            input,
            dropped,
            compactions,
        });
    }
}

/// Rows of producers that one entry forgets.
const FORGET_ROWS_MAX: usize = 1_000;
/// Room that such an entry takes.
const FORGET_ROOM_BYTES: u64 = 64 * 1024;
