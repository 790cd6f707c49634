//! What the example programs are made of: accounts whose events are the truth, and balances that are
//! made from them; orders that are billed by a service which is down now and then; orders of which each
//! becomes exactly one invoice; orders in a database whose events are sent and billed once; and accounts that
//! many change at once.
//!
//! `cargo run -p towpath-examples --bin read_model` shows the first at work, `--bin failing_dependency` the
//! second, `--bin transform` the third, `--bin outbox` the fourth, `--bin event_sourced` the last.

mod accounts;
mod balances;
pub mod billing;
mod broker;
pub mod event_sourced;
pub mod outbox;
mod projector;
pub mod transform;

pub use accounts::{AccountEvent, Change, TOPIC, random_events, write};
pub use balances::Balances;
pub use broker::{InProcess, client_of};
pub use projector::{Lag, caught_up, lag, project};

/// What any part of an example may fail with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
