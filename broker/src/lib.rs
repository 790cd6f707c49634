//! The Towpath broker as a library.
//!
//! [`core`] decides, `runtime` owns the threads that make decisions durable, `api` speaks gRPC.
#![forbid(unsafe_code)]

pub mod core;
pub mod runtime;
