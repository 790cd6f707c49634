//! Clients that hold connections open by saying as little as possible.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::MIB;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PREFACE, call, frame, head, open_call, opening,
};
use crate::peer::Peer;
use crate::stage::Stage;

/// Connections of each kind.
const CONNECTION_COUNT: u64 = 20;
const RESIDENT_BYTES_MAX: u64 = 400 * MIB;
const PUBLISH: &str = "ProduceService/Publish";
/// How often those who trickle say another byte.
const TRICKLE: Duration = Duration::from_millis(500);

#[test]
fn clients_that_hardly_speak_are_given_up() {
    let stage = Stage::start(&[]);
    let begun = |bytes: Vec<u8>| [opening(), bytes].concat();
    let silent: [(&'static str, Vec<u8>); 8] = [
        ("nothing", vec![]),
        ("half a preface", PREFACE[..12].to_vec()),
        ("no settings", PREFACE.to_vec()),
        ("nothing after the settings", opening()),
        ("half a head", begun(vec![0, 0, 9, HEADERS])),
        (
            "half of the headers",
            begun(head(100, HEADERS, END_HEADERS, 1)),
        ),
        (
            "headers without an end",
            begun(frame(HEADERS, 0, 1, &call(PUBLISH))),
        ),
        (
            "half a body",
            begun([open_call(1, PUBLISH), frame(DATA, 0, 1, &[0, 0, 1, 0, 0])].concat()),
        ),
    ];
    let trickling: [(&'static str, Vec<u8>); 3] = [
        ("a slow preface", vec![]),
        ("slow headers", begun(head(10_000, HEADERS, 0, 1))),
        (
            "slow continuations",
            begun(
                [
                    frame(HEADERS, 0, 1, &call(PUBLISH)),
                    head(10_000, CONTINUATION, 0, 1),
                ]
                .concat(),
            ),
        ),
    ];
    let expected = (silent.len() + trickling.len()) as u64 * CONNECTION_COUNT;
    let mut peers = JoinSet::new();
    for (name, bytes) in silent {
        for _ in 0..CONNECTION_COUNT {
            let (address, bytes) = (stage.address(), bytes.clone());
            let holding = async move {
                let mut peer = Peer::connect(name, address).await;
                peer.say(&bytes).await;
                drop(peer.closed().await);
            };
            peers.spawn_on(holding, stage.runtime.handle());
        }
    }
    for (name, bytes) in trickling {
        for _ in 0..CONNECTION_COUNT {
            let (address, bytes) = (stage.address(), bytes.clone());
            let holding = async move {
                let mut peer = Peer::connect(name, address).await;
                peer.say(&bytes).await;
                peer.trickle(PREFACE, TRICKLE).await;
            };
            peers.spawn_on(holding, stage.runtime.handle());
        }
    }
    stage.check_served();
    let failed_count = stage.runtime.block_on(failed_count(peers));
    assert_eq!(failed_count, 0, "so many were not given up");
    stage.await_that("all are given up", |stage| {
        stage.closed_count("silent") == expected
    });
    stage.finish("slow clients", RESIDENT_BYTES_MAX);
}

/// Waits for all; each that was not given up says so by its panic.
async fn failed_count(mut peers: JoinSet<()>) -> usize {
    let mut count = 0;
    while let Some(ended) = peers.join_next().await {
        count += usize::from(ended.is_err());
    }
    count
}
