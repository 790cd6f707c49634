//! The systems: a file for each says how it is started and set.

mod iggy;
mod kafka;
mod limits;
mod loaded;
mod model;
mod nats;
mod redis;
mod towpath;

use std::future::ready;

use futures_core::future::BoxFuture;

use super::peer::{Peer, Room, Started};
use super::plan::PeerName;
use crate::Result;

/// Starts Towpath.
///
/// # Errors
/// Those of its process.
pub(super) async fn start_towpath(room: Room<'_>) -> Result<Box<dyn Peer>> {
    towpath::start(room).await
}

/// Starts a peer, in each of its classes.
pub(super) fn start(name: PeerName, room: Room<'_>) -> BoxFuture<'_, Started> {
    match name {
        PeerName::Limits => Box::pin(ready(Ok(limits::start(room)))),
        PeerName::Model => Box::pin(ready(model::start(room))),
        PeerName::Kafka => Box::pin(kafka::start(room)),
        PeerName::Nats => Box::pin(nats::start(room)),
        PeerName::Redis => Box::pin(redis::start(room)),
        PeerName::Iggy => Box::pin(iggy::start(room)),
    }
}
