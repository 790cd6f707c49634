//! The reading side of a partition: its end, its segments and the frames that are still in memory.
//!
//! The sequencer publishes, the settle thread and retention shrink, everyone reads. Nothing here
//! touches a file.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::Frame;
use crate::ids::{Lsn, Offset, PartitionRef, SegmentRef};
use crate::journal::CommittedFrame;

/// How much to read at most.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Stop before the payloads exceed this, after at least one frame.
    pub bytes_max: usize,
    /// Read no frame of a later entry: the durable LSN as it was when the read began, so that a
    /// commit over several partitions is seen whole.
    pub lsn_max: Lsn,
}

/// What a read from memory found.
#[derive(Debug, PartialEq, Eq)]
pub enum TailRead {
    /// These frames, the first of which holds the offset.
    Frames(Vec<Frame>),
    /// The offset is not in memory; it and everything below `until` is in the segments.
    OnDisk {
        /// Where memory, or what is durable, begins to differ.
        until: Offset,
    },
    /// Nothing is to be read at or past the offset yet.
    AtEnd,
}

/// How far a segment holds acknowledged frames and nothing else. What lies behind may be left of rounds that
/// were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledEnd {
    /// The segment.
    pub segment: SegmentRef,
    /// Behind the last frame, in its file.
    pub position: u64,
    /// Behind the last record.
    pub offset: Offset,
}

#[derive(Debug)]
struct TailFrame {
    frame: Frame,
    /// Where it ends in its segment.
    end: SettledEnd,
    /// What the cache budget was charged for it.
    cost_bytes: usize,
}

/// One partition as its readers see it.
#[derive(Debug)]
pub struct PartitionLog {
    partition: PartitionRef,
    /// Lowest offset that may be read. Written by retention, rises only.
    log_start: AtomicU64,
    /// One past the last durable record. Written by the sequencer under the tail's lock, rises only.
    end: AtomicU64,
    /// Bytes of frames from the log start. An estimate between checkpoints.
    size_bytes: AtomicU64,
    /// Append time of the last frame; `i64::MIN` if there is none.
    last_append_time_ms: AtomicI64,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    /// The newest frames, dense by offset up to the end.
    frames: VecDeque<TailFrame>,
    /// Entry of the last frame that was dropped from memory since the log was opened.
    evicted: Lsn,
    /// Behind the last frame that is settled and not in memory.
    settled_end: Option<SettledEnd>,
    /// The segments that hold records, by base offset.
    segments: Arc<[SegmentRef]>,
}

/// What is known of a partition when its log is opened.
#[derive(Debug, Clone, Default)]
pub struct PartitionBounds {
    /// Lowest offset that may be read.
    pub log_start: Offset,
    /// One past the last durable record.
    pub end: Offset,
    /// Bytes of frames.
    pub size_bytes: u64,
    /// Append time of the last frame.
    pub last_append_time_ms: Option<i64>,
    /// The segments, by base offset.
    pub segments: Vec<SegmentRef>,
    /// Where the segment ends that is appended to; none if there is none.
    pub settled_end: Option<SettledEnd>,
}

impl PartitionLog {
    /// A partition without anything in memory.
    pub fn new(partition: PartitionRef, bounds: PartitionBounds) -> Self {
        Self {
            partition,
            log_start: AtomicU64::new(bounds.log_start.get()),
            end: AtomicU64::new(bounds.end.get()),
            size_bytes: AtomicU64::new(bounds.size_bytes),
            last_append_time_ms: AtomicI64::new(bounds.last_append_time_ms.unwrap_or(i64::MIN)),
            tail: Mutex::new(Tail {
                frames: VecDeque::new(),
                evicted: Lsn::ZERO,
                settled_end: bounds.settled_end,
                segments: bounds.segments.into(),
            }),
        }
    }

    /// Which partition it is.
    pub fn partition(&self) -> PartitionRef {
        self.partition
    }

    /// Lowest offset that may be read.
    pub fn log_start(&self) -> Offset {
        // ORDERING: pairs with the release in `trim`; what was below is not looked for any more.
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    /// One past the last durable record.
    pub fn end(&self) -> Offset {
        // ORDERING: pairs with the release in `publish`; the frames below are in the tail or settled.
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// Bytes of frames that may be read.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Append time of the last frame, milliseconds since the Unix epoch.
    pub fn last_append_time_ms(&self) -> Option<i64> {
        let time_ms = self.last_append_time_ms.load(Ordering::Relaxed);
        (time_ms != i64::MIN).then_some(time_ms)
    }

    /// Makes a durable frame readable. Called by the sequencer, in order, before it stores the
    /// durable LSN.
    ///
    /// # Panics
    /// If the frame does not continue the partition.
    pub(crate) fn publish(&self, committed: &CommittedFrame, cost_bytes: usize) {
        let header = committed.line.frame;
        let mut tail = self.lock();
        assert_eq!(
            header.base_offset.get(),
            self.end.load(Ordering::Relaxed),
            "INVARIANT: offsets are dense"
        );
        let frame = Frame {
            backing: committed.backing,
            ..Frame::dense(header, committed.payload())
        };
        let place = committed.line.place;
        let end = SettledEnd {
            segment: place.segment,
            position: place.position + header.padded_bytes(),
            offset: header.next_offset(),
        };
        tail.frames.push_back(TailFrame {
            frame,
            end,
            cost_bytes,
        });
        self.size_bytes
            .fetch_add(header.padded_bytes(), Ordering::Relaxed);
        self.last_append_time_ms
            .store(header.append_time_ms, Ordering::Relaxed);
        // ORDERING: a reader that sees the new end finds the frame in the tail.
        self.end
            .store(header.next_offset().get(), Ordering::Release);
    }

    /// Adds a segment that begins at the end.
    pub fn add_segment(&self, base: Offset) {
        let mut tail = self.lock();
        if tail.segments.last().is_none_or(|last| last.base < base) {
            let segment = SegmentRef::new(self.partition, base);
            tail.segments = tail.segments.iter().copied().chain([segment]).collect();
        }
    }

    /// Has readers find a rewritten segment in the place of those that it was made of. Called by the
    /// sequencer once the entry that says so is durable; the files of the others are removed later.
    pub fn swap(&self, sources: &[SegmentRef], rewritten: SegmentRef, freed_bytes: u64) {
        let mut tail = self.lock();
        let segments = tail.segments.iter().copied();
        let kept = segments.filter(|segment| !sources.contains(segment));
        let mut segments: Vec<_> = kept.chain([rewritten]).collect();
        segments.sort_unstable();
        tail.segments = segments.into();
        self.size_bytes.fetch_sub(freed_bytes, Ordering::Relaxed);
    }

    /// Moves the log start up and forgets segments that lie wholly below it. Called by the sequencer once
    /// the entry that says so is durable; the files are removed later.
    pub fn trim(&self, log_start: Offset, dropped: &[Offset], dropped_bytes: u64) {
        // ORDERING: readers look at it before they look for a segment: one that finds none sees this.
        self.log_start.fetch_max(log_start.get(), Ordering::Release);
        let mut tail = self.lock();
        let is_kept = |segment: &&SegmentRef| !dropped.contains(&segment.base);
        tail.segments = tail.segments.iter().filter(is_kept).copied().collect();
        self.size_bytes.fetch_sub(dropped_bytes, Ordering::Relaxed);
    }

    /// Drops the oldest frame from memory. Called only for frames that are settled.
    /// Returns what it had been charged.
    pub(crate) fn evict_front(&self) -> usize {
        let mut tail = self.lock();
        let Some(front) = tail.frames.pop_front() else {
            return 0;
        };
        tail.evicted = front.frame.header.lsn;
        tail.settled_end = Some(front.end);
        front.cost_bytes
    }

    /// One past the last record of the entries up to `lsn`, which must have been durable at some
    /// moment since the log was opened. `None` if memory does not tell any more, because a frame of a
    /// later entry was dropped from it; a newer durable LSN then helps.
    pub fn end_at(&self, lsn: Lsn) -> Option<Offset> {
        let tail = self.lock();
        if tail.evicted > lsn {
            return None;
        }
        let first_later = tail
            .frames
            .partition_point(|cached| cached.frame.header.lsn <= lsn);
        let later = tail.frames.get(first_later);
        Some(later.map_or_else(|| self.end(), |later| later.frame.header.base_offset))
    }

    /// Reads frames from memory, beginning with the one that holds `offset`.
    pub fn read_tail(&self, offset: Offset, limit: ReadLimit) -> TailRead {
        let tail = self.lock();
        let end = self.end();
        if offset >= end {
            return TailRead::AtEnd;
        }
        let until = tail
            .frames
            .front()
            .map_or(end, |front| front.frame.header.base_offset);
        if offset < until {
            return TailRead::OnDisk { until };
        }
        let first = tail
            .frames
            .partition_point(|cached| cached.frame.header.next_offset() <= offset);
        let mut bytes = 0;
        let mut frames = Vec::new();
        for TailFrame { frame, .. } in tail.frames.range(first..) {
            let has_room = frames.is_empty() || bytes + frame.payload.len() <= limit.bytes_max;
            if frame.header.lsn > limit.lsn_max || !has_room {
                break;
            }
            bytes += frame.payload.len();
            frames.push(frame.clone());
        }
        if frames.is_empty() {
            TailRead::AtEnd
        } else {
            TailRead::Frames(frames)
        }
    }

    /// The segment that holds `offset`, and the base of the one after it.
    pub(crate) fn segment_of(&self, offset: Offset) -> Option<(SegmentRef, Option<Offset>)> {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.base <= offset);
        let segment = *segments.get(after.checked_sub(1)?)?;
        Some((segment, segments.get(after).map(|next| next.base)))
    }

    /// How far the newest segment that is read from the disk is known to hold nothing but acknowledged frames.
    pub(crate) fn settled_end(&self) -> Option<SettledEnd> {
        self.lock().settled_end
    }

    /// The segments, by base offset.
    pub fn segments(&self) -> Arc<[SegmentRef]> {
        Arc::clone(&self.lock().segments)
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::{DirectoryLine, FrameForm};
    use crate::format::frame::{FrameHeader, FramePlace};
    use crate::frame::Backing;
    use crate::ids::TopicId;

    fn committed(base: u64, lsn: u64, payload: &'static [u8]) -> CommittedFrame {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 0,
        };
        let place = FramePlace {
            segment: SegmentRef::new(partition, Offset::ZERO),
            position: 0,
        };
        let frame = FrameHeader {
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            payload_crc: 0,
            codec: 0,
            record_count: 2,
            base_offset: Offset::new(base),
            lsn: Lsn::new(lsn),
            append_time_ms: 5,
            sparse: None,
        };
        let line = DirectoryLine {
            place,
            form: FrameForm::Inline,
            gap_bytes: 0,
            frame,
            producer: None,
        };
        let mut bytes = vec![0; 64];
        bytes.extend_from_slice(payload);
        CommittedFrame {
            line,
            backing: Backing::of_all(&bytes),
            bytes: bytes.into(),
        }
    }

    fn log() -> PartitionLog {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 0,
        };
        let log = PartitionLog::new(partition, PartitionBounds::default());
        for (base, lsn, payload) in [(0, 1, &b"aaaa"[..]), (2, 2, b"bbbb"), (4, 3, b"cccc")] {
            log.publish(&committed(base, lsn, payload), 10);
        }
        log
    }

    fn bases(read: TailRead) -> Vec<u64> {
        match read {
            TailRead::Frames(frames) => frames
                .iter()
                .map(|frame| frame.header.base_offset.get())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_read_starts_with_the_frame_that_holds_the_offset() {
        let all = ReadLimit {
            bytes_max: 100,
            lsn_max: Lsn::new(9),
        };
        assert_eq!(bases(log().read_tail(Offset::new(3), all)), [2, 4]);
        assert_eq!(log().read_tail(Offset::new(6), all), TailRead::AtEnd);
        let two = ReadLimit {
            bytes_max: 8,
            ..all
        };
        assert_eq!(bases(log().read_tail(Offset::ZERO, two)), [0, 2]);
        let none = ReadLimit {
            bytes_max: 0,
            ..all
        };
        assert_eq!(
            bases(log().read_tail(Offset::ZERO, none)),
            [0],
            "at least one"
        );
    }

    #[test]
    fn a_read_shows_nothing_of_a_later_entry() {
        let before = ReadLimit {
            bytes_max: 100,
            lsn_max: Lsn::new(2),
        };
        assert_eq!(bases(log().read_tail(Offset::ZERO, before)), [0, 2]);
        assert_eq!(log().read_tail(Offset::new(4), before), TailRead::AtEnd);
    }

    #[test]
    fn the_end_at_an_entry_leaves_out_later_ones_while_memory_tells() {
        let log = log();
        let end_at = |log: &PartitionLog, lsn| log.end_at(Lsn::new(lsn)).map(Offset::get);
        assert_eq!(end_at(&log, 0), Some(0));
        assert_eq!(end_at(&log, 2), Some(4));
        assert_eq!(end_at(&log, 3), Some(6));
        assert_eq!(end_at(&log, 9), Some(6));
        log.evict_front();
        assert_eq!(end_at(&log, 0), None);
        assert_eq!(end_at(&log, 1), Some(2));
    }

    #[test]
    fn what_was_evicted_is_on_disk() {
        let all = ReadLimit {
            bytes_max: 100,
            lsn_max: Lsn::new(9),
        };
        let log = log();
        assert_eq!(log.evict_front(), 10);
        assert_eq!(
            log.read_tail(Offset::new(1), all),
            TailRead::OnDisk {
                until: Offset::new(2)
            }
        );
        assert_eq!(bases(log.read_tail(Offset::new(2), all)), [2, 4]);
    }
}
