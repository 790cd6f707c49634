//! What the example programs are made of: accounts whose events are the truth, and balances that are
//! made from them; and orders that are billed by a service which is down now and then.
//!
//! `cargo run -p towpath-examples --bin read_model` shows the first at work, `--bin failing_dependency` the
//! second.

mod accounts;
mod balances;
pub mod billing;
mod broker;
mod projector;

pub use accounts::{AccountEvent, Change, TOPIC, random_events, write};
pub use balances::Balances;
pub use broker::{InProcess, client_of};
pub use projector::{Lag, caught_up, lag, project};

/// What any part of an example may fail with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
