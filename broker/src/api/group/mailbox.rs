//! What a member is still to be told.
//!
//! A member that does not read is told nothing, while its group goes on: it may be moved thousands of
//! times. So of each partition only the latest waits, and never more than a member may own.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tonic::Status;
use towpath_storage::PartitionRef;

use crate::core::{AssignedPartition, CommitVerdict, GroupEvent};
use crate::runtime::command::CommandError;
use crate::runtime::group_command::GroupSink;

/// What the response stream is told.
#[derive(Debug)]
pub(super) enum News {
    /// The member does not own these any more.
    Lost(Vec<PartitionRef>),
    /// It owns these from now on.
    Assigned(Vec<AssignedPartition>),
    /// It should give these back before this broker time in milliseconds since the Unix epoch.
    Revoking {
        partitions: Vec<PartitionRef>,
        deadline_ms: i64,
    },
    /// The verdicts on its oldest commit that was not answered.
    Committed(Verdicts),
    /// The stream ends: another connection of the member has taken over.
    Replaced,
    /// The stream ends: the group is deleted.
    Deleted,
    /// The member says no more: how the stream ends.
    Over(Result<(), Box<Status>>),
}

/// What became of one commit, in the order of its partitions.
pub(super) type Verdicts = Result<Vec<CommitVerdict>, CommandError<Infallible>>;

/// Takes what the sequencer says, and keeps it until the response stream asks. What waits is bounded: by
/// the member's partitions, and by the commits that it may have on the way.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Mail {
    partitions: BTreeMap<PartitionRef, PartitionMail>,
    verdicts: VecDeque<Verdicts>,
    /// The first reason counts.
    end: Option<News>,
}

/// What is to be told of one partition, in this order.
#[derive(Debug, Default)]
struct PartitionMail {
    /// What the member was told before is over.
    is_lost: bool,
    assigned: Option<AssignedPartition>,
    /// Before when it should give it back.
    revoking_ms: Option<i64>,
}

impl Mailbox {
    /// Notes how the stream ends once everything that waits was told.
    pub(super) fn end(&self, end: Result<(), Box<Status>>) {
        self.lock().end.get_or_insert(News::Over(end));
        self.arrived.notify_one();
    }

    /// Waits for news and takes all of it. Safe to drop.
    pub(super) async fn take(&self) -> Vec<News> {
        loop {
            let news = std::mem::take(&mut *self.lock()).into_news();
            if !news.is_empty() {
                return news;
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupSink for Mailbox {
    fn tell(&self, event: GroupEvent) {
        self.lock().take(event);
        self.arrived.notify_one();
    }

    fn answer(&self, verdicts: Verdicts) {
        self.lock().verdicts.push_back(verdicts);
        self.arrived.notify_one();
    }
}

impl Mail {
    fn take(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Assigned(partitions) => {
                for it in partitions {
                    let mail = self.partitions.entry(it.partition).or_default();
                    mail.assigned = Some(it);
                    mail.revoking_ms = None;
                }
            }
            GroupEvent::Revoking {
                partitions,
                deadline_ms,
            } => {
                for it in partitions {
                    self.partitions.entry(it).or_default().revoking_ms = Some(deadline_ms);
                }
            }
            GroupEvent::Lost(partitions) => partitions.into_iter().for_each(|it| self.lose(it)),
            GroupEvent::Replaced => {
                self.end.get_or_insert(News::Replaced);
            }
            GroupEvent::Deleted => {
                self.end.get_or_insert(News::Deleted);
            }
        }
    }

    /// What the member was never told that it owns it need not be told that it has lost.
    fn lose(&mut self, partition: PartitionRef) {
        let mail = self.partitions.entry(partition).or_default();
        mail.is_lost |= mail.assigned.take().is_none();
        mail.revoking_ms = None;
        if !mail.is_lost {
            self.partitions.remove(&partition);
        }
    }

    /// Verdicts first: they are on commits of what the member was told before.
    fn into_news(self) -> Vec<News> {
        let mut news: Vec<_> = self.verdicts.into_iter().map(News::Committed).collect();
        let (mut lost, mut assigned) = (Vec::new(), Vec::new());
        let mut revoking: BTreeMap<i64, Vec<PartitionRef>> = BTreeMap::new();
        for (partition, mail) in self.partitions {
            lost.extend(mail.is_lost.then_some(partition));
            assigned.extend(mail.assigned);
            if let Some(deadline_ms) = mail.revoking_ms {
                revoking.entry(deadline_ms).or_default().push(partition);
            }
        }
        news.extend((!lost.is_empty()).then_some(News::Lost(lost)));
        news.extend((!assigned.is_empty()).then_some(News::Assigned(assigned)));
        let revoking = revoking.into_iter();
        news.extend(revoking.map(|(deadline_ms, partitions)| News::Revoking {
            partitions,
            deadline_ms,
        }));
        news.extend(self.end);
        news
    }
}

#[cfg(test)]
mod tests;
