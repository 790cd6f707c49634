//! What clients saw, and the rules that it must keep.
//!
//! A history is a list of events in the order in which one observer noted them. The unit is an *item*:
//! a batch or a single record, with as many offsets as it has records. The checks are linear, since
//! offsets say the order. The rules and their numbers are those of the Jepsen work on log systems and
//! of the table in `docs/testing.md`.

mod check;
mod delivery;
mod delivery_check;
#[cfg(test)]
mod delivery_tests;
mod entity;
#[cfg(test)]
mod entity_tests;
mod forward;
#[cfg(test)]
mod forward_tests;
mod group_check;
#[cfg(test)]
mod group_tests;
mod schedule;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod tests;

use std::fmt;

pub use check::check;
pub use delivery::{Deed, DeliveryEvent, LetterState, Unit, Word};
pub use entity::{EntityEvent, PassEvent};
pub use forward::{ForwardEvent, Source};
pub use schedule::ScheduleEvent;

/// One partition of one life of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic's number.
    pub topic: u64,
    /// The partition.
    pub partition: u32,
}

/// Which item: the sequence counts what one producer sends to one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// Who sent it.
    pub producer: u64,
    /// Where to.
    pub place: Place,
    /// Its number among those, rising in the order of sending.
    pub sequence: u64,
}

/// Something that a client did or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An item is about to be sent.
    Sent {
        /// Which.
        item: Item,
        /// Digest of its content, different for every item.
        value: u64,
        /// Number of its records.
        records: u64,
    },
    /// An item belongs to a request that is written as a whole or not at all.
    Together {
        /// Which request; each has a number of its own.
        request: u64,
        /// Which item.
        item: Item,
    },
    /// An item was acknowledged.
    Accepted {
        /// Which.
        item: Item,
        /// Offset of its first record.
        offset: u64,
    },
    /// An item was refused, and it was promised that nothing happened.
    Refused {
        /// Which.
        item: Item,
    },
    /// A reader starts, or starts over, at an offset.
    ReadFrom {
        /// Which reader.
        reader: u64,
        /// Where.
        place: Place,
        /// The offset that it asks for.
        offset: u64,
    },
    /// A reader got an item.
    Read {
        /// Which reader.
        reader: u64,
        /// Where.
        place: Place,
        /// Offset of its first record.
        offset: u64,
        /// Digest of its content.
        value: u64,
        /// Number of its records.
        records: u64,
    },
    /// A reader was told that offsets hold nothing any more.
    Gap {
        /// Which reader.
        reader: u64,
        /// Where.
        place: Place,
        /// First offset.
        start: u64,
        /// One past the last.
        end: u64,
        /// Why.
        reason: GapReason,
    },
    /// Records below an offset may go from now on, by retention, trim or deletion.
    MayGo {
        /// Where.
        place: Place,
        /// One past the last that may go.
        below: u64,
    },
    /// Somebody is about to trim a partition: then subscriptions do not hold what is below either.
    TrimSent {
        /// Where.
        place: Place,
        /// One past the last that is to go.
        below: u64,
    },
    /// Something about a consumer group.
    Group {
        /// Which group.
        group: u64,
        /// In which partition.
        place: Place,
        /// What.
        event: GroupEvent,
    },
    /// Members or partitions of a group are others than before.
    GroupChanged {
        /// Which group.
        group: u64,
    },
    /// A member's connection is about to end.
    MemberGone {
        /// Of which group.
        group: u64,
        /// Which member.
        member: u64,
        /// Broker time in milliseconds from which on others may get what it has.
        free_from_ms: i64,
    },
    /// The broker has ended, and all connections with it.
    BrokerGone {
        /// Broker time in milliseconds from which on others may get what its members had.
        free_from_ms: i64,
    },
    /// That a group is deleted was acknowledged. Its number is never seen again.
    GroupDeleted {
        /// Which group.
        group: u64,
    },
    /// A record was read with its key: before anything else is told of it.
    Keyed {
        /// Where.
        place: Place,
        /// Its offset.
        offset: u64,
        /// Its key; none if it is a key of its own.
        key: Option<u64>,
    },
    /// Something about a durable subscription.
    Subscription {
        /// Which subscription.
        subscription: u64,
        /// What.
        event: DeliveryEvent,
    },
    /// Something about a scheduled record.
    Schedule {
        /// Which; each has a number of its own.
        record: u64,
        /// What.
        event: ScheduleEvent,
    },
    /// Due records could not be read or appended: they come later.
    SchedulesSetAside {
        /// When that was, broker time in milliseconds.
        time_ms: i64,
    },
    /// Something about a record of a key, in a topic that looks at keys.
    Entity {
        /// In which partition.
        place: Place,
        /// Which; each has a number of its own.
        record: u64,
        /// What.
        event: EntityEvent,
    },
    /// A reader goes through all of such a partition.
    Pass {
        /// Which pass; each has a number of its own.
        pass: u64,
        /// Which partition.
        place: Place,
        /// What it does.
        event: PassEvent,
    },
    /// Something about a commit that handles records.
    Forward {
        /// Which; each has a number of its own.
        commit: u64,
        /// What.
        event: ForwardEvent,
    },
    /// It was seen where somebody is who handles all records of a partition in their order, by commits.
    ForwardsAt {
        /// Who: see [`Source::lane`].
        lane: u64,
        /// Which partition.
        place: Place,
        /// The next record that it handles.
        offset: u64,
    },
    /// At the end somebody counts as done with a partition, and what commits append was read.
    ForwardsEnd {
        /// Who: see [`Source::lane`].
        lane: u64,
        /// Which partition.
        place: Place,
        /// One past its last record.
        end: u64,
    },
    /// It was seen, or acknowledged, that a partition starts here. From now on nobody gets what is below.
    Starts {
        /// Where.
        place: Place,
        /// Lowest offset that may be read.
        log_start: u64,
    },
    /// At the end, after all faults were healed: the bounds of a partition. What the reader with the
    /// number [`FINAL_READER`] got is everything between them.
    Final {
        /// Where.
        place: Place,
        /// Lowest offset that may be read.
        log_start: u64,
        /// One past the last record.
        end: u64,
    },
}

/// What happens in one partition of a group. Members are numbers, each for one identity; times are broker
/// time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupEvent {
    /// The group is to be put somewhere.
    SeekSent {
        /// The next offset that it wants.
        offset: u64,
    },
    /// It was put there: by a seek that was acknowledged, or because it begins.
    Sought {
        /// The next offset that it wants.
        offset: u64,
    },
    /// It was seen where the group is.
    Resumed {
        /// The next offset that it wants.
        offset: u64,
    },
    /// A member was told that the partition is its own.
    Assigned {
        /// Who.
        member: u64,
        /// In which generation.
        generation: u64,
        /// Where it goes on.
        offset: u64,
        /// When.
        time_ms: i64,
    },
    /// A member was told to give the partition back.
    Revoking {
        /// Who.
        member: u64,
        /// When it loses the partition.
        deadline_ms: i64,
    },
    /// A member was told that the partition is its own no longer.
    Lost {
        /// Who.
        member: u64,
        /// When.
        time_ms: i64,
    },
    /// A member is about to give the partition back.
    Returned {
        /// Who.
        member: u64,
        /// The generation in which it got it.
        generation: u64,
    },
    /// A member is done with records, or was told that they are gone.
    Handled {
        /// First offset.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// A member is about to commit.
    CommitSent {
        /// A number of its own.
        commit: u64,
        /// Who.
        member: u64,
        /// In which generation.
        generation: u64,
        /// The next offset that it wants.
        offset: u64,
    },
    /// A commit was acknowledged.
    Committed {
        /// Its number.
        commit: u64,
        /// Where the group is, as it was told.
        offset: u64,
    },
}

/// The reader that reads everything at the end.
pub const FINAL_READER: u64 = u64::MAX;

/// Why offsets hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// They were let go on purpose.
    Trimmed,
    /// They were lost to damage.
    DataLoss,
}

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// 1: an acknowledged item is not readable at the end.
    LostWrite,
    /// 2: something was read that was never sent.
    Phantom,
    /// 3: one item lies at two offsets.
    Duplicate,
    /// 4: one offset held two values, ever.
    InconsistentOffset,
    /// 5: something was read once and is gone at the end.
    VanishedRead,
    /// 6: items of one producer lie in another order than they were sent.
    Order,
    /// 7: a reader skipped offsets, or got them again, within one session.
    PollSkip,
    /// 8: a group goes on below an offset that it had committed.
    CommitRegression,
    /// 9: a record came again whose settlement had been confirmed.
    SettledAgain,
    /// 10: a partition has two owners in one generation, or a record is with two consumers.
    TwoOwners,
    /// 11: attempts at a record went back, or one was counted for nothing.
    Attempts,
    /// 12: a record that was spent is not among the dead letters exactly once, or a dead letter moved by
    /// itself.
    DeadLetters,
    /// 13: the log start moved past what may go.
    RetainedTooLittle,
    /// 14: the final read does not reach the end.
    Liveness,
    /// 15: an item that was refused for good can be read.
    Dishonest,
    /// 16: what was let go of came back.
    Resurrected,
    /// 17: a group goes on beyond records that none of its members handled.
    GroupSkip,
    /// 18: a commit was accepted of who did not own the partition any more.
    StaleCommit,
    /// 19: a partition was taken from a member that had not given it back and whose time was not over.
    TakenEarly,
    /// 20: a member was stopped for nothing: what it had to give back, it got again.
    Disturbed,
    /// 21: a part of a request is there at the end, and another is not.
    TornRequest,
    /// 22: a record of a key was delivered, or became a dead letter, before an earlier one of it was done
    /// with.
    Overtaken,
    /// 23: a subscription was done with a record that nobody had settled.
    Unhandled,
    /// 24: a consumer was told that it had not what it had.
    Disowned,
    /// 25: a scheduled record came before it was due.
    Early,
    /// 26: a scheduled record never came, came twice, for another time than was told, or although it was
    /// cancelled.
    Unkept,
    /// 27: scheduled records of a partition came in another order than they were due.
    DueOrder,
    /// 28: a reader did not find the last record of a key, or a newer one.
    KeyLost,
    /// 29: a tombstone went before what it stands for.
    KeyBack,
    /// 30: versions of a key that are not dense, or a record that was accepted although its key had another
    /// version than it expected, or refused although it had that one.
    Versions,
    /// 31: a record for which commits appended more than one, or none.
    Once,
}

/// A broken rule and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}
