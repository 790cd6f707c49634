//! Bytes for people: sixteen a line, runs of zeros left out.

use std::fmt::Write;

const LINE_BYTES: usize = 16;

/// Lines of position, hexadecimal bytes and text; a `*` stands for lines of zeros.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut is_skipping = false;
    for (number, line) in bytes.chunks(LINE_BYTES).enumerate() {
        let is_blank = line.iter().all(|byte| *byte == 0);
        if is_blank {
            if !is_skipping {
                text += "*\n";
            }
            is_skipping = true;
            continue;
        }
        is_skipping = false;
        write!(text, "{:08x} ", number * LINE_BYTES).unwrap();
        for byte in line {
            write!(text, " {byte:02x}").unwrap();
        }
        let indent = 3 * (LINE_BYTES - line.len()) + 2;
        let shown = |byte: &u8| match byte {
            0x20..0x7f => char::from(*byte),
            _ => '.',
        };
        let shown: String = line.iter().map(shown).collect();
        writeln!(text, "{:indent$}{shown}", "").unwrap();
    }
    writeln!(text, "{:08x}", bytes.len()).unwrap();
    text
}

#[test]
fn zeros_are_left_out() {
    let mut bytes = vec![0; 64];
    bytes[..5].copy_from_slice(b"ab\x01cd");
    bytes.push(b'z');
    let expected = "\
        00000000  61 62 01 63 64 00 00 00 00 00 00 00 00 00 00 00  ab.cd...........\n\
        *\n\
        00000040  7a                                               z\n\
        00000041\n";
    assert_eq!(hex(&bytes), expected);
}
