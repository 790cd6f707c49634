//! What the example programs are made of: accounts whose events are the truth, and balances that are
//! made from them.
//!
//! `cargo run -p towpath-examples --bin read_model` shows it at work.

mod accounts;
mod balances;
mod broker;
mod projector;

pub use accounts::{AccountEvent, Change, TOPIC, random_events, write};
pub use balances::Balances;
pub use broker::{InProcess, client_of};
pub use projector::{Lag, caught_up, lag, project};

/// What any part of an example may fail with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
