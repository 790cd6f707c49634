//! The last records of several partitions, counted back in the order of their LSN.
//!
//! Each partition is known from some offset to its end. As long as that is not enough, the partition
//! that is known least far back, by LSN, is read further. So what is read is about what is asked for.

use std::sync::Arc;

use towpath_storage::{
    Frame, LogReader, Lsn, Offset, OffsetRange, PartitionLog, ReadLimit, StorageError, TailRead,
};

use super::{Bounds, PositionError, Reading};

/// Records that are first looked at in each partition, at least.
const WINDOW_MIN: u64 = 64;
/// Read at once.
const READ_BYTES: usize = 256 * 1024;

/// The records of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    lsn: Lsn,
    range: OffsetRange,
}

/// What is known of the end of one partition.
#[derive(Debug)]
struct Suffix {
    partition: u32,
    log: Arc<PartitionLog>,
    bounds: OffsetRange,
    /// Everything from here on is known.
    from: Offset,
    /// Ascending.
    spans: Vec<Span>,
    /// Records to look at next.
    window: u64,
}

/// Where to begin in each partition so that `count` records are read, or all there are.
pub(super) async fn find(
    reading: &Reading,
    partitions: &[Bounds],
    count: u64,
) -> Result<Vec<Offset>, PositionError> {
    let share = count / partitions.len().max(1) as u64;
    let mut suffixes: Vec<_> = partitions
        .iter()
        .map(|it| Suffix::new(it, share.max(WINDOW_MIN)))
        .collect();
    if count > 0 {
        for suffix in &mut suffixes {
            suffix.extend(reading).await?;
        }
    }
    while let Some(least) = suffixes.iter_mut().max_by_key(|it| it.known_from()) {
        let known_from = least.known_from();
        if known_from == Lsn::ZERO || count_from(&suffixes, known_from) >= count {
            return Ok(choose(&suffixes, known_from, count));
        }
        let least = suffixes.iter_mut().max_by_key(|it| it.known_from());
        if let Some(least) = least {
            least.extend(reading).await?;
        }
    }
    Ok(Vec::new())
}

/// Records of entries from `lsn` on.
fn count_from(suffixes: &[Suffix], lsn: Lsn) -> u64 {
    let spans = suffixes.iter().flat_map(|suffix| &suffix.spans);
    spans
        .filter(|span| span.lsn >= lsn)
        .map(|span| span.range.end.since(span.range.start))
        .sum()
}

/// Takes the last `count` records of entries from `lsn` on.
fn choose(suffixes: &[Suffix], lsn: Lsn, count: u64) -> Vec<Offset> {
    let mut starts: Vec<_> = suffixes.iter().map(|suffix| suffix.bounds.end).collect();
    let mut spans: Vec<_> = suffixes
        .iter()
        .zip(0..)
        .flat_map(|(suffix, number)| suffix.spans.iter().map(move |span| (span, number)))
        .filter(|(span, _)| span.lsn >= lsn)
        .collect();
    spans.sort_by_key(|(span, number): &(&Span, usize)| (span.lsn, *number));
    let mut left = count;
    for (span, number) in spans.into_iter().rev() {
        let taken = span.range.end.since(span.range.start).min(left);
        if taken == 0 {
            break;
        }
        if let Some(start) = starts.get_mut(number) {
            *start = Offset::new(span.range.end.get() - taken);
        }
        left -= taken;
    }
    starts
}

impl Suffix {
    fn new(bounds: &Bounds, window: u64) -> Self {
        Self {
            partition: bounds.partition,
            log: Arc::clone(&bounds.log),
            bounds: bounds.range(),
            from: bounds.end,
            spans: Vec::new(),
            window,
        }
    }

    /// Every record of entries from this one on is known; 0 if all are.
    fn known_from(&self) -> Lsn {
        if self.from <= self.bounds.start {
            return Lsn::ZERO;
        }
        self.spans
            .first()
            .map_or(Lsn::new(u64::MAX), |span| span.lsn)
    }

    /// Looks further back.
    async fn extend(&mut self, reading: &Reading) -> Result<(), PositionError> {
        let start = Offset::new(self.from.get().saturating_sub(self.window));
        let wanted = OffsetRange {
            start: start.max(self.bounds.start),
            end: self.from,
        };
        let log = Arc::clone(&self.log);
        let before = reading
            .run(move |reader| read_spans(reader, &log, wanted))
            .await;
        let mut before = before.map_err(|failure| PositionError::Read {
            partition: self.partition,
            failure,
        })?;
        // The first frame may begin before what was wanted.
        let first = before.first().map(|span| span.range.start);
        self.from = first.map_or(wanted.start, |first| first.min(wanted.start));
        for span in &mut before {
            span.range.start = span.range.start.max(self.bounds.start);
        }
        before.retain(|span| span.range.start < span.range.end);
        before.append(&mut self.spans);
        self.spans = before;
        self.window = self.window.saturating_mul(2);
        Ok(())
    }
}

/// Adds the records of a frame below an offset: one span, or one between each two holes.
fn add_spans(frame: &Frame, end: Offset, spans: &mut Vec<Span>) {
    let (lsn, base) = (frame.header.lsn, frame.header.base_offset);
    if !frame.is_sparse() {
        let end = frame.header.next_offset().min(end);
        let range = OffsetRange { start: base, end };
        return spans.push(Span { lsn, range });
    }
    let held = frame.deltas.iter().map(|delta| base.advance(delta.into()));
    for offset in held.take_while(|offset| *offset < end) {
        let end = offset.advance(1);
        match spans.last_mut() {
            Some(span) if span.lsn == lsn && span.range.end == offset => span.range.end = end,
            _ => spans.push(Span {
                lsn,
                range: OffsetRange { start: offset, end },
            }),
        }
    }
}

/// The frames with records in a range, whole at its start and cut at its end.
fn read_spans(
    reader: &LogReader,
    log: &PartitionLog,
    wanted: OffsetRange,
) -> Result<Vec<Span>, StorageError> {
    let limit = ReadLimit {
        bytes_max: READ_BYTES,
        lsn_max: Lsn::new(u64::MAX),
    };
    let (mut spans, mut cursor, mut next) = (Vec::new(), None, wanted.start);
    while next < wanted.end {
        let (frames, loss) = match log.read_tail(next, limit) {
            TailRead::Frames(frames) => (frames, None),
            TailRead::AtEnd => break,
            TailRead::OnDisk { until } => {
                let read = reader.read(log, cursor, next, until.min(wanted.end), limit)?;
                cursor = read.cursor;
                (read.frames, read.loss)
            }
        };
        let read_to = frames.last().map(|frame| frame.header.next_offset());
        for frame in &frames {
            add_spans(frame, wanted.end, &mut spans);
        }
        next = loss.map(|loss| loss.end).or(read_to).unwrap_or(wanted.end);
    }
    spans.retain(|span| span.range.start < wanted.end);
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use towpath_storage::{PartitionBounds, PartitionRef, TopicId};

    use super::*;

    /// A partition with one frame for each entry and its number of records.
    fn suffix(partition: u32, frames: &[(u64, u64)]) -> Suffix {
        let mut next = Offset::ZERO;
        let mut spans = Vec::new();
        for (lsn, count) in frames {
            let range = OffsetRange {
                start: next,
                end: next.advance(*count),
            };
            spans.push(Span {
                lsn: Lsn::new(*lsn),
                range,
            });
            next = range.end;
        }
        let of = PartitionRef {
            topic: TopicId::new(1),
            partition,
        };
        Suffix {
            partition,
            log: Arc::new(PartitionLog::new(of, PartitionBounds::default())),
            bounds: OffsetRange {
                start: Offset::ZERO,
                end: next,
            },
            from: Offset::ZERO,
            spans,
            window: 1,
        }
    }

    #[track_caller]
    fn check(count: u64, expected: &[u64]) {
        // In the order of LSN: two records in 0, three in 1, one in each at once, four in 0.
        let suffixes = [
            suffix(0, &[(1, 2), (3, 1), (4, 4)]),
            suffix(1, &[(2, 3), (3, 1)]),
        ];
        let starts = choose(&suffixes, Lsn::ZERO, count);
        let starts: Vec<_> = starts.into_iter().map(Offset::get).collect();
        assert_eq!(starts, expected, "the last {count}");
    }

    #[test]
    fn records_are_counted_back_in_the_order_of_their_lsn() {
        check(0, &[7, 4]);
        check(1, &[6, 4]);
        check(4, &[3, 4]);
        check(5, &[3, 3]);
        check(6, &[2, 3]);
        check(8, &[2, 1]);
        check(10, &[1, 0]);
        check(99, &[0, 0]);
    }

    #[test]
    fn a_partition_that_is_not_known_from_its_start_bounds_the_count() {
        let mut known_late = suffix(0, &[(5, 10), (9, 1)]);
        known_late.from = Offset::new(10);
        known_late.spans.remove(0);
        let whole = suffix(1, &[(1, 4), (7, 4)]);
        assert_eq!(known_late.known_from(), Lsn::new(9));
        assert_eq!(whole.known_from(), Lsn::ZERO);
        assert_eq!(count_from(&[known_late, whole], Lsn::new(9)), 1);
    }
}
