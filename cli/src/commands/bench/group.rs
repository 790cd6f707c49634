//! How fast records are read by the members of a consumer group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use towpath_client::{Client, GroupConsumer, Start};

use super::trial::{Trial, expect_count, value_count};
use super::{Latencies, Measured, produce};
use crate::failure::Failure;
use crate::output::Progress;

/// What a member may have that it has not committed, bytes: as much as a reader has on its way.
const IN_FLIGHT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the members have read together.
#[derive(Debug, Clone)]
struct Count {
    progress: Progress,
    /// Records that are still to come, with those that the writers were made ready with.
    missing: Arc<AtomicU64>,
    /// Set once everything was read.
    reached: CancellationToken,
}

/// Writes all records, then reads them as a group of which every client is a member. Joining counts,
/// and so do the commits, of which each batch has one. The latency is how long a member waited for a
/// batch.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let load = trial.load;
    produce::prepare(trial).await?;
    let clients = trial.clients()?;
    let count = Count {
        progress: trial.progress("consumed"),
        missing: Arc::new(AtomicU64::new(trial.record_count())),
        reached: CancellationToken::new(),
    };
    let stopwatch = trial.stopwatch();
    let mut members = JoinSet::new();
    for client in clients {
        let member = join(&client, trial.topic());
        members.spawn(read(member, load.size, count.clone()));
    }
    let latencies = produce::join_all(members).await?;
    let elapsed = stopwatch.stop();
    let read = count.progress.done();
    expect_count("the members have read", read, load.records.get())?;
    let lag = trial.delete_group(trial.topic()).await?;
    expect_count("the group has left", lag, 0)?;
    Ok(Measured { elapsed, latencies })
}

/// A member of the group that has the topic's name.
fn join(client: &Client, topic: &str) -> GroupConsumer {
    client
        .group(topic)
        .topics([topic])
        .start(Start::Beginning)
        .max_in_flight(u64::MAX)
        .max_in_flight_bytes(IN_FLIGHT_BYTES_MAX)
        .build()
}

async fn read(
    mut member: GroupConsumer,
    value_bytes: usize,
    count: Count,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    let mut asked = Instant::now();
    loop {
        let batch = tokio::select! {
            biased;
            () = count.reached.cancelled() => break,
            batch = member.next_batch() => batch?,
        };
        let Some(batch) = batch else { break };
        latencies.record(asked.elapsed());
        count.progress.advance(value_count(&batch, value_bytes));
        // Its answer is waited for at the end.
        drop(member.commit(&batch));
        let read = u64::from(batch.record_count());
        if count.missing.fetch_sub(read, Ordering::Relaxed) <= read {
            count.reached.cancel();
        }
        asked = Instant::now();
    }
    member.close().await;
    Ok(latencies)
}
