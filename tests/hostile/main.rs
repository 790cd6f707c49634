//! Peers that mean harm, or do it, against the real binary: floods of frames, what is not HTTP/2, clients
//! that are slow on purpose, crowds that hold on to all they can get.
//!
//! Clients of the SDK write and read beside each of them and must go on being served; what they saw is
//! checked as a history. Memory and descriptors stay within bounds and come back. `IDLE=n`
//! (default 300 to 500), `STALLED=n` (100) and `FULL=n` (100) set the sizes of crowds, `SECONDS=n` (3) how long
//! they are looked at, `ROUNDS=n` (3) how often each flood comes, `TOWPATH_BIN` names another binary.
#![deny(unsafe_op_in_unsafe_fn)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking and says what it did"
)]

mod crowds;
mod floods;
mod frames;
mod hoarders;
mod malformed;
mod peer;
mod slow;
mod stage;

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use towpath_tests::setting::number;

/// Longest wait for anything; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: u64 = 1024 * 1024;

/// Lets this process open as many files as it may: each of a crowd is one.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a process may raise its own limit");
}
