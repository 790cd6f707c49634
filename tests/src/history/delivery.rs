//! What happens to the records of a durable subscription, as its consumers and whoever looks into its dead
//! letters see it.

/// A record as a subscription has it: of its topic, or one of its dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// Number of the partition, the same in the topic and among the dead letters.
    pub partition: u32,
    /// Whether it is a dead letter.
    pub is_letter: bool,
    /// Its offset, in the topic or among the dead letters.
    pub offset: u64,
}

/// What a consumer says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// It was handled.
    Ack,
    /// Handling it failed.
    Nack,
    /// It was not handled.
    Release,
    /// It cannot be handled.
    DeadLetter,
    /// Handling it begins.
    Start,
    /// Handling it takes longer.
    Extend,
}

/// What is asked for a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is delivered again.
    Redrive,
    /// It is done with.
    Discard,
    /// It is done with, since the same entry appends it as the item of this value.
    Republish {
        /// Value of the item.
        value: u64,
    },
}

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// It waits to be looked at.
    Dead,
    /// It is on its way back.
    Redriven,
    /// It was handled, discarded or republished.
    Settled,
}

/// What happens in one subscription. Consumers are numbers, each for one identity; times are broker time in
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// It was seen for the first time.
    Began {
        /// The number of its topic.
        topic: u64,
        /// Whether the records of a key are handled in their order.
        is_ordered: bool,
        /// Whether later records of a key that has a dead letter follow it.
        parks: bool,
        /// Failures after which a record is dead.
        attempts_max: u32,
    },
    /// Failures after which a record is dead may be others from now on.
    AttemptsMax {
        /// How many.
        attempts_max: u32,
    },
    /// A partition is to be put somewhere.
    SeekSent {
        /// Which.
        partition: u32,
        /// The next record that is wanted.
        offset: u64,
    },
    /// A partition was put there: by a seek that was acknowledged, or because the subscription begins.
    Sought {
        /// Which.
        partition: u32,
        /// The next record that is wanted.
        offset: u64,
    },
    /// A consumer was told that it has a record.
    Delivered {
        /// Which record.
        unit: Unit,
        /// Who.
        consumer: u64,
        /// With which delivery.
        delivery: u64,
        /// Which attempt it is, from 1.
        attempt: u32,
        /// Whether it counts as begun.
        has_begun: bool,
        /// Whether it came alone: then it may count as begun, to find out which one kills its consumer.
        is_alone: bool,
        /// When.
        time_ms: i64,
    },
    /// A consumer was told that it has a record no more.
    Lost {
        /// Which record.
        unit: Unit,
        /// Who.
        consumer: u64,
    },
    /// A consumer is about to say something of a record.
    Said {
        /// A number of its own.
        number: u64,
        /// Which record.
        unit: Unit,
        /// Who.
        consumer: u64,
        /// The delivery that it names.
        delivery: u64,
        /// What.
        word: Word,
    },
    /// What was said is durable.
    Answered {
        /// Its number.
        number: u64,
        /// The consumer did not have the record any more: nothing happened.
        is_expired: bool,
    },
    /// A consumer allows nothing more to be sent, and gives back what it has not begun with.
    Stopped {
        /// Who.
        consumer: u64,
    },
    /// A consumer's connection is about to end, or to be replaced by another one of the same consumer.
    Parted {
        /// Who.
        consumer: u64,
        /// From when on others may get what it has begun with; none if it keeps that until it expires.
        free_from_ms: Option<i64>,
    },
    /// A dead letter was read in the topic of the dead letters.
    Buried {
        /// Number of the partition.
        partition: u32,
        /// Its offset there.
        letter: u64,
        /// The offset of its record in the topic.
        offset: u64,
        /// It is only behind a dead one of its key.
        is_parked: bool,
    },
    /// Something is to be done with a dead letter.
    Asked {
        /// Number of the partition.
        partition: u32,
        /// Its offset among the dead letters.
        letter: u64,
        /// What.
        deed: Deed,
    },
    /// That it was done is durable.
    Done {
        /// Number of the partition.
        partition: u32,
        /// Its offset among the dead letters.
        letter: u64,
        /// What.
        deed: Deed,
    },
    /// It was seen where a dead letter stands.
    Seen {
        /// Number of the partition.
        partition: u32,
        /// Its offset among the dead letters.
        letter: u64,
        /// Where.
        state: LetterState,
    },
    /// It may be deleted from now on: nothing more is expected of it.
    Ended,
    /// At the end, after everything was delivered that there was: nothing is left to be done.
    Finished,
}
