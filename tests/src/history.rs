//! What clients saw, and the rules that it must keep.
//!
//! A history is a list of events in the order in which one observer noted them. The unit is an *item*:
//! a batch or a single record, with as many offsets as it has records. The checks are linear, since
//! offsets say the order. The rules and their numbers are those of the Jepsen work on log systems and
//! of the table in `docs/testing.md`.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;

pub use check::check;

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
    /// A group's offset was committed, and that was acknowledged.
    Committed {
        /// Which group.
        group: u64,
        /// Of which partition.
        place: Place,
        /// The next offset that the group wants.
        offset: u64,
    },
    /// A group was told where it goes on.
    Resumed {
        /// Which group.
        group: u64,
        /// In which partition.
        place: Place,
        /// From which offset.
        offset: u64,
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
    /// 13: the log start moved past what may go.
    RetainedTooLittle,
    /// 14: the final read does not reach the end.
    Liveness,
    /// 15: an item that was refused for good can be read.
    Dishonest,
    /// 16: what was let go of came back.
    Resurrected,
    /// 17: a part of a request is there at the end, and another is not.
    TornRequest,
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
