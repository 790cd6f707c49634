//! What was compressed comes back; what is not one whole frame is refused, within bounds.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use zstd::zstd_safe::CParameter;

use super::*;
use crate::testing::seeded;

const SIZE_MAX: usize = 256 * 1024;

const COMPRESSIONS: [Compression; 4] = [
    Compression::Lz4,
    Compression::Zstd { level: 1 },
    Compression::Zstd { level: 3 },
    Compression::Zstd { level: 19 },
];

fn text(size_bytes: usize) -> Vec<u8> {
    let line = br#"{"order":"00017","status":"paid","amount":129}"#;
    line.iter().copied().cycle().take(size_bytes).collect()
}

fn lz4_frame(info: FrameInfo, batch: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(batch).unwrap();
    encoder.finish().unwrap()
}

fn zstd_frame(batch: &[u8], window_log: u32, has_size: bool) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    for parameter in [
        CParameter::ContentSizeFlag(has_size),
        CParameter::ChecksumFlag(true),
        CParameter::WindowLog(window_log),
    ] {
        compressor.set_parameter(parameter).unwrap();
    }
    compressor.compress(batch).unwrap()
}

fn malformed(codec: Codec, cause: &'static str) -> Result<Bytes, DecompressError> {
    Err(DecompressError::Malformed { codec, cause })
}

#[test]
fn numbers_and_names_are_those_of_the_contract() {
    for codec in Codec::ALL {
        let number = i32::from(codec.number());
        assert_eq!(Codec::from_number(number), Some(codec));
        let typed = v1::Codec::try_from(number).expect("known");
        assert_eq!(typed, v1::Codec::from(codec));
        let name = format!("CODEC_{}", codec.as_str().to_uppercase());
        assert_eq!(typed.as_str_name(), name);
    }
    assert_eq!([0, 3, -1].map(Codec::from_number), [None; 3]);
}

#[test]
fn a_set_has_what_was_named_and_is_known() {
    let set = CodecSet::from_numbers(&[0, 2, 7, -2, 2]);
    assert!(set.has(Codec::Zstd) && !set.has(Codec::Lz4), "{set:?}");
    let both = CodecSet::from_numbers(&[1, 2]);
    assert!(Codec::ALL.into_iter().all(|codec| both.has(codec)));
    assert_eq!(CodecSet::from_numbers(&[]), CodecSet::default());
}

#[test]
fn what_does_not_get_smaller_is_left_as_it_is() {
    let noise: Vec<u8> = (0..2000_u32)
        .map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    for compression in COMPRESSIONS {
        assert_eq!(compress(&[], compression), None, "{compression:?}");
        assert_eq!(compress(b"ab", compression), None, "{compression:?}");
        if let Some(compressed) = compress(&noise, compression) {
            assert!(compressed.len() < noise.len(), "{compression:?}");
        }
    }
}

#[test]
fn a_frame_says_how_long_the_batch_is() {
    for compression in COMPRESSIONS {
        for size_bytes in [100, 70_000, SIZE_MAX, 2_000_000] {
            let batch = text(size_bytes);
            let compressed = compress(&batch, compression).expect("smaller");
            let codec = compression.codec();
            let declared = declared_bytes(codec, &compressed);
            assert_eq!(declared, Ok(Some(size_bytes as u64)), "{compression:?}");
            let back = decompress(codec, &compressed, size_bytes).expect("whole");
            assert!(back == batch, "{compression:?} {size_bytes}");
        }
    }
}

#[test]
fn frames_of_other_writers_are_read() {
    let batch = text(200_000);
    let lz4 = [
        FrameInfo::new(),
        FrameInfo::new()
            .block_mode(BlockMode::Linked)
            .block_size(BlockSize::Max64KB)
            .block_checksums(true),
        FrameInfo::new()
            .content_checksum(true)
            .content_size(Some(200_000)),
        FrameInfo::new()
            .block_checksums(true)
            .content_checksum(true)
            .block_size(BlockSize::Max4MB),
    ];
    for info in lz4 {
        let frame = lz4_frame(info.clone(), &batch);
        let back = decompress(Codec::Lz4, &frame, SIZE_MAX);
        assert!(back.as_deref() == Ok(&batch), "{info:?}");
    }
    for (window_log, has_size) in [(10, true), (17, false), (23, false)] {
        let frame = zstd_frame(&batch, window_log, has_size);
        let back = decompress(Codec::Zstd, &frame, SIZE_MAX);
        assert!(back.as_deref() == Ok(&batch), "{window_log} {has_size}");
    }
}

#[test]
fn more_than_is_allowed_is_refused_whether_the_frame_says_so_or_not() {
    let bomb = text(50_000_000);
    let said = |codec, frame: &[u8]| {
        assert!(frame.len() < 400_000, "{codec}: {} bytes", frame.len());
        let size_bytes_max = SIZE_MAX;
        let refused = Err(DecompressError::TooLarge { size_bytes_max });
        assert_eq!(decompress(codec, frame, SIZE_MAX), refused, "{codec}");
    };
    said(Codec::Lz4, &compress(&bomb, Compression::Lz4).unwrap());
    said(Codec::Lz4, &lz4_frame(FrameInfo::new(), &bomb));
    said(Codec::Zstd, &zstd_frame(&bomb, 20, true));
    said(Codec::Zstd, &zstd_frame(&bomb, 20, false));
    let exact = text(SIZE_MAX);
    for frame in [
        zstd_frame(&exact, 20, false),
        zstd_frame(&text(SIZE_MAX + 1), 20, false),
    ] {
        let fits = decompress(Codec::Zstd, &frame, SIZE_MAX).is_ok();
        assert_eq!(fits, frame == zstd_frame(&exact, 20, false));
    }
    let one_more = lz4_frame(FrameInfo::new(), &text(SIZE_MAX + 1));
    said(Codec::Lz4, &one_more);
}

#[test]
fn only_one_whole_frame_passes() {
    let batch = text(1_000);
    for compression in [Compression::Lz4, Compression::Zstd { level: 3 }] {
        let codec = compression.codec();
        let frame = compress(&batch, compression).unwrap();
        let read = |bytes: &[u8]| decompress(codec, bytes, SIZE_MAX);
        assert_eq!(read(&[]), malformed(codec, CUT_OFF), "nothing");
        assert_eq!(read(&batch), malformed(codec, NO_MAGIC), "plain");
        for cut in 0..frame.len() {
            assert!(read(&frame[..cut]).is_err(), "{codec} cut at {cut}");
        }
        let twice = [&frame[..], &frame[..]].concat();
        assert_eq!(read(&twice), malformed(codec, TRAILING), "two frames");
        let behind = [&frame[..], &[0]].concat();
        assert_eq!(read(&behind), malformed(codec, TRAILING), "a byte");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], &frame[..]].concat();
        assert_eq!(read(&skippable), malformed(codec, NO_MAGIC), "skippable");
    }
    let other = compress(&batch, Compression::Lz4).unwrap();
    let found = decompress(Codec::Zstd, &other, SIZE_MAX);
    assert_eq!(found, malformed(Codec::Zstd, NO_MAGIC), "another codec");
}

#[test]
fn a_frame_that_needs_what_readers_may_not_have_is_refused() {
    let batch = text(1_000);
    let read = |codec, frame: &[u8]| decompress(codec, frame, SIZE_MAX);
    let mut zstd = zstd_frame(&batch, 23, false);
    // A window of 16 MiB. The library itself asks for none that is larger than the batch.
    zstd[5] = 14 << 3;
    let cause = "it needs a window of more than 8 MiB";
    assert_eq!(read(Codec::Zstd, &zstd), malformed(Codec::Zstd, cause));
    zstd[4] |= 1;
    assert_eq!(read(Codec::Zstd, &zstd), malformed(Codec::Zstd, DICTIONARY));
    let mut lz4 = lz4_frame(FrameInfo::new(), &batch);
    lz4[4] |= 1;
    assert_eq!(read(Codec::Lz4, &lz4), malformed(Codec::Lz4, DICTIONARY));
    lz4[4] = 0;
    let cause = "it has another version";
    assert_eq!(read(Codec::Lz4, &lz4), malformed(Codec::Lz4, cause));
    lz4[..4].copy_from_slice(&0x184C_2102_u32.to_le_bytes());
    assert_eq!(read(Codec::Lz4, &lz4), malformed(Codec::Lz4, NO_MAGIC));
}

#[test]
fn a_frame_that_ends_in_a_block_of_nothing_is_refused() {
    let frame = lz4_frame(FrameInfo::new(), &text(1_000));
    let end = frame.len() - 4;
    for nothing in [&[0, 0, 0, 0x80][..], &[1, 0, 0, 0, 0]] {
        let block = [&frame[..end], nothing, &[0; 4]].concat();
        let read = decompress(Codec::Lz4, &block, SIZE_MAX);
        assert_eq!(read, malformed(Codec::Lz4, DAMAGED), "{nothing:?}");
    }
}

#[test]
fn a_frame_that_lies_about_its_size_is_refused() {
    let batch = text(1_000);
    for size in [0_u64, 999, 1_001, SIZE_MAX as u64] {
        let mut lz4 = lz4_frame(FrameInfo::new().content_size(Some(1_000)), &batch);
        lz4[6..14].copy_from_slice(&size.to_le_bytes());
        let mut hasher = twox_hash_of(&lz4[4..14]);
        lz4[14] = hasher.pop().expect("a checksum");
        let read = decompress(Codec::Lz4, &lz4, SIZE_MAX);
        assert!(
            matches!(read, Err(DecompressError::Malformed { .. })),
            "lz4 {size}: {read:?}"
        );
        let mut zstd = compress(&batch, Compression::Zstd { level: 1 })
            .unwrap()
            .to_vec();
        assert_eq!(zstd[4] & 0xe0, 0x60, "a single segment, size of two bytes");
        let said = u16::try_from(size.saturating_sub(256).min(60_000)).unwrap();
        zstd[5..7].copy_from_slice(&said.to_le_bytes());
        let read = decompress(Codec::Zstd, &zstd, SIZE_MAX);
        assert!(
            matches!(read, Err(DecompressError::Malformed { .. })),
            "zstd {size}: {read:?}"
        );
    }
}

/// The checksum of a frame's descriptor: the second byte of its xxHash-32.
fn twox_hash_of(descriptor: &[u8]) -> Vec<u8> {
    let primes: [u32; 5] = [
        2_654_435_761,
        2_246_822_519,
        3_266_489_917,
        668_265_263,
        374_761_393,
    ];
    let mut hash = primes[4].wrapping_add(u32::try_from(descriptor.len()).unwrap());
    let mut rest = descriptor;
    while let Some((word, behind)) = rest.split_first_chunk::<4>() {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(primes[2]));
        hash = hash.rotate_left(17).wrapping_mul(primes[3]);
        rest = behind;
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(primes[4]));
        hash = hash.rotate_left(11).wrapping_mul(primes[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(primes[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(primes[2]);
    hash ^= hash >> 16;
    vec![hash.to_le_bytes()[1]]
}

/// Bytes of which some repeat.
fn any_batch() -> impl Strategy<Value = Vec<u8>> {
    let runs = (proptest::collection::vec(any::<u8>(), 1..40), 1..200_usize);
    proptest::collection::vec(runs, 0..20).prop_map(|runs| {
        let runs = runs.into_iter();
        runs.flat_map(|(run, count)| run.repeat(count)).collect()
    })
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn every_batch_comes_back(batch in any_batch(), place in 0..COMPRESSIONS.len()) {
        let compression = COMPRESSIONS[place];
        if let Some(compressed) = compress(&batch, compression) {
            let back = decompress(compression.codec(), &compressed, batch.len());
            prop_assert_eq!(back.as_deref(), Ok(&batch[..]));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_take_more_than_allowed(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        (magic, is_magic) in (0..2_usize, any::<bool>()),
        size_bytes_max in 0..100_000_usize,
    ) {
        let magic = [0x184D_2204_u32, 0xFD2F_B528][magic].to_le_bytes();
        let bytes = [if is_magic { &magic[..] } else { &[] }, &bytes].concat();
        for codec in Codec::ALL {
            if let Ok(batch) = decompress(codec, &bytes, size_bytes_max) {
                prop_assert!(batch.len() <= size_bytes_max);
            }
        }
    }

    #[test]
    fn no_changed_frame_makes_it_panic_or_take_more_than_allowed(
        batch in any_batch(),
        place in 0..COMPRESSIONS.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let compression = COMPRESSIONS[place];
        if let Some(compressed) = compress(&batch, compression) {
            let mut changed = compressed.to_vec();
            for (place, byte) in changes {
                let place = place.index(changed.len());
                changed[place] = byte;
            }
            if let Ok(back) = decompress(compression.codec(), &changed, SIZE_MAX) {
                prop_assert!(back.len() <= SIZE_MAX);
            }
        }
    }
}
