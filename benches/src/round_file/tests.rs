use std::os::fd::AsRawFd;

use super::*;
use crate::aligned::BLOCK_BYTES;

/// Reads the file without the direct flag, as a second descriptor of the nameless file.
fn read(round_file: &RoundFile, start: usize, len: usize) -> Vec<u8> {
    let path = format!("/proc/self/fd/{}", round_file.file.as_raw_fd());
    let mut bytes = vec![0; len];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, start as u64)
        .unwrap();
    bytes
}

fn create(write: WriteMode, kind: FileKind) -> RoundFile {
    RoundFile::create(RoundFileOptions {
        dir: std::env::temp_dir(),
        write,
        kind,
        durability: Durability::Fdatasync,
        file_bytes: 2 * ROUND_BYTES_MAX,
    })
    .unwrap()
}

#[test]
fn buffered_rounds_follow_each_other_without_a_gap() {
    let mut file = create(WriteMode::Buffered, FileKind::Fresh);
    file.append(&[[1_u8; 10], [2; 10]]).unwrap();
    file.append(&[[3_u8; 10]]).unwrap();
    assert_eq!(read(&file, 0, 30), [[1; 10], [2; 10], [3; 10]].concat());
}

#[test]
fn direct_rounds_start_on_a_block() {
    let mut file = create(WriteMode::Direct, FileKind::Fresh);
    assert_eq!(
        file.write_mode(),
        WriteMode::Direct,
        "the temporary folder refuses O_DIRECT"
    );
    file.append(&[[1_u8; 10], [2; 10]]).unwrap();
    file.append(&[[3_u8; 10]]).unwrap();
    assert_eq!(read(&file, 0, 20), [[1; 10], [2; 10]].concat());
    assert_eq!(read(&file, BLOCK_BYTES, 10), [3; 10]);
}

#[test]
fn more_pieces_than_one_call_takes_are_all_written() {
    let mut file = create(WriteMode::Buffered, FileKind::Fresh);
    let pieces: Vec<[u8; 3]> = (0..2500_u32).map(|n| [n.to_le_bytes()[0]; 3]).collect();
    file.append(&pieces).unwrap();
    assert_eq!(read(&file, 0, 7500), pieces.concat());
}

#[test]
fn an_overwritten_file_has_no_unwritten_block_and_is_used_in_a_circle() {
    for write in [WriteMode::Buffered, WriteMode::Direct] {
        let mut file = create(write, FileKind::Overwritten);
        let last = 2 * ROUND_BYTES_MAX - BLOCK_BYTES;
        assert_ne!(read(&file, last, BLOCK_BYTES), [0; BLOCK_BYTES]);
        for round in 1..=3_u8 {
            file.append(&[vec![round; ROUND_BYTES_MAX]]).unwrap();
        }
        assert_eq!(
            read(&file, 0, 10),
            [3; 10],
            "the third round did not go to the start"
        );
        assert_eq!(read(&file, ROUND_BYTES_MAX, 10), [2; 10]);
    }
}

#[test]
fn a_full_fresh_file_is_followed_by_another() {
    let mut file = create(WriteMode::Buffered, FileKind::Fresh);
    for round in 1..=3_u8 {
        file.append(&[vec![round; ROUND_BYTES_MAX]]).unwrap();
    }
    assert_eq!(file.filled.len(), 1);
    assert_eq!(read(&file, 0, 10), [3; 10]);
    assert_eq!(
        read(&file, ROUND_BYTES_MAX, 10),
        [0; 10],
        "the new file is not fresh"
    );
}

#[test]
fn a_round_beyond_the_limit_is_refused() {
    let mut file = create(WriteMode::Buffered, FileKind::Fresh);
    let error = file.append(&[vec![0; ROUND_BYTES_MAX + 1]]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
