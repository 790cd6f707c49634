//! Of what lies on disk.

use bytes::Bytes;
use towpath_storage::format::FORMAT_VERSION;
use towpath_storage::format::checkpoint_file::CheckpointFooter;
use towpath_storage::format::entry::{EntryHeader, EntryKind, EntryPlace};
use towpath_storage::format::format_file::FormatFile;
use towpath_storage::format::index_entry::IndexEntry;
use towpath_storage::format::journal_header::JournalHeader;
use towpath_storage::format::run_file::{
    BlockPlace, DataBlockBuilder, DataPlace, Filter, PartitionIndex, PartitionPlace, RunContents,
    RunFooter, RunIdentity, RunSpan, TableSummary, sort_key,
};
use towpath_storage::format::run_row::RunRow;
use towpath_storage::format::segment_header::SegmentHeader;
use towpath_storage::{
    BrokerId, DirectoryLine, FrameForm, FrameHeader, FramePlace, Lsn, Offset, PartitionRef,
    ProducerId, ProducerStamp, Row, RowKey, ScrubPlace, ScrubProgress, SegmentRef, Sparse, TopicId,
};

use super::Seed;

const BROKER: BrokerId = BrokerId::new([7; 16]);
const PARTITION: PartitionRef = PartitionRef {
    topic: TopicId::new(1),
    partition: 2,
};
const SPAN: RunSpan = RunSpan {
    after: Lsn::new(3),
    last: Lsn::new(9),
};

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = vec![
        Seed::new("frame", "dense", frame(None)),
        Seed::new(
            "frame",
            "sparse",
            frame(Some(Sparse {
                offset_count: 9,
                deltas_crc: 7,
            })),
        ),
        Seed::new("entry", "inline", entry(FrameForm::Inline)),
        Seed::new("entry", "reference", entry(FrameForm::Reference)),
        Seed::new("rows", "three", rows()),
        Seed::new("index", "two", index()),
    ];
    seeds.extend(headers());
    seeds.extend(run());
    seeds.extend(recovery());
    seeds
}

fn header(sparse: Option<Sparse>) -> FrameHeader {
    FrameHeader {
        payload_bytes: 5,
        payload_crc: crc32fast::hash(b"hello"),
        codec: 0,
        record_count: 3,
        base_offset: Offset::new(12),
        lsn: Lsn::new(99),
        append_time_ms: 1_700_000_000_000,
        sparse,
    }
}

fn place() -> FramePlace {
    FramePlace {
        segment: SegmentRef::new(PARTITION, Offset::new(10)),
        position: 4096,
    }
}

fn frame(sparse: Option<Sparse>) -> Vec<u8> {
    let mut bytes = PARTITION.topic.get().to_le_bytes().to_vec();
    bytes.extend(PARTITION.partition.to_le_bytes());
    bytes.extend(place().segment.base.get().to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(place().position.to_le_bytes());
    bytes.extend(header(sparse).encode(&place()));
    if sparse.is_some() {
        bytes.extend([0_u32, 4, 8].map(u32::to_le_bytes).concat());
    }
    bytes.extend(b"hello");
    bytes
}

fn entry(form: FrameForm) -> Vec<u8> {
    let place = EntryPlace {
        salt: 5,
        file_number: 1,
        position: 4096,
    };
    let line = DirectoryLine {
        place: self::place(),
        form,
        gap_bytes: 16,
        frame: header(None),
        producer: Some(ProducerStamp {
            id: ProducerId::new([3; 16]),
            epoch: 1,
            sequence: 9,
        }),
    };
    let header = EntryHeader {
        kind: EntryKind::Decision,
        append_count: 1,
        lsn: Lsn::new(99),
        time_ms: 1_700_000_000_000,
        previous_durable: Lsn::new(98),
        inline_bytes: line.inline_bytes(),
        directory_crc: 1,
        change_crc: 2,
        change_bytes: 3,
    };
    let mut bytes = [place.salt, place.file_number, place.position]
        .map(u64::to_le_bytes)
        .concat();
    bytes.extend(header.encode(&place));
    line.encode(&mut bytes);
    bytes
}

fn row(table: u16, key: &'static str, value: Option<&'static str>) -> Row {
    Row {
        key: RowKey {
            table,
            key: Bytes::from_static(key.as_bytes()),
        },
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    }
}

fn rows() -> Vec<u8> {
    let run = RunRow {
        number: 1,
        salt: 2,
        file_bytes: 3,
        rank: 4,
        row_count: 5,
        span: SPAN,
    };
    let rows = [
        row(3, "key", Some("value")),
        row(0x8000, "gone", None),
        run.to_row(),
    ];
    let mut bytes = Vec::new();
    rows.iter().for_each(|row| row.encode(&mut bytes));
    bytes
}

fn index() -> Vec<u8> {
    let base = Offset::new(50);
    let entry = |offset, position| IndexEntry {
        base_offset: Offset::new(offset),
        position,
        append_time_ms: -1,
    };
    let mut bytes = base.get().to_le_bytes().to_vec();
    bytes.extend(entry(50, 4096).encode(base));
    bytes.extend(entry(77, 20_480).encode(base));
    bytes
}

fn headers() -> Vec<Seed> {
    let journal = JournalHeader {
        number: 7,
        salt: 8,
        previous_salt: 9,
        broker_id: BROKER,
        file_bytes: 65_536,
        durable: Lsn::new(6),
    };
    let segment = SegmentHeader {
        segment: place().segment,
        broker_id: BROKER,
    };
    let format = FormatFile {
        version: FORMAT_VERSION,
        broker_id: BROKER,
    };
    let footer = CheckpointFooter {
        lsn: Lsn::new(4),
        row_count: 2,
        blocks_end: 100,
        journal_file: 3,
        journal_position: 4096,
        incarnation: 9,
        time_ms: 12,
        broker_id: BROKER,
    };
    let short = |block: Vec<u8>| block.into_iter().take(80).collect::<Vec<_>>();
    vec![
        Seed::new("headers", "journal", short(journal.encode())),
        Seed::new("headers", "segment", short(segment.encode())),
        Seed::new("headers", "format", format.encode()),
        Seed::new("headers", "scrub", scrub(ScrubPlace::End)),
        Seed::new("headers", "scrub run", scrub(ScrubPlace::Run(7))),
        Seed::new(
            "headers",
            "scrub record",
            scrub(ScrubPlace::Record(PARTITION, Offset::new(9))),
        ),
        Seed::new("checkpoint", "footer", footer.encode()),
    ]
}

fn scrub(next: ScrubPlace) -> String {
    let progress = ScrubProgress {
        begun_ms: 12,
        whole_ms: 11,
        next,
    };
    let text = progress.encode(BROKER);
    // The target adds the checksum.
    let end = text.find("crc ").unwrap_or(text.len());
    text[..end].to_owned()
}

fn run() -> Vec<Seed> {
    let identity = RunIdentity {
        number: 7,
        salt: 8,
        broker_id: BROKER,
    };
    let place = BlockPlace {
        position: 64,
        bytes: 90,
    };
    let first_key = Bytes::from(sort_key(0x8000, b"one"));
    let footer = RunFooter {
        identity,
        contents: place,
        partition_count: 1,
        row_count: 2,
        gone_count: 1,
        span: SPAN,
        first_table: 0x8000,
        last_table: 0x8001,
    };
    let mut builder = DataBlockBuilder::default();
    for number in 0..40_u8 {
        let key = sort_key(0x8000, &[b'k', number / 8, number]);
        let value = [number; 9];
        builder.push(&key, (number % 5 > 0).then_some(&value));
    }
    let (block, row_count) = builder.take();
    let index = PartitionIndex {
        filter: Filter::of(&[1, 2, 3]),
        blocks: vec![DataPlace {
            first_key: first_key.clone(),
            place,
        }],
    };
    let contents = RunContents {
        tables: vec![TableSummary {
            table: 0x8000,
            filter_key_bytes: 3,
            row_count: 2,
        }],
        partitions: vec![PartitionPlace { first_key, place }],
    };
    let counted = |count: u32, content: Vec<u8>| {
        let count = u8::try_from(count).unwrap_or(u8::MAX);
        [vec![count], content].concat()
    };
    vec![
        Seed::new("run", "header", identity.encode_header()),
        Seed::new("run", "footer", footer.encode()),
        Seed::new("run", "block", counted(row_count, block)),
        Seed::new("run", "rows", many_rows()),
        Seed::new("run", "index", counted(1, index.encode())),
        Seed::new("run", "contents", counted(1, contents.encode())),
    ]
}

/// More rows than a group of a block has, as the target takes them: kind, length of the key, key, value.
fn many_rows() -> Vec<u8> {
    let rows = (0..60).flat_map(|number| [0x10, 2, b'k', number, number]);
    std::iter::once(0).chain(rows).collect()
}

/// One change of each kind to each of the first files.
fn recovery() -> Vec<Seed> {
    let change = |file: u8, kind: u8| {
        let mut bytes = vec![file, kind];
        bytes.extend(
            u32::from(file)
                .wrapping_mul(4_157)
                .wrapping_add(4_200)
                .to_le_bytes(),
        );
        bytes.extend([16, 0, 3, 5, 8, 13]);
        Seed::new("recovery", format!("file-{file}-change-{kind}"), bytes)
    };
    let files = 0..24;
    files
        .flat_map(|file| (0..8).map(move |kind| change(file, kind)))
        .collect()
}
