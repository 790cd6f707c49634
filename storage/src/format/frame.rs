//! A frame: one batch as it lies in a journal entry and, byte for byte, in its segment.

use bytes::{Buf, BufMut};

use super::{ALIGN_BYTES, align_up, crc_of};
use crate::ids::{Lsn, Offset, SegmentRef};

/// Bytes of a frame's header; the payload follows at once.
pub const FRAME_HEADER_BYTES: usize = 64;

/// Bytes of one offset delta of a sparse frame.
pub const DELTA_BYTES: usize = 4;

const MAGIC: u32 = u32::from_le_bytes(*b"TFRM");
const VERSION: u8 = 1;
const FLAG_SPARSE: u16 = 1;

/// Where a frame lies. It is mixed into the header's checksum, so a frame that was copied or written
/// to another place is not valid there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// The segment.
    pub segment: SegmentRef,
    /// Bytes from the start of the segment file; a multiple of [`ALIGN_BYTES`].
    pub position: u64,
}

/// The seed of a header's checksum.
struct Seed {
    bytes: [u8; 32],
    length: usize,
}

impl Seed {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl FramePlace {
    /// Frames of a segment as it was appended to are the same in the journal, which knows no generations.
    fn seed(&self) -> Seed {
        let mut bytes = [0; 32];
        let mut out = bytes.as_mut_slice();
        out.put_u64_le(self.segment.partition.topic.get());
        out.put_u32_le(self.segment.partition.partition);
        out.put_u64_le(self.segment.base.get());
        out.put_u64_le(self.position);
        out.put_u32_le(self.segment.generation);
        let length = if self.segment.generation == 0 { 28 } else { 32 };
        Seed { bytes, length }
    }
}

/// What a frame says of the offsets that it covers, if it does not hold a record for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    /// Offsets that it covers, with or without a record, from the base offset on; at least 1.
    pub offset_count: u32,
    /// CRC-32 of the offset deltas.
    pub deltas_crc: u32,
}

/// Header of a frame. Its records have consecutive offsets from `base_offset` on (*dense*), or offsets
/// of their own that follow the header (*sparse*).
///
/// ```text
///  0 magic u32          4 crc u32 of the place (topic, partition, segment, position) and bytes 8..64
///  8 version u8         9 codec u8          10 flags u16: 1 sparse
/// 12 payload bytes u32 16 payload crc u32   20 record count u32
/// 24 base offset u64   32 lsn u64           40 append time i64, ms
/// 48 offset count u32  52 deltas crc u32    56 reserved, zero; 48 to 56 zero unless sparse
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload.
    pub payload_bytes: u32,
    /// CRC-32 of the payload, as sent and received on the wire.
    pub payload_crc: u32,
    /// How the payload is compressed; 0 is plain.
    pub codec: u8,
    /// Number of records in the payload; 0 only in a sparse frame of which none is left.
    pub record_count: u32,
    /// The first offset that the frame covers: in a dense frame that of the first record.
    pub base_offset: Offset,
    /// The journal entry that appended the frame.
    pub lsn: Lsn,
    /// Broker time of that entry, milliseconds since the Unix epoch; never falls in a partition.
    pub append_time_ms: i64,
    /// Set if records were removed.
    pub sparse: Option<Sparse>,
}

impl FrameHeader {
    /// Length of the offset deltas that stand behind the header: 0 in a dense frame.
    pub fn deltas_bytes(&self) -> u64 {
        match self.sparse {
            None => 0,
            Some(_) => u64::from(self.record_count).saturating_mul(DELTA_BYTES as u64),
        }
    }

    /// Where the payload begins, from the start of the frame.
    pub fn payload_start(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64).saturating_add(self.deltas_bytes())
    }

    /// Length of header, offset deltas and payload.
    pub fn frame_bytes(&self) -> u64 {
        self.payload_start()
            .saturating_add(u64::from(self.payload_bytes))
    }

    /// Room that the frame takes before the next one may start.
    pub fn padded_bytes(&self) -> u64 {
        align_up(self.frame_bytes(), ALIGN_BYTES)
    }

    /// Offsets that the frame covers, with or without a record.
    pub fn offset_count(&self) -> u32 {
        self.sparse
            .map_or(self.record_count, |sparse| sparse.offset_count)
    }

    /// One past the last offset that the frame covers.
    pub fn next_offset(&self) -> Offset {
        let count = u64::from(self.offset_count());
        Offset::new(self.base_offset.get().saturating_add(count))
    }

    /// The header's bytes at `place`.
    pub fn encode(&self, place: &FramePlace) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let (head, mut body) = bytes.split_at_mut(8);
        body.put_u8(VERSION);
        body.put_u8(self.codec);
        body.put_u16_le(if self.sparse.is_some() {
            FLAG_SPARSE
        } else {
            0
        });
        body.put_u32_le(self.payload_bytes);
        body.put_u32_le(self.payload_crc);
        body.put_u32_le(self.record_count);
        body.put_u64_le(self.base_offset.get());
        body.put_u64_le(self.lsn.get());
        body.put_i64_le(self.append_time_ms);
        if let Some(sparse) = self.sparse {
            body.put_u32_le(sparse.offset_count);
            body.put_u32_le(sparse.deltas_crc);
        }
        let mut head_out = &mut *head;
        head_out.put_u32_le(MAGIC);
        let seed = place.seed();
        let crc = crc_of(&[seed.as_slice(), bytes.get(8..).unwrap_or_default()]);
        if let Some(mut out) = bytes.get_mut(4..8) {
            out.put_u32_le(crc);
        }
        bytes
    }

    /// Reads the header at `place`.
    ///
    /// # Errors
    /// [`FrameError`] says why the bytes are not a frame of that place.
    pub fn decode(bytes: &[u8], place: &FramePlace) -> Result<Self, FrameError> {
        let header = bytes.get(..FRAME_HEADER_BYTES).ok_or(FrameError::Short)?;
        let (mut head, body) = header.split_at_checked(8).ok_or(FrameError::Short)?;
        let magic = head.try_get_u32_le().ok().ok_or(FrameError::Short)?;
        if magic == 0 {
            return Err(FrameError::Blank);
        }
        if magic != MAGIC {
            return Err(FrameError::NotAFrame);
        }
        let crc = head.try_get_u32_le().ok().ok_or(FrameError::Short)?;
        if crc != crc_of(&[place.seed().as_slice(), body]) {
            return Err(FrameError::Checksum);
        }
        Self::decode_body(body).ok_or(FrameError::Version)
    }

    fn decode_body(mut body: &[u8]) -> Option<Self> {
        let version = body.try_get_u8().ok()?;
        let codec = body.try_get_u8().ok()?;
        let flags = body.try_get_u16_le().ok()?;
        if version != VERSION || flags & !FLAG_SPARSE != 0 {
            return None;
        }
        let dense = Self {
            codec,
            payload_bytes: body.try_get_u32_le().ok()?,
            payload_crc: body.try_get_u32_le().ok()?,
            record_count: body.try_get_u32_le().ok()?,
            base_offset: Offset::new(body.try_get_u64_le().ok()?),
            lsn: Lsn::new(body.try_get_u64_le().ok()?),
            append_time_ms: body.try_get_i64_le().ok()?,
            sparse: None,
        };
        if flags & FLAG_SPARSE == 0 {
            return Some(dense);
        }
        let sparse = Sparse {
            offset_count: body.try_get_u32_le().ok()?,
            deltas_crc: body.try_get_u32_le().ok()?,
        };
        let is_possible = sparse.offset_count > 0 && sparse.offset_count >= dense.record_count;
        is_possible.then_some(Self {
            sparse: Some(sparse),
            ..dense
        })
    }

    /// Whether `payload` is the one that the header describes.
    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == u64::from(self.payload_bytes)
            && crc32fast::hash(payload) == self.payload_crc
    }
}

/// Why bytes are not a frame of the place where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than a header.
    #[error("the file ends inside a frame header")]
    Short,
    /// The first word is zero: nothing was written here.
    #[error("nothing was written here")]
    Blank,
    /// Something else than a frame.
    #[error("no frame starts here")]
    NotAFrame,
    /// The header is damaged, or belongs to another place.
    #[error("the frame header does not match its checksum")]
    Checksum,
    /// The header is intact and of a version or kind that this release does not know.
    #[error("the frame has an unknown version")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionRef, TopicId};

    fn place(position: u64) -> FramePlace {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 2,
        };
        FramePlace {
            segment: SegmentRef::new(partition, Offset::new(10)),
            position,
        }
    }

    fn header() -> FrameHeader {
        FrameHeader {
            payload_bytes: 5,
            payload_crc: crc32fast::hash(b"hello"),
            codec: 0,
            record_count: 3,
            base_offset: Offset::new(12),
            lsn: Lsn::new(99),
            append_time_ms: 1_700_000_000_000,
            sparse: None,
        }
    }

    fn sparse() -> FrameHeader {
        FrameHeader {
            sparse: Some(Sparse {
                offset_count: 9,
                deltas_crc: 77,
            }),
            ..header()
        }
    }

    #[test]
    fn a_sparse_frame_covers_more_offsets_than_it_has_records() {
        let bytes = sparse().encode(&place(4096));
        assert_eq!(FrameHeader::decode(&bytes, &place(4096)), Ok(sparse()));
        assert_eq!(sparse().next_offset(), Offset::new(21));
        assert_eq!(sparse().frame_bytes(), 64 + 3 * 4 + 5, "with three deltas");
        assert_eq!(sparse().padded_bytes(), 88);
        assert_eq!(header().next_offset(), Offset::new(15));
        assert_eq!(header().padded_bytes(), 72);
    }

    #[test]
    fn a_sparse_frame_with_more_records_than_offsets_is_none() {
        for offset_count in [0, 2] {
            let impossible = FrameHeader {
                sparse: Some(Sparse {
                    offset_count,
                    deltas_crc: 0,
                }),
                ..header()
            };
            let bytes = impossible.encode(&place(4096));
            let read = FrameHeader::decode(&bytes, &place(4096));
            assert_eq!(read, Err(FrameError::Version), "{offset_count}");
        }
    }

    #[test]
    fn a_frame_of_one_generation_is_none_in_another() {
        let mut next = place(4096);
        next.segment.generation = 1;
        let bytes = header().encode(&place(4096));
        let read = FrameHeader::decode(&bytes, &next);
        assert_eq!(read, Err(FrameError::Checksum));
        let bytes = header().encode(&next);
        assert_eq!(FrameHeader::decode(&bytes, &next), Ok(header()));
    }

    #[test]
    fn a_frame_header_is_valid_only_at_its_own_place() {
        let bytes = header().encode(&place(4096));
        assert_eq!(FrameHeader::decode(&bytes, &place(4096)), Ok(header()));
        assert_eq!(
            FrameHeader::decode(&bytes, &place(4104)),
            Err(FrameError::Checksum)
        );
        let mut other = place(4096);
        other.segment.partition.partition = 3;
        assert_eq!(
            FrameHeader::decode(&bytes, &other),
            Err(FrameError::Checksum)
        );
        assert!(header().matches(b"hello"), "the payload matches");
        assert!(!header().matches(b"hellO"), "a changed payload does not");
    }

    #[test]
    fn no_flipped_bit_of_a_frame_header_passes() {
        let bytes = sparse().encode(&place(4096));
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                FrameHeader::decode(&damaged, &place(4096)).is_err(),
                "bit={bit}"
            );
        }
        assert_eq!(
            FrameHeader::decode(&[0; 64], &place(0)),
            Err(FrameError::Blank)
        );
        assert_eq!(
            FrameHeader::decode(&bytes[..63], &place(4096)),
            Err(FrameError::Short)
        );
    }
}
