//! Where records of a batch are, once it was written.

use towpath_proto::v1;
use towpath_storage::Offset;

use crate::core::{UnwrittenCause, UnwrittenRecord};

/// Where the record of a batch is which has this number in it, counted as it was sent. `base` is the offset of
/// the first that was written, `unwritten` what was left out, in order.
pub(super) fn position(
    partition: u32,
    base: Offset,
    unwritten: &[UnwrittenRecord],
    number: u32,
) -> v1::RecordPosition {
    match unwritten.binary_search_by_key(&number, |it| it.index) {
        Ok(place) => match unwritten[place].cause {
            UnwrittenCause::RepeatedEvent(first) => v1::RecordPosition {
                partition: first.partition,
                offset: first.offset.get(),
                is_repeated: true,
            },
            // INVARIANT: what becomes one entry is refused as a whole if an old version is in it.
            UnwrittenCause::StaleEntityVersion { .. } => v1::RecordPosition::default(),
        },
        Err(left_out) => v1::RecordPosition {
            partition,
            offset: base.advance(u64::from(number) - left_out as u64).get(),
            is_repeated: false,
        },
    }
}

/// A record that was not written, as a producer is told.
pub(super) fn unwritten(record: &UnwrittenRecord) -> v1::UnwrittenRecord {
    use v1::unwritten_record::Cause;
    let cause = match record.cause {
        UnwrittenCause::RepeatedEvent(first) => Cause::RepeatedEvent(v1::RecordPosition {
            partition: first.partition,
            offset: first.offset.get(),
            is_repeated: true,
        }),
        UnwrittenCause::StaleEntityVersion { current } => Cause::StaleEntityVersion(current),
    };
    v1::UnwrittenRecord {
        index: record.index,
        cause: Some(cause),
    }
}
