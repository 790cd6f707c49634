use bytes::{Buf, Bytes};
use towpath_proto::compression::{Compression, compress};

use super::*;

/// Two records with the values "a" and "b".
const TWO: &[u8] = &[0x0a, 3, 0x12, 1, b'a', 0x0a, 3, 0x12, 1, b'b'];

const COMPRESSIONS: [Compression; 2] = [Compression::Lz4, Compression::Zstd { level: 3 }];

fn batch() -> ProduceBatch {
    ProduceBatch {
        batch: Bytes::from_static(TWO),
        ..ProduceBatch::default()
    }
}

/// So many records with the value "a", compressed.
fn compressed(compression: Compression, record_count: usize) -> ProduceBatch {
    let plain = TWO[..5].repeat(record_count);
    ProduceBatch {
        codec: compression.codec().number().into(),
        compressed_batch: compress(&plain, compression).expect("smaller"),
        ..ProduceBatch::default()
    }
}

fn checked(batch: &ProduceBatch) -> Result<CheckedBatch, Rejection> {
    receive(batch).and_then(check)
}

#[track_caller]
fn check_refused(batch: &ProduceBatch, field: &str, is_final: bool) {
    let rejection = checked(batch).unwrap_err();
    assert_eq!(rejection.problem.reason(), ErrorReason::InvalidArgument);
    assert_eq!(rejection.problem.metadata()["field"], field);
    assert_eq!(rejection.is_final, is_final, "{}", rejection.problem);
}

#[track_caller]
fn check_too_large(batch: &ProduceBatch) {
    let rejection = checked(batch).unwrap_err();
    let problem = &rejection.problem;
    assert_eq!(problem.reason(), ErrorReason::BatchTooLarge, "{problem}");
    let max = problem.metadata()["size_bytes_max"].clone();
    assert_eq!(max, BATCH_BYTES_MAX.to_string());
    assert!(rejection.is_final, "it stays too large");
}

#[test]
fn count_and_crc_are_optional_and_computed() {
    let expected = CheckedBatch {
        payload: Bytes::from_static(TWO),
        codec: None,
        crc: crc32fast::hash(TWO),
        record_count: 2,
        plain: None,
    };
    assert_eq!(checked(&batch()), Ok(expected.clone()));
    let told = ProduceBatch {
        record_count: 2,
        crc: Some(expected.crc),
        ..batch()
    };
    assert_eq!(checked(&told), Ok(expected));
}

#[test]
fn only_a_wrong_crc_may_heal_when_it_is_sent_again() {
    let wrong_crc = ProduceBatch {
        crc: Some(1),
        ..batch()
    };
    check_refused(&wrong_crc, "crc", false);
    let wrong_count = ProduceBatch {
        record_count: 3,
        ..batch()
    };
    check_refused(&wrong_count, "record_count", true);
    let twice = ProduceBatch {
        is_batch_repeated: true,
        ..batch()
    };
    check_refused(&twice, "batch", true);
    check_refused(&ProduceBatch::default(), "batch", true);
}

#[test]
fn a_compressed_batch_is_stored_as_it_came_and_its_records_are_counted() {
    for compression in COMPRESSIONS {
        let batch = compressed(compression, 100);
        let crc = crc32fast::hash(&batch.compressed_batch);
        let received = receive(&batch).expect("intact");
        assert_eq!(received.plain_bytes_max, 500, "memory that it takes");
        assert_eq!(received.record_count_max, 250, "as it does not say");
        let expected = CheckedBatch {
            payload: batch.compressed_batch.clone(),
            codec: Some(compression.codec()),
            crc,
            record_count: 100,
            plain: Some(TWO[..5].repeat(100).into()),
        };
        assert_eq!(checked(&batch), Ok(expected.clone()));
        let told = ProduceBatch {
            record_count: 100,
            crc: Some(crc),
            ..batch
        };
        assert_eq!(receive(&told).expect("intact").record_count_max, 100);
        assert_eq!(checked(&told), Ok(expected));
    }
}

#[test]
fn what_is_wrong_with_a_compressed_batch_is_said() {
    for compression in COMPRESSIONS {
        let right = compressed(compression, 100);
        let with = |change: &dyn Fn(&mut ProduceBatch)| {
            let mut batch = right.clone();
            change(&mut batch);
            batch
        };
        let cut = |it: &mut ProduceBatch| it.compressed_batch.truncate(20);
        check_refused(&with(&cut), "compressed_batch", true);
        check_refused(&with(&|it| it.codec = 0), "codec", true);
        check_refused(&with(&|it| it.codec = 3), "codec", true);
        check_refused(&with(&|it| it.record_count = 99), "record_count", true);
        check_refused(&with(&|it| it.crc = Some(1)), "crc", false);
        let both = |it: &mut ProduceBatch| it.batch = Bytes::from_static(TWO);
        check_refused(&with(&both), "batch", true);
        let none = |it: &mut ProduceBatch| it.compressed_batch = Bytes::new();
        check_refused(&with(&none), "compressed_batch", true);
        // The records inside are looked at as those of a plain batch are.
        let noise = compress(&[0xff; 300], compression).expect("smaller");
        let noise = |it: &mut ProduceBatch| it.compressed_batch = noise.clone();
        check_refused(&with(&noise), "batch", true);
        // What a changed byte makes of it is never more than a refusal.
        for place in 0..right.compressed_batch.len() {
            let mut changed = right.compressed_batch.to_vec();
            changed[place] ^= 0x55;
            let changed = |it: &mut ProduceBatch| it.compressed_batch = changed.clone().into();
            drop(checked(&with(&changed)));
        }
    }
    let other = ProduceBatch {
        codec: 2,
        ..compressed(Compression::Lz4, 100)
    };
    check_refused(&other, "compressed_batch", true);
}

#[test]
fn a_batch_that_is_too_large_when_it_is_decompressed_is_refused() {
    let bomb = vec![0; 100 * BATCH_BYTES_MAX];
    for compression in COMPRESSIONS {
        let compressed_batch = compress(&bomb, compression).expect("smaller");
        assert!(
            compressed_batch.len() < BATCH_BYTES_MAX,
            "it comes that far"
        );
        let mut batch = ProduceBatch {
            codec: compression.codec().number().into(),
            compressed_batch,
            ..ProduceBatch::default()
        };
        check_too_large(&batch);
        if compression == Compression::Lz4 {
            // The same without its size: nobody knows before it is decompressed.
            let frame = &batch.compressed_batch;
            let mut header = frame.slice(..4).to_vec();
            header.extend([frame[4] & !0x08, frame[5], 0x40]);
            header[6] = descriptor_checksum(&header[4..6]);
            batch.compressed_batch = [&header, &frame[15..]].concat().into();
            let received = receive(&batch).expect("intact");
            assert_eq!(received.plain_bytes_max, BATCH_BYTES_MAX, "at most");
            check_too_large(&batch);
        }
    }
}

#[test]
fn a_compressed_batch_is_itself_no_larger_than_a_batch() {
    let batch = ProduceBatch {
        codec: 1,
        compressed_batch: vec![0; BATCH_BYTES_MAX + 1].into(),
        ..ProduceBatch::default()
    };
    check_too_large(&batch);
}

/// The second byte of the xxHash-32 of two bytes.
fn descriptor_checksum(mut descriptor: &[u8]) -> u8 {
    let mut hash = 374_761_393_u32.wrapping_add(2);
    while descriptor.has_remaining() {
        let byte = u32::from(descriptor.get_u8());
        hash = hash.wrapping_add(byte.wrapping_mul(374_761_393));
        hash = hash.rotate_left(11).wrapping_mul(2_654_435_761);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(2_246_822_519);
    hash = (hash ^ (hash >> 13)).wrapping_mul(3_266_489_917);
    hash ^= hash >> 16;
    hash.to_le_bytes()[1]
}
