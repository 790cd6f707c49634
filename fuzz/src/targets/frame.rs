//! The header of a frame, and which offsets its records have.

use bytes::Bytes;
use towpath_storage::format::frame::FRAME_HEADER_BYTES;
use towpath_storage::{
    Frame, FrameHeader, FramePlace, Lsn, Offset, OffsetDeltas, PartitionRef, SegmentRef, TopicId,
};

use crate::given::Given;
use crate::seal::{crc_of, put};

/// Place of the frame, then its bytes: as they are, and with the checksum that they should have.
pub fn frame(data: &[u8]) {
    let mut input = Given::new(data);
    let place = FramePlace {
        segment: SegmentRef {
            partition: PartitionRef {
                topic: TopicId::new(input.u64()),
                partition: input.u32(),
            },
            base: Offset::new(input.u64()),
            generation: input.u32(),
        },
        position: input.u64(),
    };
    check(input.rest(), &place);
    check(&sealed(input.rest(), &place), &place);
}

fn sealed(bytes: &[u8], place: &FramePlace) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    put(&mut sealed, 0, b"TFRM");
    put(&mut sealed, 8, &[1]);
    let segment = &place.segment;
    let mut seed = segment.partition.topic.get().to_le_bytes().to_vec();
    seed.extend(segment.partition.partition.to_le_bytes());
    seed.extend(segment.base.get().to_le_bytes());
    seed.extend(place.position.to_le_bytes());
    if segment.generation > 0 {
        seed.extend(segment.generation.to_le_bytes());
    }
    if let Some(body) = sealed.get(8..FRAME_HEADER_BYTES) {
        let crc = crc_of(&[&seed, body]);
        put(&mut sealed, 4, &crc.to_le_bytes());
    }
    sealed
}

fn check(bytes: &[u8], place: &FramePlace) {
    let Ok(header) = FrameHeader::decode(bytes, place) else {
        return;
    };
    let encoded = header.encode(place);
    assert_eq!(FrameHeader::decode(&encoded, place), Ok(header));
    // Checksum apart, only what is reserved may differ.
    let used = if header.sparse.is_some() { 56 } else { 48 };
    assert_eq!(encoded[8..used], bytes[8..used], "round trip");
    assert!(header.frame_bytes() >= header.payload_start());
    assert!(header.padded_bytes() >= header.frame_bytes());
    assert!(header.offset_count() >= header.record_count);
    assert!(header.next_offset() >= header.base_offset);
    let behind = &bytes[FRAME_HEADER_BYTES..];
    if header.matches(behind) {
        assert_eq!(behind.len() as u64, u64::from(header.payload_bytes));
    }
    check_offsets(header, behind);
}

/// What a reader makes of the offsets, taking what follows for the deltas.
fn check_offsets(header: FrameHeader, behind: &[u8]) {
    let deltas: Vec<u32> = match header.sparse {
        None => Vec::new(),
        Some(sparse) => {
            let words = behind.chunks_exact(4);
            let words = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let mut deltas: Vec<u32> = words.map(|word| word % sparse.offset_count).collect();
            deltas.sort_unstable();
            deltas.dedup();
            deltas
        }
    };
    let record_count = match header.sparse {
        None => header.record_count,
        Some(_) => u32::try_from(deltas.len()).unwrap_or(u32::MAX),
    };
    let header = FrameHeader {
        record_count,
        // No partition comes near the end of the numbers.
        base_offset: Offset::new(header.base_offset.get() >> 1),
        lsn: Lsn::new(1),
        ..header
    };
    let frame = Frame {
        deltas: OffsetDeltas::new(&deltas),
        ..Frame::dense(header, Bytes::new())
    };
    let mut next = Some(header.base_offset);
    for place in 0..record_count.min(64) {
        let offset = frame.offset_of(place);
        assert_eq!(next.and_then(|next| frame.next_held(next)), offset);
        let offset = offset.expect("a record has an offset");
        assert_eq!(frame.place_of(offset), Some(place), "there and back");
        assert!(offset < header.next_offset(), "inside");
        next = Some(offset.advance(1));
    }
    assert_eq!(frame.offset_of(record_count), None, "no more");
    if let Some(hole) = frame.hole_behind() {
        assert_eq!(hole.end, header.next_offset());
        assert_eq!(frame.next_held(hole.start), None, "nothing in it");
    }
}
