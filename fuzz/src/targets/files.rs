//! What stands at the head and at the foot of files, and the entries of an index.

use towpath_storage::format::checkpoint_file::{BlockHeader, CheckpointFooter, FOOTER_BYTES};
use towpath_storage::format::format_file::FormatFile;
use towpath_storage::format::index_entry::{INDEX_ENTRY_BYTES, IndexEntry};
use towpath_storage::format::journal_header::JournalHeader;
use towpath_storage::format::segment_header::SegmentHeader;
use towpath_storage::format::{FORMAT_VERSION, STRUCTURE_VERSION};
use towpath_storage::{BrokerId, Lsn, Offset, ScrubProgress};

use crate::given::Given;
use crate::seal::{crc_of, put, structure};

/// Bytes of the headers of journal files and segments that are not reserved.
const HEADER_BYTES: usize = 64;
/// Identity of the folder whose file says how far it was read.
const FOLDER: BrokerId = BrokerId::new([7; 16]);

/// Headers of journal files and segments, the file that names the folder, and how far it was read.
pub fn headers(data: &[u8]) {
    let journal = structure(data, HEADER_BYTES, *b"TOWPJRNL", STRUCTURE_VERSION);
    for bytes in [data, &journal] {
        if let Some(header) = JournalHeader::decode(bytes) {
            let encoded = header.encode();
            assert_eq!(JournalHeader::decode(&encoded), Some(header));
            assert_eq!(encoded[16..56], bytes[16..56], "round trip");
        }
    }
    let segment = structure(data, HEADER_BYTES, *b"TOWPSGMT", STRUCTURE_VERSION);
    for bytes in [data, &segment] {
        if let Some(header) = SegmentHeader::decode(bytes) {
            let encoded = header.encode();
            assert_eq!(SegmentHeader::decode(&encoded), Some(header));
            assert_eq!(encoded[16..56], bytes[16..56], "round trip");
        }
    }
    if let Ok(format) = FormatFile::decode(data) {
        assert!((1..=FORMAT_VERSION).contains(&format.version), "version");
        assert_eq!(format.encode().as_bytes(), data, "written in one way only");
    }
    let sealed = [data, format!("crc {:08x}\n", crc_of(&[data])).as_bytes()].concat();
    for bytes in [data, &sealed] {
        if let Some(progress) = ScrubProgress::decode(bytes, FOLDER) {
            let encoded = progress.encode(FOLDER);
            assert_eq!(encoded.as_bytes(), bytes, "written in one way only");
            let other = BrokerId::new([8; 16]);
            assert_eq!(ScrubProgress::decode(bytes, other), None, "another folder");
        }
    }
}

/// Footer and block header of a checkpoint.
pub fn checkpoint(data: &[u8]) {
    let sealed = structure(data, FOOTER_BYTES, *b"TOWPCKPT", STRUCTURE_VERSION);
    for bytes in [data, &sealed] {
        if let Some(footer) = CheckpointFooter::decode(bytes) {
            let encoded = footer.encode();
            assert_eq!(CheckpointFooter::decode(&encoded), Some(footer));
            assert_eq!(encoded[16..88], bytes[16..88], "round trip");
        }
    }
    let mut input = Given::new(data);
    let (lsn, row_count) = (Lsn::new(input.u64()), input.u32());
    let rows = input.rest();
    let header = BlockHeader::of(lsn, rows, row_count);
    let mut encoded = Vec::new();
    header.encode(&mut encoded);
    assert_eq!(BlockHeader::decode(&encoded), Some(header));
    assert!(header.matches(lsn, rows), "its own rows");
    if let Some(header) = BlockHeader::decode(data) {
        let mut encoded = Vec::new();
        header.encode(&mut encoded);
        assert_eq!(encoded[..], data[..encoded.len()], "round trip");
        let rows = &data[encoded.len()..];
        if header.matches(lsn, rows) {
            assert_eq!(rows.len(), header.rows_bytes as usize);
        }
    }
}

/// Entries of the index of a segment.
pub fn index(data: &[u8]) {
    let mut input = Given::new(data);
    let base = Offset::new(input.u64());
    for bytes in input.rest().chunks(INDEX_ENTRY_BYTES) {
        let mut sealed = bytes.to_vec();
        if let Some(body) = bytes.get(..24) {
            let crc = crc_of(&[&base.get().to_le_bytes(), body]);
            put(&mut sealed, 24, &crc.to_le_bytes());
            put(&mut sealed, 28, b"TIDX");
        }
        let is_whole = bytes.len() == INDEX_ENTRY_BYTES;
        assert_eq!(IndexEntry::decode(&sealed, base).is_some(), is_whole);
        for bytes in [bytes, &sealed] {
            if let Some(entry) = IndexEntry::decode(bytes, base) {
                assert_eq!(entry.encode(base)[..], bytes[..], "round trip");
            }
        }
    }
}
