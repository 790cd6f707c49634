//! Dead letters that could not be made or appended: what stays where it is, and until when.
//!
//! Where nothing can be appended, nothing is moved for a while. A record that cannot be read keeps only its
//! key from the dead letters: the others of its partition go on.

use towpath_storage::Offset;

use super::Subscription;
use super::dead::BurialWish;

/// How long nothing is moved after it could not be, milliseconds.
const PAUSE_MS: i64 = 5_000;
/// How long a record is left alone that could not be read, milliseconds.
const UNREADABLE_MS: i64 = 60_000;

/// Why records could not be moved to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BurialFailure {
    /// For people.
    pub reason: String,
    /// The one record that is to blame, if it is one: it cannot be read.
    pub unreadable: Option<Offset>,
}

impl BurialFailure {
    /// Nothing can be moved.
    pub fn of_all(reason: impl ToString) -> Self {
        Self {
            reason: reason.to_string(),
            unreadable: None,
        }
    }
}

/// Why something could not be moved, and when it is tried again. Volatile.
#[derive(Debug, Default)]
pub(super) struct BurialProblems {
    /// Nothing is moved before, broker time in milliseconds since the Unix epoch.
    pause_until_ms: Option<i64>,
    /// Why.
    reason: Option<String>,
    /// When records that could not be read are tried again, broker time in milliseconds since the Unix
    /// epoch.
    unreadable_until_ms: Option<i64>,
    /// Why one of them could not.
    unreadable_reason: Option<String>,
}

impl BurialProblems {
    /// What is told of it.
    pub(super) fn reason(&self) -> Option<&String> {
        self.reason.as_ref().or(self.unreadable_reason.as_ref())
    }

    /// When something is tried again, broker time in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let due = self.pause_until_ms.into_iter();
        due.chain(self.unreadable_until_ms).min()
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
        if problems.unreadable_until_ms.is_some_and(|it| it <= now_ms) {
            problems.unreadable_until_ms = None;
            // Told until it is known better.
            problems.reason = problems.reason.take().or(problems.unreadable_reason.take());
            for partition in &mut self.partitions {
                for (offset, key) in std::mem::take(&mut partition.unreadable) {
                    partition.waiting.look_at_dying(offset);
                    partition.window.keys.line_up(key);
                }
            }
        }
        let problems = &mut self.burial_problems;
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
        let problems = &mut self.burial_problems;
        let key_of = |offset: &Offset| {
            let mut records = wish.records.iter();
            records.find(|it| it.offset == *offset).map(|it| it.key)
        };
        match failure.unreadable.and_then(|it| Some((it, key_of(&it)?))) {
            Some((offset, key)) => {
                partition.unreadable.insert(offset, key);
                let until_ms = now_ms + UNREADABLE_MS;
                problems.unreadable_until_ms.get_or_insert(until_ms);
                problems.unreadable_reason = Some(failure.reason);
            }
            None => {
                problems.pause_until_ms = Some(now_ms + PAUSE_MS);
                problems.reason = Some(failure.reason);
                let partitions = self.partitions.iter_mut();
                partitions.for_each(|it| it.burials.is_paused = true);
            }
        }
        if let Some(partition) = self.partition_mut(wish.partition) {
            partition.call_burials_back();
        }
    }
}
