//! A run of index rows: header, footer, and what is in its blocks.

use bytes::Bytes;
use towpath_storage::format::run_file::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, DataBlock, DataBlockBuilder, Filter,
    PartitionIndex, RUN_FOOTER_BYTES, RUN_HEADER_BYTES, RUN_VERSION, RunContents, RunFooter,
    RunIdentity, filter_hash, row_key, sort_key, successor,
};

use crate::given::Given;
use crate::seal::structure;

/// Number of items, then what may be a header, a footer, or the content of any kind of block.
pub fn run(data: &[u8]) {
    ends(data);
    let mut input = Given::new(data);
    let count = input.u8().into();
    let content = Bytes::copy_from_slice(input.rest());
    data_block(&content, count);
    if let Some(index) = PartitionIndex::decode(content.clone(), count) {
        assert_eq!(index.encode()[..], content[..], "written in one way only");
        assert_eq!(index.blocks.len(), count as usize);
    }
    if let Some(contents) = RunContents::decode(content.clone(), count) {
        assert_eq!(
            contents.encode()[..],
            content[..],
            "written in one way only"
        );
        for summary in &contents.tables {
            assert!(contents.table(summary.table).is_some(), "found again");
        }
    }
    keys(&content, count);
    built(input);
}

fn ends(data: &[u8]) {
    let sealed = structure(data, RUN_HEADER_BYTES, *b"TOWPRUNH", RUN_VERSION);
    let identity = RunIdentity::decode_header(&sealed);
    if let Some(identity) = identity {
        let encoded = identity.encode_header();
        assert_eq!(RunIdentity::decode_header(&encoded), Some(identity));
        assert_eq!(encoded[16..48], sealed[16..48], "round trip");
        blocks(data, &identity);
    }
    let sealed = structure(data, RUN_FOOTER_BYTES, *b"TOWPRUNF", RUN_VERSION);
    if let Some(footer) = RunFooter::decode(&sealed) {
        let encoded = footer.encode();
        assert_eq!(RunFooter::decode(&encoded), Some(footer));
        assert_eq!(encoded[16..100], sealed[16..100], "round trip");
        if let Some(end) = footer.contents.end() {
            assert!(end >= footer.contents.position, "a block ends behind");
        }
    }
}

fn blocks(data: &[u8], run: &RunIdentity) {
    for kind in [BlockKind::Data, BlockKind::Index, BlockKind::Contents] {
        let header = BlockHeader::of(kind, run, run.salt, data, 3);
        let mut encoded = Vec::new();
        header.encode(&mut encoded);
        assert_eq!(BlockHeader::decode(kind, &encoded), Some(header));
        assert!(header.matches(run, run.salt, data), "its own content");
        if let Some(header) = BlockHeader::decode(kind, data)
            && header.matches(run, run.salt, &data[BLOCK_HEADER_BYTES..])
        {
            assert_eq!(
                header.content_bytes as usize,
                data.len() - BLOCK_HEADER_BYTES
            );
        }
    }
}

/// Nothing that a reader does with a block fails in any other way than by saying so.
fn data_block(content: &Bytes, row_count: u32) {
    let Some(block) = DataBlock::decode(content.clone(), row_count) else {
        return;
    };
    assert!(block.memory_bytes() <= content.len(), "bounded");
    let mut rows = 0;
    for group in 0..block.group_count() {
        let Some(group) = block.group(group) else {
            continue;
        };
        for row in &group {
            rows += 1;
            let value_bytes = row.value.as_ref().map_or(0, Bytes::len);
            assert!(value_bytes <= content.len(), "a value is part of the block");
            // Damage that has the right checksum may hide rows, and may not be followed anywhere else.
            let _found: Option<_> = block.find(&row.sort_key);
        }
    }
    assert!(rows <= row_count, "no more rows than said");
    assert_eq!(block.group(block.group_count()), None, "no such group");
}

fn keys(content: &Bytes, filter_key_bytes: u32) {
    let key = row_key(content.clone());
    if let Some(key) = &key {
        assert_eq!(sort_key(key.table, &key.key)[..], content[..]);
        let hash = filter_hash(key.table, &key.key, filter_key_bytes as usize);
        assert!(Filter::of(&[hash]).may_hold(hash), "what was put in");
        // Any bytes are a filter.
        Filter::from_bytes(content.clone()).may_hold(hash);
    }
    if let Some(successor) = successor(content) {
        assert!(successor[..] > content[..], "above it");
        let inside = [&content[..], &[u8::MAX; 4]].concat();
        assert!(inside < successor, "above everything with the prefix");
    }
}

/// A block that was built from rows gives these rows.
fn built(mut input: Given<'_>) {
    let mut rows = std::collections::BTreeMap::new();
    while !input.is_empty() && rows.len() < 200 {
        let (kind, key_bytes) = (input.u8(), input.u8());
        let key = input.bytes(usize::from(key_bytes % 16));
        let value = (kind & 1 == 0).then(|| input.bytes(usize::from(kind >> 4)));
        rows.insert(sort_key(0x8000 | u16::from(kind & 2), key), value);
    }
    if rows.is_empty() {
        return;
    }
    let mut builder = DataBlockBuilder::default();
    for (key, value) in &rows {
        builder.push(key, *value);
    }
    let (content, row_count) = builder.take();
    assert_eq!(row_count as usize, rows.len());
    let block = DataBlock::decode(content.into(), row_count).expect("a block");
    let groups = (0..block.group_count()).map(|group| block.group(group).expect("a group"));
    for (row, (key, value)) in groups.flatten().zip(&rows) {
        assert_eq!(row.sort_key[..], key[..], "key");
        assert_eq!(row.value.as_deref(), *value, "value");
        let found = block.find(key).expect("whole").expect("there");
        assert_eq!(found.as_deref(), *value, "found");
    }
}
