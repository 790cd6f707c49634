//! The SDK against a scripted broker in the same process: connections in memory, time that only
//! passes when nothing else happens, faults where a test wants them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::unwrap_in_result,
    reason = "tests fail by panicking"
)]

mod admin;
mod allocations;
mod commit;
mod fake;
mod group;
mod key;
mod logging;
mod outages;
mod producer;
mod public_api;
mod reader;
mod subscriber;
mod subscription_admin;
mod subscription_pending;
mod topic_change;
