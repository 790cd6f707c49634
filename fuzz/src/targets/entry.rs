//! An entry of the journal: header, directory, rows.

use bytes::Bytes;
use towpath_storage::format::entry::{
    ENTRY_HEADER_BYTES, EntryHeader, EntryPlace, LINE_BYTES, decode_directory,
};
use towpath_storage::format::row::decode_rows;
use towpath_storage::format::run_row::RunRow;

use crate::given::Given;
use crate::seal::{crc_of, put};

/// Place of the entry, then header and directory: as they are, and with what makes them fit each other.
pub fn entry(data: &[u8]) {
    let mut input = Given::new(data);
    let place = EntryPlace {
        salt: input.u64(),
        file_number: input.u64(),
        position: input.u64(),
    };
    check(input.rest(), &place);
    check(&sealed(input.rest(), &place), &place);
}

fn sealed(bytes: &[u8], place: &EntryPlace) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    put(&mut sealed, 0, b"TENT");
    put(&mut sealed, 8, &[1, 0]);
    let behind = sealed.len().saturating_sub(ENTRY_HEADER_BYTES);
    let line_count = u32::try_from(behind / LINE_BYTES).unwrap_or(u32::MAX);
    put(&mut sealed, 12, &line_count.to_le_bytes());
    let seed = [place.salt, place.file_number, place.position];
    let seed = seed.map(u64::to_le_bytes).concat();
    if let Some(body) = sealed.get(8..ENTRY_HEADER_BYTES) {
        let crc = crc_of(&[&seed, body]);
        put(&mut sealed, 4, &crc.to_le_bytes());
    }
    sealed
}

fn check(bytes: &[u8], place: &EntryPlace) {
    let Some(header) = EntryHeader::decode(bytes, place) else {
        return;
    };
    assert_eq!(EntryHeader::claimed_lsn(bytes), Some(header.lsn));
    let encoded = header.encode(place);
    assert_eq!(EntryHeader::decode(&encoded, place), Some(header));
    assert_eq!(encoded[8..60], bytes[8..60], "round trip");
    let parts = [
        ENTRY_HEADER_BYTES as u64,
        header.directory_bytes(),
        header.inline_bytes,
        header.change_bytes.into(),
    ];
    let parts = parts.into_iter().map(u128::from).sum::<u128>();
    assert!(
        u128::from(header.entry_bytes()) >= parts || header.entry_bytes() >= u64::MAX - 7,
        "an entry holds its parts"
    );
    let end = ENTRY_HEADER_BYTES as u64 + header.directory_bytes();
    let directory = usize::try_from(end).ok();
    let directory = directory.and_then(|end| bytes.get(ENTRY_HEADER_BYTES..end));
    let Some(directory) = directory else { return };
    check_directory(directory, &header);
    // With the sum that the lines have, they add up.
    let lines = directory.chunks_exact(LINE_BYTES);
    let lines = lines.map(|line| towpath_storage::DirectoryLine::decode(line, &header));
    if let Some(lines) = lines.collect::<Option<Vec<_>>>() {
        let inline_bytes = lines.iter().map(|line| line.inline_bytes()).sum();
        let fitting = EntryHeader {
            inline_bytes,
            ..header
        };
        assert_eq!(decode_directory(directory, &fitting), Some(lines));
    }
}

fn check_directory(directory: &[u8], header: &EntryHeader) {
    let Some(lines) = decode_directory(directory, header) else {
        return;
    };
    assert_eq!(lines.len(), header.append_count as usize);
    let mut encoded = Vec::new();
    for line in &lines {
        assert_eq!(line.frame.lsn, header.lsn);
        assert_eq!(line.frame.append_time_ms, header.time_ms);
        line.encode(&mut encoded);
    }
    assert_eq!(decode_directory(&encoded, header), Some(lines));
}

/// The rows of an entry or of a block of a checkpoint.
pub fn rows(data: &[u8]) {
    let Some(rows) = decode_rows(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut encoded = Vec::new();
    for row in &rows {
        let before = encoded.len();
        row.encode(&mut encoded);
        assert_eq!(encoded.len() - before, row.encoded_bytes(), "length");
        if let Some(run) = RunRow::from_row(row) {
            assert_eq!(run.to_row(), *row, "a row that names a run");
        }
    }
    assert_eq!(encoded, data, "rows are written in one way only");
}
