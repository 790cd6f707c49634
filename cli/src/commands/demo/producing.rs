//! The producer of the demo: it knows nothing of what happens to the broker.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use towpath_client::{Client, Position, Receipt, Record};

use super::events::Event;
use crate::failure::Failure;

/// Events that are sent at a time, and the pause in between: slow enough to be killed on the way.
const BURST_EVENTS: usize = 20;
const BURST_PAUSE: Duration = Duration::from_millis(5);
/// How long the producer goes on without a broker.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

/// What the broker has acknowledged.
#[derive(Debug)]
pub(super) struct Written {
    /// Where each event is, by its number.
    pub(super) positions: Vec<Position>,
    /// How many of them were acknowledged half-way.
    pub(super) acknowledged_before_kill: u64,
}

/// Sends all events in their order, tells once that it is half-way, and waits until all are
/// acknowledged.
///
/// # Errors
///
/// The first event that was not acknowledged.
pub(super) async fn produce(
    client: &Client,
    topic: &str,
    events: &[Event],
    half_way: &Notify,
) -> Result<Written, Failure> {
    let producer = client.producer(topic).give_up_after(GIVE_UP_AFTER).build();
    let mut half_way = Some(half_way);
    let mut receipts = VecDeque::new();
    let mut positions = Vec::with_capacity(events.len());
    let mut acknowledged_before_kill = 0;
    for (index, burst) in events.chunks(BURST_EVENTS).enumerate() {
        for event in burst {
            let record = Record::new(event.value.clone()).key(event.key.clone());
            receipts.push_back(producer.enqueue(record).await?);
        }
        settle_ready(&mut receipts, &mut positions)?;
        if (index + 1) * BURST_EVENTS >= events.len() / 2
            && let Some(half_way) = half_way.take()
        {
            acknowledged_before_kill = positions.len() as u64;
            half_way.notify_one();
        }
        tokio::time::sleep(BURST_PAUSE).await;
    }
    for receipt in receipts {
        positions.push(receipt.await?);
    }
    producer.close().await?;
    Ok(Written {
        positions,
        acknowledged_before_kill,
    })
}

/// Takes the outcomes that are there, in the order of the events.
fn settle_ready(
    receipts: &mut VecDeque<Receipt>,
    positions: &mut Vec<Position>,
) -> Result<(), Failure> {
    while let Some(result) = receipts.front_mut().and_then(FutureExt::now_or_never) {
        positions.push(result?);
        receipts.pop_front();
    }
    Ok(())
}
