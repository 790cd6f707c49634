//! Frames as their records stand, for whoever looks at records or cannot decompress them.

use towpath_proto::batch;
use towpath_proto::compression::{Codec, CodecSet, DecompressError, declared_bytes, decompress};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_storage::{Backing, Frame, FrameHeader, OffsetRange};

/// A frame whose records cannot be had. It was checked when it came and has its checksum, so this is either
/// a fault of ours or of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPlain {
    /// What the frame covers.
    pub range: OffsetRange,
}

/// How the payload of a frame was compressed; none if it is plain.
pub(crate) fn codec_of(header: &FrameHeader) -> Option<Codec> {
    Codec::from_number(header.codec.into())
}

/// Whether a frame must be decompressed for a reader who accepts these codecs.
pub(crate) fn is_unaccepted(header: &FrameHeader, accepted: CodecSet) -> bool {
    header.codec != 0 && !codec_of(header).is_some_and(|codec| accepted.has(codec))
}

/// What decompressing a frame for such a reader takes, bytes; 0 if it need not be.
pub(crate) fn decompressed_bytes(frame: &Frame, accepted: CodecSet) -> usize {
    if !is_unaccepted(&frame.header, accepted) {
        return 0;
    }
    let declared = codec_of(&frame.header)
        .and_then(|codec| declared_bytes(codec, &frame.payload).ok())
        .flatten();
    declared.map_or(BATCH_BYTES_MAX, |declared| {
        usize::try_from(declared).unwrap_or(usize::MAX)
    })
}

/// A frame with its payload decompressed, and the header that it would have; the frame itself if it is
/// plain. Takes time: about a millisecond for each of the largest batches' megabytes.
///
/// # Errors
/// [`NotPlain`], which is logged.
pub(crate) fn plain(frame: Frame) -> Result<Frame, NotPlain> {
    if frame.header.codec == 0 {
        return Ok(frame);
    }
    let range = OffsetRange {
        start: frame.header.base_offset,
        end: frame.header.next_offset(),
    };
    let payload = decompress_payload(&frame).map_err(|reason| {
        let FrameHeader { codec, lsn, .. } = frame.header;
        tracing::error!(codec, %lsn, %reason, "stored batch cannot be decompressed");
        NotPlain { range }
    })?;
    let header = FrameHeader {
        codec: 0,
        payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        payload_crc: batch::crc(&payload),
        ..frame.header
    };
    Ok(Frame {
        header,
        backing: Backing::of_all(&payload),
        payload,
        deltas: frame.deltas,
    })
}

fn decompress_payload(frame: &Frame) -> Result<bytes::Bytes, String> {
    let codec = codec_of(&frame.header).ok_or("its codec is not known")?;
    decompress(codec, &frame.payload, BATCH_BYTES_MAX)
        .map_err(|error: DecompressError| error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towpath_proto::compression::{Compression, compress};
    use towpath_storage::{Lsn, Offset};

    use super::*;

    fn frame(codec: u8, payload: Bytes) -> Frame {
        let header = FrameHeader {
            payload_bytes: u32::try_from(payload.len()).expect("bytes"),
            payload_crc: batch::crc(&payload),
            codec,
            record_count: 3,
            base_offset: Offset::new(10),
            lsn: Lsn::new(1),
            append_time_ms: 0,
            sparse: None,
        };
        Frame::dense(header, payload)
    }

    #[test]
    fn a_compressed_frame_becomes_the_one_that_its_batch_would_have_made() {
        let batch = Bytes::from(vec![7; 1_000]);
        for compression in [Compression::Lz4, Compression::Zstd { level: 3 }] {
            let compressed = compress(&batch, compression).expect("smaller");
            let stored = frame(compression.codec().number(), compressed);
            let made = plain(stored).expect("whole");
            let expected = frame(0, batch.clone());
            assert_eq!(made.header, expected.header);
            assert_eq!(made.payload, expected.payload);
        }
        let same = plain(frame(0, batch.clone())).expect("plain");
        assert_eq!(same.payload.as_ptr(), batch.as_ptr(), "nothing is copied");
    }

    #[test]
    fn a_frame_that_cannot_be_decompressed_is_lost_as_a_whole() {
        let range = OffsetRange {
            start: Offset::new(10),
            end: Offset::new(13),
        };
        for codec in [1, 2, 3, 255] {
            let noise = Bytes::from_static(b"whatever");
            let found = plain(frame(codec, noise));
            assert_eq!(found.err(), Some(NotPlain { range }), "codec {codec}");
        }
    }
}
