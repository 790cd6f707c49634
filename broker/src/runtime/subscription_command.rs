//! Commands about durable subscriptions.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Lsn, Offset, OffsetRange, TopicId};

use super::command::{Answer, CommandError, fail};
use super::subscription_question::SubscriptionQuestion;
use crate::core::{
    Connect, ConnectRefusal, ConsumerDeparture, ConsumerId, CreateSubscription,
    CreateSubscriptionRefusal, Credit, DeadLetter, DeadLetterCounts, DeleteSubscription,
    DeleteSubscriptionRefusal, Hold, Inspected, OpenDeadLetters, SeekSubscription,
    SeekSubscriptionRefusal, SessionId, Settlement, SoughtSubscriptionPartition,
    SubscriptionConfig, SubscriptionDescription, SubscriptionEvent, SubscriptionId,
    SubscriptionNotFound, SubscriptionProgress, UpdateSubscription, UpdateSubscriptionRefusal,
};

/// Settlements that one command may hold.
pub const SETTLEMENTS_MAX: usize = 64;
/// Records that the settlements of one command may name together, so that its entries stay short.
pub const SETTLED_RECORDS_MAX: u64 = 512;
/// The same of records that failed, each of which gets a row.
pub const FAILED_RECORDS_MAX: u64 = 20;

/// Dead letters that one command may look for.
pub const DEAD_LETTERS_LOOKED_AT_MAX: usize = 1_000;

/// What becomes of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterVerdict {
    /// They are delivered again.
    Redrive,
    /// They are, if their key has had a dead letter before this offset, and one ever since.
    RedriveBehind(Offset),
    /// They are done with.
    Discard,
}

/// Partitions that one command may move, so that its entry stays short.
pub const SEEK_PARTITIONS_MAX: usize = 500;

/// Where a consumer's connection hears of its records. Called by the sequencer after the sync; must not
/// block.
pub trait SubscriptionSink: Send + Sync + fmt::Debug {
    /// Takes an event. Everything up to `lsn` was taken into account, and is durable.
    fn tell(&self, event: SubscriptionEvent, lsn: Lsn);

    /// Takes what of the settlements of one command the consumer did not have any more, in the order of the
    /// commands.
    fn answer(&self, expired: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>);
}

/// A subscription that was created, or was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSubscription {
    /// What it is.
    pub subscription: SubscriptionDescription,
    /// Whether it was there before.
    pub existed: bool,
}

/// What a consumer is let into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its topic.
    pub topic: TopicId,
    /// The topic of its dead letters.
    pub dead_letter_topic: TopicId,
    /// What it is.
    pub config: SubscriptionConfig,
}

/// Why a consumer is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is no such subscription.
    #[error(transparent)]
    NotFound(#[from] SubscriptionNotFound),
    /// It does not take the consumer.
    #[error(transparent)]
    Refused(#[from] ConnectRefusal),
}

/// A page of subscriptions.
#[derive(Debug, Clone)]
pub struct SubscriptionPage {
    /// In the order of their names, without consumers and partitions.
    pub subscriptions: Vec<SubscriptionDescription>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// A command about a subscription.
#[derive(Debug)]
pub enum SubscriptionCommand {
    /// Create one.
    Create {
        /// Which, and how.
        wish: Box<CreateSubscription>,
        /// Only say whether it would be created.
        is_dry_run: bool,
        /// Where the answer goes: what there is then.
        answer: Answer<CreatedSubscription, CreateSubscriptionRefusal>,
    },
    /// Change the settings of one.
    Update {
        /// Which, and how.
        wish: Box<UpdateSubscription>,
        /// Only say what they would be.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<SubscriptionDescription, UpdateSubscriptionRefusal>,
    },
    /// Move one.
    Seek {
        /// Which, and where to. At most [`SEEK_PARTITIONS_MAX`] partitions.
        wish: SeekSubscription,
        /// Only say what would happen.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<Vec<SoughtSubscriptionPartition>, SeekSubscriptionRefusal>,
    },
    /// Pause one, or let it go on.
    Pause {
        /// Which.
        name: SubscriptionName,
        /// Which of both.
        is_paused: bool,
        /// Where the answer goes.
        answer: Answer<(), SubscriptionNotFound>,
    },
    /// Delete one.
    Delete {
        /// Which, and what goes with it.
        wish: DeleteSubscription,
        /// Only say whether it would be deleted.
        is_dry_run: bool,
        /// Where the answer goes.
        answer: Answer<(), DeleteSubscriptionRefusal>,
    },
    /// A consumer connects.
    Connect {
        /// To what.
        name: SubscriptionName,
        /// Only if it has this number.
        id: Option<SubscriptionId>,
        /// Who, and how.
        wish: Box<Connect>,
        /// Where its connection hears of its records.
        sink: Arc<dyn SubscriptionSink>,
        /// Where the answer goes.
        answer: Answer<Connected, ConnectError>,
    },
    /// A consumer allows more to be sent.
    Credit {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Which consumer.
        consumer: ConsumerId,
        /// How much more.
        more: Credit,
    },
    /// A consumer takes no more, and gives back what it has not begun with.
    Stop {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Which consumer.
        consumer: ConsumerId,
    },
    /// A consumer settles records.
    Settle {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// What it says, within [`SETTLEMENTS_MAX`], [`SETTLED_RECORDS_MAX`] and [`FAILED_RECORDS_MAX`].
        settlements: Vec<Settlement>,
        /// Where the answer goes.
        sink: Arc<dyn SubscriptionSink>,
    },
    /// A consumer's connection has ended.
    Disconnect {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Which consumer.
        consumer: ConsumerId,
        /// The connection.
        session: SessionId,
        /// How it ended.
        departure: ConsumerDeparture,
    },
    /// A consumer that was let in is not there any more: its call was given up before it heard of that.
    Abandon {
        /// Of which subscription.
        name: SubscriptionName,
        /// Which consumer.
        consumer: ConsumerId,
        /// The connection.
        session: SessionId,
    },
    /// Records were inspected.
    Inspected {
        /// For which subscription.
        subscription: SubscriptionId,
        /// What was found.
        found: Inspected,
    },
    /// Ask about single records of one.
    Ask(SubscriptionQuestion),
    /// Look for dead letters that are not settled.
    LookAtDeadLetters {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Number of their partition.
        partition: u32,
        /// Where. All of it exists.
        range: OffsetRange,
        /// Most dead letters, up to [`DEAD_LETTERS_LOOKED_AT_MAX`].
        count_max: usize,
        /// Where the answer goes; none if there is no such subscription.
        answer: Answer<Option<OpenDeadLetters>, Infallible>,
    },
    /// Deliver dead letters again, or settle them.
    MoveDeadLetters {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Number of their partition.
        partition: u32,
        /// Which, in their order. At most [`REDRIVEN_RECORDS_MAX`](crate::core::REDRIVEN_RECORDS_MAX).
        letters: Vec<DeadLetter>,
        /// Which of these.
        verdict: DeadLetterVerdict,
        /// Where the answer goes; none if there is no such subscription.
        answer: Answer<Option<DeadLetterCounts>, Infallible>,
    },
    /// Show one.
    Get {
        /// Which.
        name: SubscriptionName,
        /// Where the answer goes.
        answer: Answer<(SubscriptionDescription, Hold), SubscriptionNotFound>,
    },
    /// Tell how far they have come.
    Watch {
        /// Those behind this name.
        after: Option<SubscriptionName>,
        /// Subscriptions until they have so many partitions, one at least.
        partition_count_max: usize,
        /// Where the answer goes: nothing if there are no more.
        answer: Answer<Vec<SubscriptionProgress>, Infallible>,
    },
    /// Show a page of them.
    List {
        /// Those behind this name.
        after: Option<SubscriptionName>,
        /// Only names that begin with this.
        prefix: String,
        /// Only those of this topic.
        topic: Option<TopicId>,
        /// Most subscriptions.
        count_max: usize,
        /// Where the answer goes.
        answer: Answer<SubscriptionPage, Infallible>,
    },
}

impl SubscriptionCommand {
    /// Answers that the broker stops, or that the disk failed.
    pub(super) fn fail(self, is_begun: bool) {
        match self {
            Self::Create { answer, .. } => fail(answer, is_begun),
            Self::Update { answer, .. } => fail(answer, is_begun),
            Self::Seek { answer, .. } => fail(answer, is_begun),
            Self::Pause { answer, .. } => fail(answer, is_begun),
            Self::Delete { answer, .. } => fail(answer, is_begun),
            Self::Connect { answer, .. } => fail(answer, is_begun),
            Self::Settle { sink, .. } => sink.answer(Err(if is_begun {
                CommandError::Failed
            } else {
                CommandError::ShuttingDown
            })),
            Self::Ask(question) => question.fail(is_begun),
            Self::LookAtDeadLetters { answer, .. } => fail(answer, is_begun),
            Self::MoveDeadLetters { answer, .. } => fail(answer, is_begun),
            Self::Get { answer, .. } => fail(answer, is_begun),
            Self::List { answer, .. } => fail(answer, is_begun),
            Self::Watch { answer, .. } => fail(answer, is_begun),
            Self::Credit { .. }
            | Self::Stop { .. }
            | Self::Disconnect { .. }
            | Self::Abandon { .. }
            | Self::Inspected { .. } => {}
        }
    }
}
