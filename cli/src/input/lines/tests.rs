use std::io::{self, Read};

use super::*;

/// Gives no more than a few bytes at a time.
struct Trickle<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Trickle<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(space.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        space[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

fn lines_of(reader: impl Read) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut blocks = LineBlocks::new(reader);
    let mut lines = Vec::new();
    while let Some(block) = blocks.next_block()? {
        lines.extend(block.lines().map(|line| (line.number, line.bytes.to_vec())));
    }
    Ok(lines)
}

#[track_caller]
fn check(input: &[u8], expected: &[&[u8]]) {
    let expected: Vec<_> = (1..)
        .zip(expected.iter().map(|line| line.to_vec()))
        .collect();
    for step in [1, 2, 3, 7, usize::MAX] {
        let lines = lines_of(Trickle { bytes: input, step }).expect("no fault");
        assert_eq!(lines, expected, "{step} bytes at a time");
    }
}

#[test]
fn lines_are_cut_at_line_feeds() {
    check(b"", &[]);
    check(b"one\n", &[b"one"]);
    check(b"one\ntwo\n", &[b"one", b"two"]);
}

#[test]
fn the_last_line_needs_no_line_feed() {
    check(b"one\ntwo", &[b"one", b"two"]);
    check(b"one", &[b"one"]);
}

#[test]
fn empty_lines_and_other_bytes_stay_as_they_are() {
    check(b"\n", &[b""]);
    check(b"a\n\n\nb\r\n", &[b"a", b"", b"", b"b\r"]);
    check(b"\xff\xfe\n\0\n", &[b"\xff\xfe", b"\0"]);
}

#[test]
fn lines_longer_than_one_read_stay_whole() {
    let mut input = vec![b'x'; 3 * READ_BYTES];
    input.push(b'\n');
    let lines = lines_of(Trickle {
        bytes: &input,
        step: usize::MAX,
    })
    .expect("no fault");
    assert_eq!(lines.len(), 1, "number of lines");
    assert_eq!(lines[0].1.len(), 3 * READ_BYTES, "length");
}

#[test]
fn a_line_that_never_ends_is_refused_in_bounded_memory() {
    let mut blocks = LineBlocks::new(io::Cursor::new(b"first\n").chain(io::repeat(b'x')));
    assert!(
        blocks.next_block().expect("the first line").is_some(),
        "first line"
    );
    let error = blocks.next_block().expect_err("endless");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
    assert_eq!(blocks.next_line(), 2, "which line");
    assert!(
        blocks.rest.capacity() < 3 * LINE_BYTES_MAX,
        "{}",
        blocks.rest.capacity()
    );
    let error = read_whole(&mut io::repeat(b'x')).expect_err("endless");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
}
