//! Bytes of HTTP/2, also of kinds that no library would send.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What every client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len(), kind, flags, stream);
    frame.extend(payload);
    frame
}

/// The head of a frame whose payload may never come.
pub(crate) fn head(payload_bytes: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let payload_bytes = u32::try_from(payload_bytes).expect("a length of three bytes");
    let mut head = bytes_of(payload_bytes)[1..].to_vec();
    head.extend([kind, flags]);
    head.extend(bytes_of(stream));
    head
}

/// What a client says first, and that it has nothing to set.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The headers of a call, as HPACK writes them without a table.
pub(crate) fn call(method: &str) -> Vec<u8> {
    // POST and http have numbers.
    let mut block = vec![0x83, 0x86];
    block.push(0x04);
    put_text(&mut block, &format!("/towpath.v1.{method}"));
    block.push(0x01);
    put_text(&mut block, "broker");
    block.extend([0x0f, 0x10]);
    put_text(&mut block, "application/grpc");
    block.push(0x00);
    put_text(&mut block, "te");
    put_text(&mut block, "trailers");
    block
}

/// One more header with a value of so many bytes, up to 126.
pub(crate) fn header(name: &str, value_bytes: usize) -> Vec<u8> {
    let mut block = vec![0x00];
    put_text(&mut block, name);
    put_text(&mut block, &"v".repeat(value_bytes));
    block
}

/// Opens a stream for a call whose request is still to come.
pub(crate) fn open_call(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call(method))
}

fn put_text(block: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).expect("a short text");
    assert!(len < 127, "longer ones are written in another way");
    block.push(len);
    block.extend(text.as_bytes());
}

#[expect(clippy::big_endian_bytes, reason = "HTTP/2 has this order")]
fn bytes_of(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}
