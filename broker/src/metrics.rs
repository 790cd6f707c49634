//! What operators watch: counters beside the work, and the text that a scrape gets.
//!
//! Whatever happens per batch, round or call is counted with relaxed atomics that were found before:
//! no lock, no name is looked up, nothing is allocated. Everything else is read when somebody asks:
//! [`Scraper`] looks at what is published, asks the sequencer for the positions of groups and subscriptions a page at a
//! time, and writes the series of the [`catalogue`] and no others.

mod catalogue;
mod connections;
mod delivered;
mod exposition;
mod groups;
mod histogram;
mod refusals;
mod rpc;
mod scrape;
mod subscriptions;

pub(crate) use connections::{Closed, ConnectionMetrics, OpenConnection, Refused};
pub(crate) use delivered::{Delivered, GroupsInFlight};
pub(crate) use exposition::CONTENT_TYPE;
pub(crate) use histogram::{COUNT_BOUNDS, Histogram, LATENCY_BOUNDS};
pub(crate) use refusals::Refusals;
pub(crate) use rpc::{Call, RpcMetrics};
pub(crate) use scrape::{Scraper, Sources, recovering};
