//! How much the broker may send: credit for what was taken out of the buffer.

use towpath_proto::v1;

/// So much of the limit is given back at a time, so that not each batch costs a message.
const SHARE: u64 = 4;

/// Larger limits than this are none, and sums of them would overflow.
pub(super) const LIMIT_MAX: u64 = 1 << 48;

/// What something takes of the buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Credit of one stream after the other.
#[derive(Debug)]
pub(super) struct Flow {
    max: Cost,
    buffered: Cost,
    /// To be given to the broker.
    owed: Cost,
}

impl Flow {
    pub(super) const fn new(max: Cost) -> Self {
        Self {
            max,
            buffered: Cost {
                records: 0,
                bytes: 0,
            },
            owed: max,
        }
    }

    /// A new stream begins without credit.
    pub(super) const fn begin(&mut self) {
        self.owed = Cost {
            records: self.max.records.saturating_sub(self.buffered.records),
            bytes: self.max.bytes.saturating_sub(self.buffered.bytes),
        };
    }

    /// Something was put into the buffer.
    pub(super) const fn hold(&mut self, cost: Cost) {
        self.buffered.records += cost.records;
        self.buffered.bytes += cost.bytes;
    }

    /// Something was taken out of the buffer.
    pub(super) const fn release(&mut self, cost: Cost) {
        self.buffered.records = self.buffered.records.saturating_sub(cost.records);
        self.buffered.bytes = self.buffered.bytes.saturating_sub(cost.bytes);
        self.refund(cost);
    }

    /// Something was sent that did not get into the buffer.
    pub(super) const fn refund(&mut self, cost: Cost) {
        self.owed.records += cost.records;
        self.owed.bytes += cost.bytes;
    }

    /// Whether there is credit that is worth a message.
    pub(super) const fn is_due(&self) -> bool {
        self.owed.records * SHARE >= self.max.records || self.owed.bytes * SHARE >= self.max.bytes
    }

    pub(super) const fn take_credit(&mut self) -> v1::GroupCredit {
        let owed = std::mem::replace(
            &mut self.owed,
            Cost {
                records: 0,
                bytes: 0,
            },
        );
        v1::GroupCredit {
            records: owed.records,
            bytes: owed.bytes,
        }
    }
}
