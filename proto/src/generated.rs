//! Code generated from `towpath/v1/*.proto`; `tests/generated_code.rs` writes and checks it.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "the generators' style is not ours"
)]

pub mod control_services;
pub mod data_services;
pub mod fetch_services;
pub mod messages;
