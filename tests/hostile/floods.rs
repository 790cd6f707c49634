//! Frames that are allowed and of no use, as many as a connection takes.

use tokio::task::JoinSet;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, frame, open_call, opening,
};
use crate::peer::{Peer, Reading};
use crate::stage::Stage;
use crate::{MIB, number};

const CONNECTION_COUNT: u64 = 4;
/// Frames that are sent at once.
const BURST: u32 = 500;
/// A broker with a load takes a third of it.
const RESIDENT_BYTES_MAX: u64 = 400 * MIB;
const PUBLISH: &str = "ProduceService/Publish";

/// What is said first, and then the frames with the numbers of streams that are not used yet.
type Flood = (&'static str, Vec<u8>, fn(u32) -> Vec<u8>);

fn floods() -> Vec<Flood> {
    vec![
        ("rapid reset", vec![], |stream| {
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            [open_call(stream, PUBLISH), reset].concat()
        }),
        ("pings", vec![], |_| frame(PING, 0, 0, &[7; 8])),
        ("answers to no ping", vec![], |_| {
            frame(PING, ACK, 0, &[7; 8])
        }),
        ("settings", vec![], |_| {
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])
        }),
        ("empty data", open_call(1, PUBLISH), |_| {
            frame(DATA, 0, 1, &[])
        }),
        (
            "continuations",
            frame(HEADERS, 0, 1, &call(PUBLISH)),
            |_| frame(CONTINUATION, 0, 1, &crate::frames::header("x", 1)),
        ),
        (
            "empty continuations",
            frame(HEADERS, 0, 1, &call(PUBLISH)),
            |_| frame(CONTINUATION, 0, 1, &[]),
        ),
        ("priorities", vec![], |stream| {
            frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 9])
        }),
        ("frames of no kind", vec![], |_| frame(0xfa, 0, 0, &[])),
        ("windows", open_call(1, PUBLISH), |_| {
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
        }),
        ("streams without number", vec![], |stream| {
            frame(HEADERS, END_HEADERS, stream, &call(PUBLISH))
        }),
    ]
}

#[test]
fn floods_are_cut_off_and_harm_nobody() {
    let stage = Stage::start(&[]);
    let rounds = number("ROUNDS", 3);
    for (name, first, next) in floods() {
        for reading in [Reading::Yes, Reading::No] {
            let before = cut_off_count(&stage);
            for _ in 0..rounds {
                let mut peers = JoinSet::new();
                for _ in 0..CONNECTION_COUNT {
                    let (address, first) = (stage.address(), first.clone());
                    let flood = async move {
                        let mut peer = Peer::connect(name, address).await;
                        peer.say(&[opening(), first].concat()).await;
                        let mut streams = (3_u32..).step_by(2);
                        let burst = || {
                            let streams = streams.by_ref().take(BURST as usize);
                            streams.flat_map(next).collect()
                        };
                        peer.flood(burst, reading).await
                    };
                    peers.spawn_on(flood, stage.runtime.handle());
                }
                stage.check_served();
                stage.runtime.block_on(peers.join_all());
            }
            let expected = before + rounds * CONNECTION_COUNT;
            stage.await_that(name, |stage| cut_off_count(stage) == expected);
        }
    }
    stage.finish("floods", RESIDENT_BYTES_MAX);
}

/// Connections that the broker has closed for what came over them.
fn cut_off_count(stage: &Stage) -> u64 {
    let reasons = ["flood", "protocol", "silent"];
    reasons
        .map(|reason| stage.closed_count(reason))
        .iter()
        .sum()
}
