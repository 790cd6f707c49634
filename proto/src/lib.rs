//! The wire contract of Towpath, shared by the broker and its clients.
//!
//! The `.proto` files in `towpath/v1` are the contract; [`v1`] is the code generated from them and
//! [`wire`] a second view of the two messages that carry batches, in which a batch stays opaque.
//! Nothing here does I/O or keeps state.
#![forbid(unsafe_code)]

#[rustfmt::skip]
mod generated;

pub mod address;
pub mod batch;
pub mod compression;
pub mod dead_letter;
pub mod ids;
pub mod limits;
pub mod names;
pub mod partitioner;
pub mod problem;
pub mod reason;
pub mod schedule;
pub mod status;
#[cfg(test)]
mod testing;
pub mod wire;

/// The typed view of the contract: every message, and the stubs of every service.
///
/// The streams of `ProduceService`, `FetchService` and `GroupService` use [`wire::ProduceRequest`],
/// [`wire::FetchResponse`] and [`wire::JoinResponse`] in place of their typed twins.
pub mod v1 {
    pub use crate::generated::control_services::*;
    pub use crate::generated::data_services::*;
    pub use crate::generated::fetch_services::*;
    pub use crate::generated::messages::*;
}

/// The compiled `.proto` files, an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptor_set.bin");
