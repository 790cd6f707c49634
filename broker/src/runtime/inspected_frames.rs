//! Frames that were read from the disk or decompressed to be inspected: what was found in them is delivered
//! soon, and that need not be done again then.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use towpath_storage::{Frame, Offset, PartitionRef};

use crate::plain::{NotPlain, plain};

/// Payloads that are kept, of all partitions together.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames of all partitions, those that were used last. They are durable, and so never change.
#[derive(Debug, Default)]
pub struct InspectedFrames {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By their first offsets.
    frames: BTreeMap<(PartitionRef, Offset), KeptFrame>,
    /// By when they were used last.
    order: BTreeMap<u64, (PartitionRef, Offset)>,
    /// How often any was used.
    use_count: u64,
    payload_bytes: usize,
}

#[derive(Debug)]
struct KeptFrame {
    frame: Frame,
    /// Its place in the order.
    used_at: u64,
}

impl InspectedFrames {
    /// Keeps frames of a partition, and lets go of those that nobody has used for the longest.
    pub fn keep(&self, partition: PartitionRef, frames: &[Frame]) {
        let mut kept = self.lock();
        for frame in frames {
            let place = (partition, frame.header.base_offset);
            // One that was decompressed stays so.
            if kept.plain_of(place, frame).is_none() {
                kept.insert(place, frame.clone());
            }
        }
        kept.bound();
    }

    /// A frame of a partition as its records stand. One that must be decompressed for that is kept.
    ///
    /// # Errors
    /// [`NotPlain`].
    pub fn plain(&self, partition: PartitionRef, frame: Frame) -> Result<Frame, NotPlain> {
        if frame.header.codec == 0 {
            return Ok(frame);
        }
        let place = (partition, frame.header.base_offset);
        if let Some(kept) = self.lock().plain_of(place, &frame) {
            return Ok(kept);
        }
        let frame = plain(frame)?;
        let mut kept = self.lock();
        kept.insert(place, frame.clone());
        kept.bound();
        Ok(frame)
    }

    /// The frame that holds an offset and those behind it without a gap, of about so many bytes; none if it
    /// is not kept.
    pub fn read(&self, partition: PartitionRef, offset: Offset, bytes_max: usize) -> Vec<Frame> {
        let mut kept = self.lock();
        let before = kept.frames.range(..=(partition, offset)).next_back();
        let first = before
            .filter(|((of, _), kept)| *of == partition && offset < kept.frame.header.next_offset());
        let mut next = first.map(|((_, base), _)| *base);
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(frame) = next.and_then(|base| kept.take((partition, base)))
        {
            bytes += frame.payload.len();
            next = Some(frame.header.next_offset());
            frames.push(frame);
        }
        frames
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What is kept of a frame, decompressed. Compaction may have left records out of it since.
    fn plain_of(&mut self, place: (PartitionRef, Offset), frame: &Frame) -> Option<Frame> {
        let of = |frame: &Frame| (frame.header.lsn, frame.header.record_count);
        let kept = &self.frames.get(&place)?.frame;
        let is_it = kept.header.codec == 0 && of(kept) == of(frame);
        is_it.then(|| self.take(place))?
    }

    /// Uses a frame.
    fn take(&mut self, place: (PartitionRef, Offset)) -> Option<Frame> {
        let kept = self.frames.get_mut(&place)?;
        self.order.remove(&kept.used_at);
        self.use_count += 1;
        kept.used_at = self.use_count;
        self.order.insert(kept.used_at, place);
        Some(kept.frame.clone())
    }

    fn insert(&mut self, place: (PartitionRef, Offset), frame: Frame) {
        self.payload_bytes += frame.payload.len();
        self.use_count += 1;
        let used_at = self.use_count;
        self.order.insert(used_at, place);
        if let Some(before) = self.frames.insert(place, KeptFrame { frame, used_at }) {
            self.order.remove(&before.used_at);
            self.payload_bytes -= before.frame.payload.len();
        }
    }

    fn bound(&mut self) {
        while self.payload_bytes > BYTES_MAX
            && let Some((_, place)) = self.order.pop_first()
        {
            let gone = self.frames.remove(&place);
            self.payload_bytes -= gone.map_or(0, |kept| kept.frame.payload.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_proto::compression::{Compression, compress};
    use towpath_storage::{FrameHeader, Lsn, TopicId};

    use super::*;

    const FRAME_RECORDS: u64 = 10;

    fn partition(number: u32) -> PartitionRef {
        PartitionRef {
            topic: TopicId::new(1),
            partition: number,
        }
    }

    fn frame(base: u64, payload_bytes: usize) -> Frame {
        let header = FrameHeader {
            payload_bytes: u32::try_from(payload_bytes).expect("bytes"),
            payload_crc: 0,
            codec: 0,
            record_count: u32::try_from(FRAME_RECORDS).expect("records"),
            base_offset: Offset::new(base),
            lsn: Lsn::new(1),
            append_time_ms: 0,
            sparse: None,
        };
        Frame::dense(header, vec![0; payload_bytes].into())
    }

    /// First offsets of the frames that are kept from an offset on.
    fn read(frames: &InspectedFrames, number: u32, offset: u64, bytes_max: usize) -> Vec<u64> {
        let read = frames.read(partition(number), Offset::new(offset), bytes_max);
        read.iter().map(|it| it.header.base_offset.get()).collect()
    }

    #[test]
    fn frames_are_read_from_the_one_that_holds_the_offset_up_to_a_gap() {
        let frames = InspectedFrames::default();
        frames.keep(
            partition(0),
            &[frame(0, 100), frame(10, 100), frame(30, 100)],
        );
        frames.keep(partition(1), &[frame(20, 100), frame(30, 100)]);
        assert_eq!(read(&frames, 0, 3, 1_000), [0, 10], "up to the gap");
        assert_eq!(read(&frames, 0, 10, 1_000), [10], "at the first offset");
        assert_eq!(read(&frames, 0, 3, 100), [0], "as many bytes as wanted");
        assert_eq!(read(&frames, 0, 20, 1_000), [0; 0], "in the gap");
        assert_eq!(read(&frames, 0, 40, 1_000), [0; 0], "behind the last one");
        assert_eq!(read(&frames, 1, 5, 1_000), [0; 0], "before the first one");
        assert_eq!(read(&frames, 2, 5, 1_000), [0; 0], "another partition");
    }

    #[test]
    fn those_that_nobody_uses_go_when_there_are_too_many() {
        let frames = InspectedFrames::default();
        let quarter = BYTES_MAX / 4;
        for base in [0, 10, 20, 30] {
            frames.keep(partition(0), &[frame(base, quarter)]);
        }
        assert_eq!(read(&frames, 0, 0, 1), [0], "delivered");
        frames.keep(partition(0), &[frame(10, quarter)]);
        frames.keep(partition(1), &[frame(0, quarter + 1)]);
        assert_eq!(read(&frames, 0, 0, BYTES_MAX), [0, 10], "two had to go");
        assert_eq!(read(&frames, 0, 20, BYTES_MAX), [0; 0], "these");
        assert_eq!(read(&frames, 1, 0, BYTES_MAX), [0], "the new one");
    }

    #[test]
    fn a_frame_is_decompressed_once_while_it_is_kept() {
        let frames = InspectedFrames::default();
        let batch = vec![7; 10_000];
        let compressed = compress(&batch, Compression::Lz4).expect("smaller");
        let stored = |record_count: u32| {
            let frame = frame(0, 0);
            let header = FrameHeader {
                codec: 1,
                record_count,
                ..frame.header
            };
            Frame::dense(header, compressed.clone())
        };
        let held = || frames.lock().payload_bytes;
        frames.keep(partition(0), &[stored(10)]);
        assert_eq!(held(), compressed.len(), "as it was read");
        let plain = |record_count| {
            let found = frames.plain(partition(0), stored(record_count));
            let payload = found.expect("whole").payload;
            assert_eq!(payload, batch, "the records");
            payload.as_ptr()
        };
        let first = plain(10);
        assert_eq!(held(), batch.len(), "one of the two is kept");
        assert_eq!(plain(10), first, "the same bytes");
        frames.keep(partition(0), &[stored(10)]);
        assert_eq!(plain(10), first, "it stays when the frame is read again");
        let read = frames.read(partition(0), Offset::ZERO, 1);
        assert_eq!(read[0].payload.as_ptr(), first, "for those who deliver");
        assert_ne!(plain(9), first, "compaction has left a record out");
        assert_ne!(plain(10), first, "the newest counts");
        frames.keep(partition(0), &[frame(10, BYTES_MAX)]);
        assert_eq!(read_bases(&frames), [10], "it goes like any other");
    }

    fn read_bases(frames: &InspectedFrames) -> Vec<u64> {
        let kept = frames.lock();
        kept.frames.keys().map(|(_, base)| base.get()).collect()
    }
}
