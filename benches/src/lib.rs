//! What this machine can do at best, measured beside what Towpath does.
//!
//! [`model`] is the bare model of the hot path: the same transport, checksum, rounds and syncs as
//! the broker, but no records and no state. [`limits`] are the raw limits under it: a sync, a
//! loopback connection. [`recovery`] is how long Towpath itself takes to come back after it was killed
//! or stopped, [`groups`] how fast its consumer groups heal, [`subscriptions`] what its durable
//! subscriptions cost, [`keys`] what topics cost that look at records, [`schedules`] what
//! scheduled records cost, [`growth`] how figures change while one thing grows, [`micro`] what single
//! steps cost, in instructions and [`allocations`]; [`compare`] sets Towpath beside other brokers. The binaries of these names, `bare_model` and `raw_limits` print
//! them as text or as JSON rows ([`report`]), so that a run of `towpath bench` can
//! be paired with them.
//!
//! Nothing depends on this crate, and no time that it measures is asserted in CI; `docs/benchmarks.md`
//! says how to run it.
#![deny(unsafe_code)]

pub mod allocations;
pub mod compare;
pub mod error;
pub mod groups;
pub mod growth;
pub mod host;
pub mod keys;
pub mod limits;
pub mod micro;
pub mod model;
pub mod nothing;
pub mod output;
pub mod payload;
pub mod program;
pub mod recovery;
pub mod report;
pub mod round_file;
pub mod schedules;
pub mod size;
pub mod subscriptions;

mod aligned;
mod broker_process;
mod chart;
mod spread;

pub use error::{Error, Result};
