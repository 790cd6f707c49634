//! Every structure of a run against flipped bits, cuts and random bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::environment::testing::seeded;

const IDENTITY: RunIdentity = RunIdentity {
    number: 7,
    salt: 0x5a17,
    broker_id: BrokerId::new([3; 16]),
};

fn footer() -> RunFooter {
    RunFooter {
        identity: IDENTITY,
        contents: BlockPlace {
            position: 4_000,
            bytes: 90,
        },
        partition_count: 2,
        row_count: 30,
        gone_count: 4,
        span: RunSpan {
            after: Lsn::new(5),
            last: Lsn::new(9),
        },
        first_table: 0x8000,
        last_table: 0x8003,
    }
}

/// No flipped bit and no cut passes for what was written.
fn check_bits<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    value: &T,
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    assert_eq!(decode(bytes).as_ref(), Some(value));
    for bit in 0..bytes.len().saturating_mul(8) {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&damaged), None, "bit={bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), None, "cut to {length}");
    }
    assert_eq!(decode(&vec![0; bytes.len()]), None, "zeros");
}

#[test]
fn no_flipped_bit_of_header_or_footer_passes() {
    let header = IDENTITY.encode_header();
    assert_eq!(header.len(), RUN_HEADER_BYTES, "fixed length");
    check_bits(&header, &IDENTITY, RunIdentity::decode_header);
    let bytes = footer().encode();
    assert_eq!(bytes.len(), RUN_FOOTER_BYTES, "fixed length");
    check_bits(&bytes, &footer(), RunFooter::decode);
}

/// A whole block of two rows.
fn block(kind: BlockKind, position: u64) -> (Vec<u8>, Vec<u8>) {
    let mut builder = DataBlockBuilder::default();
    builder.push(&sort_key(0x8000, b"one"), Some(b"1"));
    builder.push(&sort_key(0x8000, b"two"), None);
    let (content, row_count) = builder.take();
    let mut bytes = Vec::new();
    BlockHeader::of(kind, &IDENTITY, position, &content, row_count).encode(&mut bytes);
    bytes.extend_from_slice(&content);
    (bytes, content)
}

/// The content of a block, as a reader takes it.
fn read(bytes: &[u8], run: &RunIdentity, kind: BlockKind, position: u64) -> Option<Vec<u8>> {
    let header = BlockHeader::decode(kind, bytes)?;
    let content = bytes.get(BLOCK_HEADER_BYTES..)?;
    header
        .matches(run, position, content)
        .then(|| content.to_vec())
}

#[test]
fn no_flipped_bit_of_a_block_passes() {
    let (bytes, content) = block(BlockKind::Data, 64);
    check_bits(&bytes, &content, |bytes| {
        read(bytes, &IDENTITY, BlockKind::Data, 64)
    });
}

#[test]
fn a_block_is_valid_only_in_its_place_of_its_run() {
    let (bytes, content) = block(BlockKind::Data, 64);
    let read = |run, kind, position| read(&bytes, &run, kind, position);
    assert_eq!(read(IDENTITY, BlockKind::Data, 64), Some(content));
    assert_eq!(read(IDENTITY, BlockKind::Data, 128), None, "moved");
    assert_eq!(read(IDENTITY, BlockKind::Index, 64), None, "another kind");
    let other = RunIdentity {
        number: 8,
        ..IDENTITY
    };
    assert_eq!(read(other, BlockKind::Data, 64), None, "of another run");
    let earlier = RunIdentity {
        salt: 1,
        ..IDENTITY
    };
    assert_eq!(
        read(earlier, BlockKind::Data, 64),
        None,
        "of an earlier file"
    );
}

fn index() -> PartitionIndex {
    let place = |first_key: &'static [u8], position| DataPlace {
        first_key: Bytes::from_static(first_key),
        place: BlockPlace {
            position,
            bytes: 100,
        },
    };
    PartitionIndex {
        filter: Filter::of(&[1, 2, 3]),
        blocks: vec![place(b"\x80\0a", 64), place(b"\x80\0m", 164)],
    }
}

fn contents() -> RunContents {
    let table = |table, filter_key_bytes| TableSummary {
        table,
        filter_key_bytes,
        row_count: 9,
    };
    let place = BlockPlace {
        position: 264,
        bytes: 80,
    };
    RunContents {
        tables: vec![table(0x8000, 20), table(0x8001, u32::MAX)],
        partitions: vec![PartitionPlace {
            first_key: Bytes::from_static(b"\x80\0a"),
            place,
        }],
    }
}

#[test]
fn index_and_contents_survive_the_round_trip_and_no_cut() {
    let bytes = Bytes::from(index().encode());
    assert_eq!(PartitionIndex::decode(bytes.clone(), 2), Some(index()));
    assert_eq!(
        PartitionIndex::decode(bytes.clone(), 3),
        None,
        "one is missing"
    );
    for length in 0..bytes.len() {
        assert_eq!(PartitionIndex::decode(bytes.slice(..length), 2), None);
    }
    let bytes = Bytes::from(contents().encode());
    assert_eq!(RunContents::decode(bytes.clone(), 1), Some(contents()));
    assert_eq!(
        RunContents::decode(bytes.clone(), 2),
        None,
        "one is missing"
    );
    for length in 0..bytes.len() {
        assert_eq!(RunContents::decode(bytes.slice(..length), 1), None);
    }
    assert_eq!(
        contents().table(0x8001).map(|it| it.filter_key_bytes),
        Some(u32::MAX)
    );
    assert_eq!(contents().table(0x8002), None);
}

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn rows() -> impl Strategy<Value = Rows> {
    let key = prop::collection::vec(0..4_u8, 2..9);
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::btree_map(key, value, 1..100)
}

fn encode(rows: &Rows) -> (Bytes, u32) {
    let mut builder = DataBlockBuilder::default();
    for (key, value) in rows {
        builder.push(key, value.as_deref());
    }
    let (content, row_count) = builder.take();
    assert!(builder.is_empty(), "ready for the next block");
    (content.into(), row_count)
}

proptest! {
    #![proptest_config(seeded(128))]

    #[test]
    fn a_data_block_finds_what_was_put_in_and_nothing_else(
        rows in rows(),
        strangers in prop::collection::vec(prop::collection::vec(0..4_u8, 2..9), 20),
    ) {
        let (content, row_count) = encode(&rows);
        let block = DataBlock::decode(content, row_count).unwrap();
        for key in rows.keys().chain(&strangers) {
            let found = block.find(key).unwrap().map(|value| value.map(|it| it.to_vec()));
            prop_assert_eq!(&found, &rows.get(key).cloned());
        }
        let groups = (0..block.group_count()).flat_map(|group| block.group(group).unwrap());
        let read: Rows = groups
            .map(|row| (row.sort_key.to_vec(), row.value.map(|it| it.to_vec())))
            .collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn damaged_content_is_an_answer_and_no_panic(
        rows in rows(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (content, row_count) = encode(&rows);
        let mut damaged = content.to_vec();
        let place = place.index(damaged.len());
        damaged[place] = byte;
        if let Some(block) = DataBlock::decode(damaged.into(), row_count) {
            for group in 0..=block.group_count() {
                drop(block.group(group));
            }
            rows.keys().for_each(|key| drop(block.find(key)));
        }
    }

    #[test]
    fn random_bytes_are_an_answer_and_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        count in 0..70_u32,
    ) {
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(RunIdentity::decode_header(&bytes), None);
        prop_assert_eq!(RunFooter::decode(&bytes), None);
        prop_assert!(BlockHeader::decode(BlockKind::Data, &bytes).is_none_or(|it| it.kind == BlockKind::Data));
        drop(PartitionIndex::decode(bytes.clone(), count));
        drop(RunContents::decode(bytes.clone(), count));
        if let Some(block) = DataBlock::decode(bytes.clone(), count) {
            drop((block.find(b"\x80\0x"), block.group(0), block.group(count)));
        }
    }
}
