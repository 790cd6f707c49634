//! One partition of a fetch: how far it was read, and what of it was read ahead from disk.

use std::collections::VecDeque;
use std::sync::Arc;

use towpath_proto::compression::CodecSet;
use towpath_storage::{
    DiskRead, Frame, Lsn, Offset, OffsetRange, PartitionLog, ReadCursor, ReadLimit, TailRead,
};

use super::{GapCause, Place, ReadFailure, Reading};
use crate::memory::Unread;
use crate::plain::decompressed_bytes;
use crate::runtime::published::TopicView;

/// Payloads taken from one partition before the next one has its turn.
const TURN_BYTES: usize = 128 * 1024;
/// Payloads that are read ahead at once: what is read of them takes so much memory at least, since a
/// slice of a block holds it all.
const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// The same where many partitions share what may be read ahead.
const BLOCK_BYTES_MIN: usize = 12 * 1024;
/// Memory of blocks comes in such steps, of which one page is lost to alignment.
const BLOCK_STEP_BYTES: usize = 16 * 1024;
const PAGE_BYTES: usize = 4 * 1024;

/// One partition that is being read.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) place: Place,
    topic: Arc<TopicView>,
    log: Arc<PartitionLog>,
    /// The offset that is told next.
    pub(super) next: Offset,
    /// Read from disk and not told yet, from `next` on.
    ahead: VecDeque<Frame>,
    /// Memory that this takes.
    ahead_bytes: usize,
    /// Payloads that are read ahead at once.
    block_bytes: usize,
    /// Where the next read from disk begins.
    cursor: Option<ReadCursor>,
    /// Where what was read ahead begins on disk.
    ahead_start: Option<ReadCursor>,
    pub(super) is_caught_up: bool,
    /// Nothing more is read from it.
    pub(super) is_over: bool,
}

/// What stands at the next offset of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A frame of this entry.
    Frame(Lsn),
    /// Nothing that may be seen yet.
    End,
    /// Records that are not there any more.
    Gap(OffsetRange, GapCause),
    /// It cannot be read.
    Failed(ReadFailure),
}

impl Lane {
    pub(super) fn new(
        place: Place,
        topic: &Arc<TopicView>,
        log: &Arc<PartitionLog>,
        start: Offset,
    ) -> Self {
        Self {
            place,
            topic: Arc::clone(topic),
            log: Arc::clone(log),
            next: start,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            block_bytes: BLOCK_BYTES_MAX,
            cursor: None,
            ahead_start: None,
            is_caught_up: false,
            is_over: false,
        }
    }

    /// Gives it its part of the memory for what is read ahead.
    pub(super) fn share_ahead(&mut self, share_bytes: usize) {
        let steps_bytes = share_bytes / BLOCK_STEP_BYTES * BLOCK_STEP_BYTES;
        let block_bytes = steps_bytes.saturating_sub(PAGE_BYTES);
        self.block_bytes = block_bytes.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
    }

    /// One past its last record.
    pub(super) fn log_end(&self) -> Offset {
        self.log.end()
    }

    /// Whether a pass has to look at it.
    pub(super) fn wants_pass(&self) -> bool {
        !self.is_over && (!self.is_caught_up || self.next < self.log.end())
    }

    /// Memory that it holds for what was read ahead.
    pub(super) fn ahead_bytes(&self) -> usize {
        self.ahead_bytes
    }

    /// Lets go of what was read ahead; it is read again when it is wanted, from where it was found.
    pub(super) fn drop_ahead(&mut self) {
        if !self.ahead.is_empty() {
            self.cursor = self.ahead_start.take();
        }
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    /// Skips records that are not there.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        self.next = offset;
        self.drop_ahead();
        // What it stands on may be far behind, or gone.
        self.cursor = None;
    }

    /// Looks at what stands at the next offset, reading ahead from disk if it is not in memory.
    pub(super) async fn look(&mut self, reading: &Reading, memory: &Unread, lsn_max: Lsn) -> Ahead {
        if let Some(first) = self.ahead.front() {
            return seen(first.header.lsn, lsn_max);
        }
        let log_start = self.log.log_start();
        if self.next < log_start {
            return Ahead::Gap(range(self.next, log_start), GapCause::Trimmed);
        }
        let one = ReadLimit {
            bytes_max: 0,
            lsn_max,
        };
        match self.log.read_tail(self.next, one) {
            TailRead::Frames(frames) => match frames.first() {
                Some(first) => Ahead::Frame(first.header.lsn),
                None => Ahead::End,
            },
            TailRead::AtEnd => Ahead::End,
            TailRead::OnDisk { until } => {
                memory.begin_turn().await;
                let _reading = memory.reading();
                self.read_ahead(reading, until, lsn_max).await
            }
        }
    }

    /// Takes frames of entries up to `lsn_max`, the first of which [`Lane::look`] has seen. None if
    /// they have left memory since.
    pub(super) fn take(&mut self, lsn_max: Lsn, accepted: CodecSet) -> Vec<Frame> {
        let taken: Vec<_> = if self.ahead.is_empty() {
            let mut frames = self.take_from_tail(lsn_max);
            frames.truncate(count_of_turn(&frames, TURN_BYTES, accepted));
            frames
        } else {
            let later = |frame: &Frame| frame.header.lsn > lsn_max;
            let count = self.ahead.iter().position(later);
            let count = count.unwrap_or(self.ahead.len());
            let seen = self.ahead.iter().take(count);
            let count = count_of_turn(seen, BLOCK_BYTES_MAX, accepted);
            self.ahead.drain(..count).collect()
        };
        if let Some(last) = taken.last() {
            self.next = last.header.next_offset();
        }
        if self.ahead.is_empty() {
            self.ahead_bytes = 0;
        }
        taken
    }

    fn take_from_tail(&self, lsn_max: Lsn) -> Vec<Frame> {
        let turn = ReadLimit {
            bytes_max: TURN_BYTES,
            lsn_max,
        };
        match self.log.read_tail(self.next, turn) {
            TailRead::Frames(frames) => frames,
            TailRead::AtEnd | TailRead::OnDisk { .. } => Vec::new(),
        }
    }

    async fn read_ahead(&mut self, reading: &Reading, until: Offset, lsn_max: Lsn) -> Ahead {
        let (log, cursor, next) = (Arc::clone(&self.log), self.cursor.take(), self.next);
        let block = ReadLimit {
            bytes_max: self.block_bytes,
            lsn_max,
        };
        let read = reading
            .run(move |reader| reader.read(&log, cursor, next, until, block))
            .await;
        match read {
            Ok(read) => self.note_read(read),
            Err(_) if self.topic.is_deleted() => Ahead::Failed(ReadFailure::Deleted),
            Err(failure) => Ahead::Failed(failure),
        }
    }

    fn note_read(&mut self, read: DiskRead) -> Ahead {
        let DiskRead {
            frames,
            loss,
            cursor,
            start,
            damage: _,
        } = read;
        self.cursor = cursor;
        self.ahead_start = start;
        self.ahead.extend(frames);
        if let Some(first) = self.ahead.front() {
            let payload_bytes = self.ahead.iter().map(|frame| frame.payload.len()).sum();
            self.ahead_bytes = self.block_bytes.max(payload_bytes);
            return Ahead::Frame(first.header.lsn);
        }
        let Some(loss) = loss else {
            return Ahead::End;
        };
        // What was deleted or trimmed while it was read is not damaged.
        if self.topic.is_deleted() {
            return Ahead::Failed(ReadFailure::Deleted);
        }
        let log_start = self.log.log_start();
        if self.next < log_start {
            return Ahead::Gap(range(self.next, log_start), GapCause::Trimmed);
        }
        Ahead::Gap(range(self.next, loss.end), GapCause::Lost)
    }
}

/// How many frames are taken at once: as many as that takes memory for, when they are decompressed whose
/// codec is not accepted, and at least one. Frames that are told as they are count nothing: they were read
/// within a bound.
fn count_of_turn<'a>(
    frames: impl IntoIterator<Item = &'a Frame>,
    bytes_max: usize,
    accepted: CodecSet,
) -> usize {
    let mut bytes = 0;
    let fits = |frame: &&Frame| {
        let is_first = bytes == 0;
        bytes += 1 + decompressed_bytes(frame, accepted);
        is_first || bytes <= bytes_max
    };
    frames.into_iter().take_while(fits).count()
}

fn seen(lsn: Lsn, lsn_max: Lsn) -> Ahead {
    if lsn > lsn_max {
        return Ahead::End;
    }
    Ahead::Frame(lsn)
}

fn range(start: Offset, end: Offset) -> OffsetRange {
    OffsetRange { start, end }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towpath_proto::compression::{Compression, compress};
    use towpath_storage::FrameHeader;

    use super::*;

    fn frame(codec: u8, payload: Bytes) -> Frame {
        let header = FrameHeader {
            payload_bytes: u32::try_from(payload.len()).expect("bytes"),
            payload_crc: 0,
            codec,
            record_count: 1,
            base_offset: Offset::ZERO,
            lsn: Lsn::new(1),
            append_time_ms: 0,
            sparse: None,
        };
        Frame::dense(header, payload)
    }

    #[test]
    fn a_turn_has_no_more_than_it_has_memory_to_decompress() {
        let plain = frame(0, vec![0; 1_000].into());
        let compressed = compress(&vec![0; 1_000], Compression::Lz4).expect("smaller");
        let small = frame(1, compressed);
        let damaged = frame(2, Bytes::from_static(b"it does not say how large it is"));
        let count = |frames: &[&Frame], bytes_max, accepted: &[i32]| {
            let frames = frames.iter().copied();
            count_of_turn(frames, bytes_max, CodecSet::from_numbers(accepted))
        };
        assert_eq!(count(&[], 1, &[]), 0);
        assert_eq!(count(&[&small; 5], 3_100, &[]), 3, "as many as fit");
        assert_eq!(count(&[&small; 5], 10, &[]), 1, "at least one");
        assert_eq!(count(&[&small; 5], 10, &[1]), 5, "told as they are");
        assert_eq!(count(&[&small; 5], 3_100, &[2]), 3, "another codec");
        assert_eq!(count(&[&plain; 5], 10, &[]), 5, "plain ones");
        let mixed = [&plain, &small, &plain, &damaged, &plain];
        assert_eq!(
            count(&mixed, 3_100, &[]),
            3,
            "the largest that there may be"
        );
    }
}
