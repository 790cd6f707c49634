//! The Towpath broker as a library.
//!
//! [`core`] decides, [`runtime`] owns the threads that make decisions durable, `fetch` reads, `api`
//! speaks gRPC. [`Broker`] puts them together.
#![forbid(unsafe_code)]

mod admin;
mod api;
mod broker;
pub mod config;
pub mod core;
mod error;
mod fetch;
mod filter;
mod memory;
mod metrics;
pub mod offline;
pub mod plain;
pub mod runtime;
mod server;
mod shutdown;

pub use broker::Broker;
pub use config::Config;
pub use error::StartError;
pub use runtime::engine::Identity;
pub use server::Connector;
