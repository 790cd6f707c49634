//! `docs/storage-format.md` and `docs/run-format.md` against what the code writes: each table is read, and each field
//! compared in a sample whose values are all different.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{BufMut, Bytes};
use towpath_storage::format::checkpoint_file::{BLOCK_HEADER_BYTES, BlockHeader, CheckpointFooter};
use towpath_storage::format::entry::{EntryHeader, EntryKind, EntryPlace};
use towpath_storage::format::index_entry::IndexEntry;
use towpath_storage::format::journal_header::JournalHeader;
use towpath_storage::format::run_file::{
    BlockHeader as RunBlockHeader, BlockKind, BlockPlace, RunFooter, RunIdentity, RunSpan,
};
use towpath_storage::format::run_row::RunRow;
use towpath_storage::format::segment_header::SegmentHeader;
use towpath_storage::{
    BrokerId, DirectoryLine, FrameForm, FrameHeader, FramePlace, Lsn, Offset, PartitionRef,
    ProducerId, ProducerStamp, Row, RowKey, SegmentRef, Sparse, TopicId,
};

const BROKER: BrokerId = BrokerId::new(*b"0123456789abcdef");
const SEGMENT: SegmentRef = SegmentRef::new(
    PartitionRef {
        topic: TopicId::new(0x0101),
        partition: 0x0202,
    },
    Offset::new(0x0303),
);
const PLACE: FramePlace = FramePlace {
    segment: SEGMENT,
    position: 0x0408,
};
const TIME_MS: i64 = 0x0505;
const LSN: Lsn = Lsn::new(0x0606);

/// A field of a table.
#[derive(Debug)]
struct Field {
    position: usize,
    bytes: usize,
    name: String,
    meaning: String,
}

/// The fields of the table under a heading of the pages.
#[expect(
    clippy::disallowed_methods,
    reason = "the pages are files of the source tree, not of a data folder"
)]
fn table(heading: &str) -> Vec<Field> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let pages = ["storage-format.md", "run-format.md"];
    let pages = pages.map(|page| std::fs::read_to_string(docs.join(page)).unwrap());
    let pages = pages.concat();
    let section = pages
        .split("\n### ")
        .find_map(|section| section.strip_prefix(&format!("{heading}\n")))
        .unwrap_or_else(|| panic!("the page has no section {heading}"));
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| 0 |"))
        .take_while(|line| line.starts_with('|'));
    rows.map(parse_field).collect()
}

fn parse_field(line: &str) -> Field {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [position, kind, name, meaning] = cells[..] else {
        panic!("four cells in {line}");
    };
    let bytes = match kind {
        "" => 0,
        "u8" => 1,
        "u16" => 2,
        "u32" => 4,
        "u64" | "i64" => 8,
        count => count.parse().unwrap(),
    };
    Field {
        position: position.parse().unwrap(),
        bytes,
        name: name.to_owned(),
        meaning: meaning.to_owned(),
    }
}

/// Compares a table with the bytes of a sample. Fields without a value in `values` are a magic, a version,
/// a CRC or reserved.
fn check(heading: &str, sample: &[u8], seed: &[u8], values: &[(&str, &[u8])]) {
    let mut values: BTreeMap<_, _> = values.iter().copied().collect();
    let mut end = 0;
    for field in table(heading) {
        let what = format!("{heading}: {}", field.name);
        assert_eq!(field.position, end, "{what} follows the field before it");
        end += field.bytes;
        let bytes = &sample[field.position..end];
        match (field.name.as_str(), values.remove(field.name.as_str())) {
            (_, Some(value)) => {
                assert_eq!(bytes, &value[..field.bytes], "{what}");
                let rest = &value[field.bytes.min(value.len())..];
                assert!(rest.iter().all(|byte| *byte == 0), "{what}: too narrow");
            }
            ("magic", None) => {
                let text = str::from_utf8(bytes).unwrap();
                assert_eq!(field.meaning, format!("`{text}`"), "{what}");
            }
            ("version", None) => assert_eq!(field.meaning, bytes[0].to_string(), "{what}"),
            ("crc", None) => {
                let covered = covered(&field.meaning, sample);
                let crc = crc32fast::hash(&[seed, &covered].concat());
                assert_eq!(bytes, crc.to_le_bytes(), "{what}: {}", field.meaning);
            }
            ("reserved", None) => assert!(bytes.iter().all(|byte| *byte == 0), "{what}"),
            ("", None) => assert_eq!(field.bytes, 0, "{what}: what follows has no fixed length"),
            (_, None) => panic!("{what} is not in the code"),
        }
    }
    assert!(
        values.is_empty(),
        "{heading}: {values:?} are not on the page"
    );
    let rest = &sample[end..];
    assert!(
        rest.iter().all(|byte| *byte == 0),
        "{heading}: {end} bytes are on the page"
    );
}

/// The bytes of the sample that a CRC covers, by what the page says: "bytes 0 to 12 and 16 to 64".
fn covered(meaning: &str, sample: &[u8]) -> Vec<u8> {
    let (_, ranges) = meaning.split_once("bytes ").unwrap();
    ranges
        .split(" and ")
        .flat_map(|range| {
            let (start, end) = range.split_once(" to ").unwrap();
            sample[start.parse().unwrap()..end.parse().unwrap()].to_vec()
        })
        .collect()
}

/// A number as a field of any width holds it.
fn number(value: u64) -> [u8; 8] {
    value.to_le_bytes()
}

fn frame() -> FrameHeader {
    FrameHeader {
        payload_bytes: 0x0707,
        payload_crc: 0x0808_0808,
        codec: 9,
        record_count: 0x0a0a,
        base_offset: Offset::new(0x0b0b),
        lsn: LSN,
        append_time_ms: TIME_MS,
        sparse: None,
    }
}

#[test]
fn rows_are_as_described() {
    let mut row = Row {
        key: RowKey {
            table: 0x1111,
            key: Bytes::from_static(&[0; 3]),
        },
        value: Some(Bytes::from_static(&[0; 5])),
    };
    let mut sample = Vec::new();
    row.encode(&mut sample);
    let flags = |flags| {
        [
            ("table", number(0x1111)),
            ("flags", number(flags)),
            ("key bytes", number(3)),
            ("value bytes", number(if flags == 0 { 5 } else { 0 })),
        ]
    };
    check(
        "Row",
        &sample,
        &[],
        &flags(0).each_ref().map(|(name, value)| (*name, &value[..])),
    );
    row.value = None;
    sample.clear();
    row.encode(&mut sample);
    check(
        "Row",
        &sample,
        &[],
        &flags(1).each_ref().map(|(name, value)| (*name, &value[..])),
    );
}

#[test]
fn headers_of_files_are_as_described() {
    let journal = JournalHeader {
        number: 0x1111,
        salt: 0x2222,
        previous_salt: 0x3333,
        broker_id: BROKER,
        file_bytes: 0x4444,
        durable: LSN,
    };
    let values: [(&str, &[u8]); 6] = [
        ("number", &number(0x1111)),
        ("salt", &number(0x2222)),
        ("previous salt", &number(0x3333)),
        ("broker id", BROKER.as_bytes()),
        ("file bytes", &number(0x4444)),
        ("durable", &number(LSN.get())),
    ];
    check("Journal header", &journal.encode(), &[], &values);
    let segment = SegmentHeader {
        segment: SegmentRef {
            generation: 0x0304,
            ..SEGMENT
        },
        broker_id: BROKER,
    };
    let values: [(&str, &[u8]); 5] = [
        ("topic", &number(0x0101)),
        ("partition", &number(0x0202)),
        ("generation", &number(0x0304)),
        ("base offset", &number(0x0303)),
        ("broker id", BROKER.as_bytes()),
    ];
    check("Segment header", &segment.encode(), &[], &values);
}

#[test]
fn entries_are_as_described() {
    let place = EntryPlace {
        salt: 0x4444,
        file_number: 0x5555,
        position: 0x6000,
    };
    let mut seed = Vec::new();
    [place.salt, place.file_number, place.position]
        .iter()
        .for_each(|number| seed.put_u64_le(*number));
    for (kind, kind_number) in [(EntryKind::Decision, 0), (EntryKind::Mark, 1)] {
        let header = EntryHeader {
            kind,
            append_count: 0x1111,
            lsn: LSN,
            time_ms: TIME_MS,
            previous_durable: Lsn::new(0x2222),
            inline_bytes: 0x3333,
            directory_crc: 0x4444_4444,
            change_crc: 0x5555_5555,
            change_bytes: 0x6666,
        };
        let values: [(&str, &[u8]); 9] = [
            ("kind", &number(kind_number)),
            ("append count", &number(0x1111)),
            ("lsn", &number(LSN.get())),
            ("time", &TIME_MS.to_le_bytes()),
            ("previous durable", &number(0x2222)),
            ("inline bytes", &number(0x3333)),
            ("directory crc", &number(0x4444_4444)),
            ("change crc", &number(0x5555_5555)),
            ("change bytes", &number(0x6666)),
        ];
        check("Entry header", &header.encode(&place), &seed, &values);
    }
}

#[test]
fn directory_lines_are_as_described() {
    let stamp = ProducerStamp {
        id: ProducerId::new(*b"producer number1"),
        epoch: 0x1111,
        sequence: 0x2222,
    };
    let cases = [
        (FrameForm::Inline, None, 0),
        (FrameForm::Reference, None, 1),
        (FrameForm::Inline, Some(stamp), 2),
        (FrameForm::Reference, Some(stamp), 3),
    ];
    for (form, producer, flags) in cases {
        let line = DirectoryLine {
            place: PLACE,
            form,
            gap_bytes: 0x0333,
            frame: frame(),
            producer,
        };
        let mut sample = Vec::new();
        line.encode(&mut sample);
        let id = producer.map_or([0; 16], |stamp| *stamp.id.as_bytes());
        let of_producer = |value: u64| number(if producer.is_some() { value } else { 0 });
        let values: [(&str, &[u8]); 14] = [
            ("topic", &number(0x0101)),
            ("partition", &number(0x0202)),
            ("flags", &number(flags)),
            ("codec", &number(9)),
            ("gap bytes", &number(0x0333)),
            ("base offset", &number(0x0b0b)),
            ("record count", &number(0x0a0a)),
            ("payload bytes", &number(0x0707)),
            ("segment", &number(0x0303)),
            ("frame position", &number(0x0408)),
            ("payload crc", &number(0x0808_0808)),
            ("producer epoch", &of_producer(0x1111)),
            ("producer id", &id),
            ("sequence", &of_producer(0x2222)),
        ];
        check("Directory line", &sample, &[], &values);
    }
}

#[test]
fn frames_and_index_entries_are_as_described() {
    let mut seed = Vec::new();
    seed.put_u64_le(0x0101);
    seed.put_u32_le(0x0202);
    seed.put_u64_le(0x0303);
    seed.put_u64_le(0x0408);
    let mut values: [(&str, &[u8]); 10] = [
        ("codec", &number(9)),
        ("flags", &number(0)),
        ("payload bytes", &number(0x0707)),
        ("payload crc", &number(0x0808_0808)),
        ("record count", &number(0x0a0a)),
        ("base offset", &number(0x0b0b)),
        ("lsn", &number(LSN.get())),
        ("time", &TIME_MS.to_le_bytes()),
        ("offset count", &number(0)),
        ("deltas crc", &number(0)),
    ];
    check("Frame header", &frame().encode(&PLACE), &seed, &values);
    let mut place = PLACE;
    place.segment.generation = 0x0304;
    let sparse = FrameHeader {
        sparse: Some(Sparse {
            offset_count: 0x0c0c,
            deltas_crc: 0x0d0d_0d0d,
        }),
        ..frame()
    };
    let (flags, offset_count, deltas_crc) = (number(1), number(0x0c0c), number(0x0d0d_0d0d));
    values[1].1 = &flags;
    values[8].1 = &offset_count;
    values[9].1 = &deltas_crc;
    let of_generation = [&seed[..], &0x0304_u32.to_le_bytes()].concat();
    check(
        "Frame header",
        &sparse.encode(&place),
        &of_generation,
        &values,
    );
    let entry = IndexEntry {
        base_offset: Offset::new(0x1111),
        position: 0x2222,
        append_time_ms: TIME_MS,
    };
    let values: [(&str, &[u8]); 3] = [
        ("base offset", &number(0x1111)),
        ("frame position", &number(0x2222)),
        ("time", &TIME_MS.to_le_bytes()),
    ];
    let base = Offset::new(0x3333);
    check("Index entry", &entry.encode(base), &number(0x3333), &values);
}

#[test]
fn checkpoints_are_as_described() {
    let rows = [7; 11];
    let mut sample = Vec::new();
    BlockHeader::of(LSN, &rows, 0x1111).encode(&mut sample);
    let header_bytes = sample.len();
    sample.extend_from_slice(&rows);
    assert_eq!(header_bytes, BLOCK_HEADER_BYTES, "the rows follow");
    let crc = crc32fast::hash(&[&number(LSN.get())[..], &rows].concat());
    let values: [(&str, &[u8]); 3] = [
        ("crc", &number(u64::from(crc))),
        ("rows bytes", &number(11)),
        ("row count", &number(0x1111)),
    ];
    check("Checkpoint block", &sample[..header_bytes], &[], &values);
    let footer = CheckpointFooter {
        lsn: LSN,
        row_count: 0x1111,
        blocks_end: 0x2222,
        journal_file: 0x3333,
        journal_position: 0x4444,
        incarnation: 0x5555,
        time_ms: TIME_MS,
        broker_id: BROKER,
    };
    let values: [(&str, &[u8]); 8] = [
        ("lsn", &number(LSN.get())),
        ("row count", &number(0x1111)),
        ("blocks end", &number(0x2222)),
        ("journal file", &number(0x3333)),
        ("journal position", &number(0x4444)),
        ("incarnation", &number(0x5555)),
        ("time", &TIME_MS.to_le_bytes()),
        ("broker id", BROKER.as_bytes()),
    ];
    check("Checkpoint footer", &footer.encode(), &[], &values);
}

#[test]
fn runs_are_as_described() {
    let identity = RunIdentity {
        number: 0x1111,
        salt: 0x2222,
        broker_id: BROKER,
    };
    let values: [(&str, &[u8]); 3] = [
        ("number", &number(0x1111)),
        ("salt", &number(0x2222)),
        ("broker id", BROKER.as_bytes()),
    ];
    check("Run header", &identity.encode_header(), &[], &values);
    let span = RunSpan {
        after: Lsn::new(0x3333),
        last: Lsn::new(0x4444),
    };
    let footer = RunFooter {
        identity,
        contents: BlockPlace {
            position: 0x5555,
            bytes: 0x6666,
        },
        partition_count: 0x7777,
        row_count: 0x8888,
        gone_count: 0x9999,
        span,
        first_table: 0xaaaa,
        last_table: 0xbbbb,
    };
    let more: [(&str, &[u8]); 9] = [
        ("contents position", &number(0x5555)),
        ("contents bytes", &number(0x6666)),
        ("partition count", &number(0x7777)),
        ("row count", &number(0x8888)),
        ("gone count", &number(0x9999)),
        ("after lsn", &number(0x3333)),
        ("last lsn", &number(0x4444)),
        ("first table", &number(0xaaaa)),
        ("last table", &number(0xbbbb)),
    ];
    let values = [&values[..], &more].concat();
    check("Run footer", &footer.encode(), &[], &values);
    let row = RunRow {
        number: 0x1111,
        salt: 0x2222,
        file_bytes: 0x5555,
        rank: 0x6666,
        row_count: 0x7777,
        span,
    };
    let values: [(&str, &[u8]); 6] = [
        ("salt", &number(0x2222)),
        ("file bytes", &number(0x5555)),
        ("rank", &number(0x6666)),
        ("row count", &number(0x7777)),
        ("after lsn", &number(0x3333)),
        ("last lsn", &number(0x4444)),
    ];
    let row = row.to_row();
    assert_eq!(row.key.key, number(0x1111)[..], "the key is the number");
    check("Run row", &row.value.unwrap(), &[], &values);
}

#[test]
fn blocks_of_runs_are_as_described() {
    let identity = RunIdentity {
        number: 0x1111,
        salt: 0x2222,
        broker_id: BROKER,
    };
    let content = [7; 11];
    let mut sample = Vec::new();
    RunBlockHeader::of(BlockKind::Data, &identity, 0x3333, &content, 0x4444).encode(&mut sample);
    let seed = [number(0x1111), number(0x2222), number(0x3333)].concat();
    let crc = crc32fast::hash(&[&seed, &sample[8..16], &content].concat());
    let values: [(&str, &[u8]); 3] = [
        ("crc", &number(u64::from(crc))),
        ("content bytes", &number(11)),
        ("item count", &number(0x4444)),
    ];
    check("Block header", &sample, &[], &values);
}
