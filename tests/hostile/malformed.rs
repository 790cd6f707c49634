//! What is not HTTP/2, or breaks its rules.

use crate::MIB;
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, WINDOW_UPDATE, call, frame, head,
    header, opening,
};
use crate::peer::Peer;
use crate::stage::Stage;

const RESIDENT_BYTES_MAX: u64 = 400 * MIB;
const PUBLISH: &str = "ProduceService/Publish";

#[test]
fn what_breaks_the_rules_ends_its_connection_and_no_other() {
    let stage = Stage::start(&[]);
    let begun = |bytes: Vec<u8>| [opening(), bytes].concat();
    let many_headers: Vec<u8> = (0..90).flat_map(|_| header("x-long", 120)).collect();
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(4096)
        .collect();
    let cases = [
        ("HTTP/1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
        (
            "TLS",
            vec![
                0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
            ],
        ),
        ("a frame of 16 MiB", begun(head(0xff_ffff, DATA, 0, 1))),
        ("data of no stream", begun(frame(DATA, 0, 0, &[1]))),
        (
            "data of a stream that is not open",
            begun(frame(DATA, 0, 5, &[1])),
        ),
        (
            "a stream of the broker's",
            begun(frame(HEADERS, END_HEADERS, 2, &call(PUBLISH))),
        ),
        (
            "a window that opens by nothing",
            begun(frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ),
        (
            "settings of five bytes",
            begun(frame(SETTINGS, 0, 0, &[0; 5])),
        ),
        ("a ping of seven bytes", begun(frame(PING, 0, 0, &[0; 7]))),
        (
            "headers that cannot be read",
            begun(frame(HEADERS, END_HEADERS, 1, &[0xff; 40])),
        ),
        ("noise", begun(noise)),
    ];
    for &(name, ref bytes) in &cases {
        stage.runtime.block_on(async {
            let mut peer = Peer::connect(name, stage.address()).await;
            peer.say(bytes).await;
            let said = peer.closed().await;
            assert!(!said.starts_with(b"HTTP/1"), "{name}");
        });
    }
    // Too many headers are the trouble of one call, or of its connection.
    stage.runtime.block_on(async {
        let mut peer = Peer::connect("too many headers", stage.address()).await;
        let block = [call(PUBLISH), many_headers].concat();
        let flags = END_HEADERS | END_STREAM;
        peer.say(&begun(frame(HEADERS, flags, 1, &block))).await;
        peer.say(&frame(PING, 0, 0, &[0; 7])).await;
        peer.closed().await;
    });
    stage.await_that("all are counted", |stage| {
        stage.closed_count("protocol") + stage.closed_count("flood") > cases.len() as u64
    });
    stage.check_served();
    stage.finish("malformed", RESIDENT_BYTES_MAX);
}
