//! Questions about single records of subscriptions: answered from the state, with bounded work.

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, TopicId};

use super::command::{Answer, CommandError, fail, send};
use crate::core::{
    AppendRefusal, DeadLetterState, ExplainedKey, ListPending, PendingPage, PendingRecord,
    RecordExplanation, State, Subscription, SubscriptionNotFound,
};

/// Where a dead letter stands, with what is known of it if it is delivered again.
pub type LetterStanding = (DeadLetterState, Option<PendingRecord>);

/// A question about records of a subscription.
#[derive(Debug)]
pub enum SubscriptionQuestion {
    /// What is with consumers, and what waits.
    Pending {
        /// Of which.
        name: SubscriptionName,
        /// Which page.
        wish: ListPending,
        /// Where the answer goes.
        answer: Answer<PendingPage, SubscriptionNotFound>,
    },
    /// Where one record is, and why.
    Record {
        /// Of which.
        name: SubscriptionName,
        /// Number of the partition.
        partition: u32,
        /// Offset of the record.
        offset: Offset,
        /// Its key.
        key: ExplainedKey,
        /// Where the answer goes; none if there is no such partition.
        answer: Answer<Option<RecordExplanation>, SubscriptionNotFound>,
    },
    /// Where a dead letter stands.
    Letter {
        /// Of which.
        name: SubscriptionName,
        /// Number of the partition.
        partition: u32,
        /// Its offset among the dead letters.
        offset: Offset,
        /// Where the answer goes.
        answer: Answer<LetterStanding, SubscriptionNotFound>,
    },
    /// Whether a topic takes records that are no dead letters.
    Taker {
        /// Which topic.
        topic: TopicId,
        /// Where the answer goes.
        answer: Answer<(), AppendRefusal>,
    },
}

/// An answer that rests on what is not durable yet.
#[derive(Debug)]
pub(super) enum AnsweredQuestion {
    Pending(
        Answer<PendingPage, SubscriptionNotFound>,
        Result<PendingPage, SubscriptionNotFound>,
    ),
    Record(
        Answer<Option<RecordExplanation>, SubscriptionNotFound>,
        Result<Option<RecordExplanation>, SubscriptionNotFound>,
    ),
    Letter(
        Answer<LetterStanding, SubscriptionNotFound>,
        Result<LetterStanding, SubscriptionNotFound>,
    ),
    Taker(Answer<(), AppendRefusal>, Result<(), AppendRefusal>),
}

impl SubscriptionQuestion {
    /// Looks up the answer.
    pub(super) fn ask(self, state: &State, now_ms: i64) -> AnsweredQuestion {
        match self {
            Self::Pending { name, wish, answer } => {
                let page = find(state, name).map(|it| it.pending(&wish, now_ms));
                AnsweredQuestion::Pending(answer, page)
            }
            Self::Record {
                name,
                partition,
                offset,
                key,
                answer,
            } => {
                let found = find(state, name);
                let found = found.map(|it| it.explain(partition, offset, &key, now_ms));
                AnsweredQuestion::Record(answer, found)
            }
            Self::Letter {
                name,
                partition,
                offset,
                answer,
            } => {
                let found =
                    find(state, name).map(|it| it.explain_letter(partition, offset, now_ms));
                AnsweredQuestion::Letter(answer, found)
            }
            Self::Taker { topic, answer } => {
                AnsweredQuestion::Taker(answer, state.takes_records(topic))
            }
        }
    }

    /// Answers that the broker stops, or that the disk failed.
    pub(super) fn fail(self, is_begun: bool) {
        match self {
            Self::Pending { answer, .. } => fail(answer, is_begun),
            Self::Record { answer, .. } => fail(answer, is_begun),
            Self::Letter { answer, .. } => fail(answer, is_begun),
            Self::Taker { answer, .. } => fail(answer, is_begun),
        }
    }
}

fn find(state: &State, name: SubscriptionName) -> Result<&Subscription, SubscriptionNotFound> {
    let found = state.subscription_named(&name);
    found.ok_or(SubscriptionNotFound { name })
}

impl AnsweredQuestion {
    pub(super) fn send(self) {
        match self {
            Self::Pending(answer, result) => send(answer, result.map_err(CommandError::Refused)),
            Self::Record(answer, result) => send(answer, result.map_err(CommandError::Refused)),
            Self::Letter(answer, result) => send(answer, result.map_err(CommandError::Refused)),
            Self::Taker(answer, result) => send(answer, result.map_err(CommandError::Refused)),
        }
    }

    pub(super) fn fail(self) {
        match self {
            Self::Pending(answer, _) => send(answer, Err(CommandError::Failed)),
            Self::Record(answer, _) => send(answer, Err(CommandError::Failed)),
            Self::Letter(answer, _) => send(answer, Err(CommandError::Failed)),
            Self::Taker(answer, _) => send(answer, Err(CommandError::Failed)),
        }
    }
}
