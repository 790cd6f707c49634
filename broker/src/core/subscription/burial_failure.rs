//! Dead letters that could not be made or appended: what stays where it is, and until when.
//!
//! Where nothing can be appended, nothing is moved for a while. A record that cannot be read keeps only its
//! key from the dead letters: the others of its partition go on.

use std::collections::BTreeSet;

use super::Subscription;
use super::dead::BurialWish;
use super::partition::SubscriptionPartition;

/// How long nothing is moved after it could not be, milliseconds.
const PAUSE_MS: i64 = 5_000;

/// Why records could not be moved to the dead letters, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BurialFailure {
    /// Nothing can be moved.
    All(String),
    /// Of each key the first of the records cannot be read.
    Unreadable(String),
}

impl BurialFailure {
    /// Nothing can be moved.
    pub fn of_all(reason: impl ToString) -> Self {
        Self::All(reason.to_string())
    }
}

/// Why something could not be moved, and when it is tried again. Volatile.
#[derive(Debug, Default)]
pub(super) struct BurialProblems {
    /// Nothing is moved before, broker time in milliseconds since the Unix epoch.
    pause_until_ms: Option<i64>,
    /// Why.
    reason: Option<String>,
    /// Why one of the records that could not be read could not.
    unreadable_reason: Option<String>,
}

impl BurialProblems {
    /// What is told of it.
    pub(super) fn reason(&self) -> Option<&String> {
        self.reason.as_ref().or(self.unreadable_reason.as_ref())
    }

    /// When everything is tried again, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.pause_until_ms
    }

    /// Something cannot be moved for now.
    pub(super) fn note(&mut self, reason: &impl ToString) {
        self.reason = Some(reason.to_string());
    }

    /// Something was moved.
    pub(super) fn note_success(&mut self) {
        self.reason = None;
    }
}

impl Subscription {
    /// Whether anything can be moved to the dead letters now. Comes before delivering, which finds what had
    /// to wait until now.
    pub(super) fn may_bury(&mut self, now_ms: i64) -> bool {
        let has_any = self.partitions.iter().any(|it| it.has_burials());
        let problems = &mut self.burial_problems;
        if !has_any {
            // What could not be moved is not there any more.
            problems.reason = None;
        }
        for partition in &mut self.partitions {
            while let Some((offset, key)) = partition.unreadable.take_due(now_ms) {
                partition.waiting.look_at_dying(offset);
                partition.window.keys.line_up(key);
            }
        }
        if self.partitions.iter().all(|it| it.unreadable.is_empty()) {
            // Told until it is known better.
            problems.reason = problems.reason.take().or(problems.unreadable_reason.take());
        }
        if problems.pause_until_ms.is_some_and(|until| now_ms < until) {
            return false;
        }
        problems.pause_until_ms = None;
        for partition in &mut self.partitions {
            partition.burials.is_paused = false;
            for key in std::mem::take(&mut partition.burials.held_keys) {
                partition.window.keys.line_up(key);
            }
        }
        true
    }

    /// Notes that records could not be moved: they stay, and are tried again.
    pub(super) fn burial_failed(&mut self, wish: &BurialWish, failure: BurialFailure, now_ms: i64) {
        let Some(partition) = self.partitions.get_mut(wish.partition as usize) else {
            return;
        };
        if !partition.burials.is_of_now(wish) {
            return;
        }
        match failure {
            BurialFailure::Unreadable(reason) => {
                self.burial_problems.unreadable_reason = Some(reason);
                partition.leave_unreadable(wish, now_ms);
            }
            BurialFailure::All(reason) => {
                let problems = &mut self.burial_problems;
                problems.pause_until_ms = Some(now_ms + PAUSE_MS);
                problems.reason = Some(reason);
                let partitions = self.partitions.iter_mut();
                partitions.for_each(|it| it.burials.is_paused = true);
                if let Some(partition) = self.partition_mut(wish.partition) {
                    partition.call_burials_back();
                }
            }
        }
    }
}

impl SubscriptionPartition {
    /// Leaves records where they are of which the first of each key cannot be read. No other wish holds
    /// records of their keys.
    fn leave_unreadable(&mut self, wish: &BurialWish, now_ms: i64) {
        let mut keys = BTreeSet::new();
        for buried in &wish.records {
            if keys.insert(buried.key) {
                self.unreadable.note(buried.offset, buried.key, now_ms);
            }
        }
        self.leave(&wish.records);
    }
}
