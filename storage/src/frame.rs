//! A frame as readers get it, and which offsets its records have.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::format::frame::{DELTA_BYTES, FrameHeader};
use crate::ids::{Offset, OffsetRange};

/// The buffer that a frame lies in, all of which stays in memory as long as any slice of it does.
///
/// Two of slices that live at the same time are equal if these lie in the same buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    address: usize,
    bytes: usize,
}

impl Backing {
    /// Of slices of a buffer that begins with `buffer` and takes so many bytes of memory.
    pub(crate) fn new(buffer: &[u8], bytes: usize) -> Self {
        Self {
            address: buffer.as_ptr().addr(),
            bytes,
        }
    }

    /// Of bytes that have a buffer for themselves.
    pub fn of_all(buffer: &[u8]) -> Self {
        Self::new(buffer, buffer.len())
    }

    /// Memory that the buffer takes, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A frame as readers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Offsets, LSN, time, checksum.
    pub header: FrameHeader,
    /// The records.
    pub payload: Bytes,
    /// Which offsets they have.
    pub deltas: OffsetDeltas,
    /// Where the records lie.
    pub backing: Backing,
}

impl Frame {
    /// A frame whose records have consecutive offsets, and a buffer for themselves.
    pub fn dense(header: FrameHeader, payload: Bytes) -> Self {
        Self {
            header,
            deltas: OffsetDeltas::default(),
            backing: Backing::of_all(&payload),
            payload,
        }
    }

    /// Whether a record may be missing.
    pub fn is_sparse(&self) -> bool {
        self.header.sparse.is_some()
    }

    /// Whether none of its records is left.
    pub fn is_gone(&self) -> bool {
        self.header.record_count == 0
    }

    /// The offset of the record at a place in the payload, from 0; none if there are fewer.
    pub fn offset_of(&self, place: u32) -> Option<Offset> {
        let delta = match self.is_sparse() {
            true => self.deltas.get(place)?,
            false => (place < self.header.record_count).then_some(place)?,
        };
        Some(self.header.base_offset.advance(delta.into()))
    }

    /// The place in the payload of the record with an offset; none if there is none.
    pub fn place_of(&self, offset: Offset) -> Option<u32> {
        if offset < self.header.base_offset {
            return None;
        }
        let delta = u32::try_from(offset.since(self.header.base_offset)).ok()?;
        match self.is_sparse() {
            true => self.deltas.place_of(delta),
            false => (delta < self.header.record_count).then_some(delta),
        }
    }

    /// The first offset from `offset` on that has a record in it; none if there is no more.
    pub fn next_held(&self, offset: Offset) -> Option<Offset> {
        let delta = offset.since(self.header.base_offset);
        let delta = u32::try_from(delta).ok()?;
        let place = match self.is_sparse() {
            true => self.deltas.places_below(delta),
            false => delta,
        };
        self.offset_of(place)
    }

    /// The offsets behind its last record, if they have none.
    pub fn hole_behind(&self) -> Option<OffsetRange> {
        let last = self.header.record_count.checked_sub(1);
        let start = match last.and_then(|last| self.offset_of(last)) {
            Some(last) => last.advance(1),
            None => self.header.base_offset,
        };
        let end = self.header.next_offset();
        (start < end).then_some(OffsetRange { start, end })
    }
}

/// Offset of each record of a sparse frame minus the frame's base offset, rising; nothing in a dense one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetDeltas {
    /// As stored: `u32`, little-endian.
    bytes: Bytes,
}

impl OffsetDeltas {
    /// Encodes them.
    pub fn new(deltas: &[u32]) -> Self {
        let mut bytes = BytesMut::with_capacity(deltas.len() * DELTA_BYTES);
        deltas.iter().for_each(|delta| bytes.put_u32_le(*delta));
        let bytes = bytes.freeze();
        Self { bytes }
    }

    /// Those that stand in a frame; none if they do not match its header.
    pub(crate) fn read(header: &FrameHeader, bytes: Bytes) -> Option<Self> {
        let Some(sparse) = header.sparse else {
            return Some(Self::default());
        };
        let deltas = Self { bytes };
        let is_intact = deltas.bytes.len() as u64 == header.deltas_bytes()
            && deltas.crc() == sparse.deltas_crc
            && deltas.iter().is_sorted_by(|left, right| left < right)
            && deltas
                .iter()
                .last()
                .is_none_or(|it| it < sparse.offset_count);
        is_intact.then_some(deltas)
    }

    /// As stored.
    pub(crate) fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// CRC-32 of what is stored.
    pub fn crc(&self) -> u32 {
        crc32fast::hash(&self.bytes)
    }

    /// Number of records.
    pub fn count(&self) -> usize {
        self.bytes.len() / DELTA_BYTES
    }

    /// In the order of the records.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let chunks = self.bytes.chunks_exact(DELTA_BYTES);
        chunks.map(|mut chunk| chunk.try_get_u32_le().unwrap_or(u32::MAX))
    }

    fn get(&self, place: u32) -> Option<u32> {
        let start = usize::try_from(place).ok()?.checked_mul(DELTA_BYTES)?;
        self.bytes.get(start..)?.try_get_u32_le().ok()
    }

    /// Records with a smaller delta.
    fn places_below(&self, delta: u32) -> u32 {
        let (mut low, mut high) = (0, u32::try_from(self.count()).unwrap_or(u32::MAX));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle) {
                Some(found) if found < delta => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    fn place_of(&self, delta: u32) -> Option<u32> {
        let place = self.places_below(delta);
        (self.get(place) == Some(delta)).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::frame::Sparse;
    use crate::ids::Lsn;

    fn frame(record_count: u32, sparse: Option<(u32, &[u32])>) -> Frame {
        let deltas = OffsetDeltas::new(sparse.map_or(&[], |(_, deltas)| deltas));
        let header = FrameHeader {
            payload_bytes: 0,
            payload_crc: 0,
            codec: 0,
            record_count,
            base_offset: Offset::new(100),
            lsn: Lsn::new(1),
            append_time_ms: 0,
            sparse: sparse.map(|(offset_count, _)| Sparse {
                offset_count,
                deltas_crc: deltas.crc(),
            }),
        };
        Frame {
            deltas,
            ..Frame::dense(header, Bytes::new())
        }
    }

    /// Compares with a list of the offsets that have records.
    fn check(frame: &Frame, held: &[u64]) {
        let places = 0..frame.header.record_count + 1;
        let offsets: Vec<_> = places.map(|place| frame.offset_of(place)).collect();
        let expected = held.iter().map(|offset| Some(Offset::new(*offset)));
        assert_eq!(offsets, expected.chain([None]).collect::<Vec<_>>());
        let next = frame.header.next_offset().get();
        for offset in 95..next + 5 {
            let place = held.iter().position(|it| *it == offset);
            let place = place.map(|place| u32::try_from(place).unwrap());
            assert_eq!(frame.place_of(Offset::new(offset)), place, "{offset}");
            let following = held.iter().find(|it| **it >= offset).copied();
            let found = frame.next_held(Offset::new(offset));
            assert_eq!(found.map(Offset::get), following, "{offset}");
        }
        let behind = held.last().map_or(100, |last| last + 1);
        let hole = (behind < next).then_some((behind, next));
        let found = frame.hole_behind();
        let found = found.map(|hole| (hole.start.get(), hole.end.get()));
        assert_eq!(found, hole, "the hole behind");
    }

    #[test]
    fn a_dense_frame_has_a_record_for_each_offset() {
        check(&frame(3, None), &[100, 101, 102]);
        assert!(!frame(3, None).is_gone(), "it has records");
    }

    #[test]
    fn a_frame_of_which_nothing_is_left_has_a_hole_only() {
        let gone = frame(0, Some((7, &[])));
        check(&gone, &[]);
        assert!(gone.is_gone() && gone.is_sparse(), "it says so");
    }

    proptest! {
        #[test]
        fn a_sparse_frame_is_like_a_list_of_its_offsets(
            deltas in proptest::collection::btree_set(0_u32..40, 0..40), behind in 0_u32..5,
        ) {
            let deltas: Vec<_> = deltas.into_iter().collect();
            let count = deltas.last().map_or(1, |last| last + 1) + behind;
            let held: Vec<_> = deltas.iter().map(|delta| 100 + u64::from(*delta)).collect();
            let records = u32::try_from(deltas.len()).unwrap();
            check(&frame(records, Some((count, &deltas))), &held);
        }
    }

    #[test]
    fn deltas_that_do_not_match_their_header_are_refused() {
        let header = frame(2, Some((5, &[1, 4]))).header;
        let read = |deltas: &[u32], crc_of: &[u32]| {
            let deltas_crc = OffsetDeltas::new(crc_of).crc();
            let sparse = Some(Sparse {
                deltas_crc,
                offset_count: 5,
            });
            let bytes = OffsetDeltas::new(deltas).bytes;
            OffsetDeltas::read(&FrameHeader { sparse, ..header }, bytes).is_some()
        };
        assert!(read(&[1, 4], &[1, 4]), "intact");
        assert!(!read(&[1, 3], &[1, 4]), "another checksum");
        assert!(!read(&[1], &[1]), "too few");
        assert!(!read(&[4, 1], &[4, 1]), "falling");
        assert!(!read(&[1, 1], &[1, 1]), "twice the same");
        assert!(!read(&[1, 5], &[1, 5]), "past the end");
    }
}
