//! How much the broker may send to a consumer: credit for what the consumer has room for.

/// So much of the limit is given back at a time, so that not each batch costs a message.
const SHARE: u64 = 4;

/// Larger limits than this are none, and sums of them would overflow.
const LIMIT_MAX: u64 = 1 << 48;

/// What something takes of the room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Cost {
    pub(crate) const fn add(&mut self, more: Self) {
        self.records += more.records;
        self.bytes += more.bytes;
    }
}

/// Credit of one stream after the other.
#[derive(Debug)]
pub(crate) struct Flow {
    max: Cost,
    /// What came and is still there.
    held: Cost,
    /// To be given to the broker.
    owed: Cost,
}

impl Flow {
    pub(crate) fn new(max: Cost) -> Self {
        let max = Cost {
            records: max.records.clamp(1, LIMIT_MAX),
            bytes: max.bytes.clamp(1, LIMIT_MAX),
        };
        Self {
            max,
            held: Cost {
                records: 0,
                bytes: 0,
            },
            owed: max,
        }
    }

    /// A new stream begins without credit.
    pub(crate) const fn begin(&mut self) {
        self.owed = Cost {
            records: self.max.records.saturating_sub(self.held.records),
            bytes: self.max.bytes.saturating_sub(self.held.bytes),
        };
    }

    /// Something came.
    pub(crate) const fn hold(&mut self, cost: Cost) {
        self.held.records += cost.records;
        self.held.bytes += cost.bytes;
    }

    /// Something is not there any more.
    pub(crate) const fn release(&mut self, cost: Cost) {
        self.held.records = self.held.records.saturating_sub(cost.records);
        self.held.bytes = self.held.bytes.saturating_sub(cost.bytes);
        self.refund(cost);
    }

    /// Something came that is not kept.
    pub(crate) const fn refund(&mut self, cost: Cost) {
        self.owed.records += cost.records;
        self.owed.bytes += cost.bytes;
    }

    /// Whether there is credit that is worth a message.
    pub(crate) const fn is_due(&self) -> bool {
        self.owed.records * SHARE >= self.max.records || self.owed.bytes * SHARE >= self.max.bytes
    }

    /// Whether the broker has no credit left, and gets none before more is released.
    pub(crate) const fn is_spent(&self) -> bool {
        let records = self.held.records + self.owed.records;
        let bytes = self.held.bytes + self.owed.bytes;
        !self.is_due() && (records >= self.max.records || bytes >= self.max.bytes)
    }

    /// Takes what is to be given to the broker.
    pub(crate) const fn take_credit(&mut self) -> Cost {
        std::mem::replace(
            &mut self.owed,
            Cost {
                records: 0,
                bytes: 0,
            },
        )
    }
}
