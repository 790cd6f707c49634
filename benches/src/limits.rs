//! The raw limits under the model: one sync, one loopback connection. No gRPC, no queue.

pub mod loopback;
pub mod sync;
