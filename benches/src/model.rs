//! The bare model of the hot path: the fastest durable broker that could be built from the same
//! parts.
//!
//! ```text
//! client ── tonic stream ──> CRC ──> one queue ──> one thread: rounds of at most 4 MiB, one write,
//!    ^                                             one sync each
//!    └───── cumulative acknowledgements <──────────┘
//! ```
//!
//! No records, no topics, no state, one connection, one partition. It must stay this bare: what the
//! broker does beyond it is what the comparison is to show. A change here changes every ratio that
//! was ever taken, so it comes with new figures.

pub mod client;
pub mod measure;
pub mod pair;
pub mod server;

mod fetch;
mod outgoing;
mod produce;
pub(crate) mod server_process;
mod service;
mod watermark;
mod wire;
mod writer;

#[cfg(test)]
mod tests;
