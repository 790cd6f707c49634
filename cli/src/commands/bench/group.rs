//! How fast records are read by the members of a consumer group.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use towpath_client::{Client, GroupConsumer, GroupItem, Start};

use super::stopwatch::Stopwatch;
use super::trial::{Trial, expect_count, value_count};
use super::{Latencies, Measured, produce};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Progress;

/// What the members have read together.
#[derive(Debug, Clone)]
struct Count {
    progress: Progress,
    /// Records that are still to come, with those that the writers were made ready with.
    missing: Arc<AtomicU64>,
    /// Set once everything was read.
    reached: CancellationToken,
    /// Runs since the first member was assigned its partitions.
    stopwatch: Arc<OnceLock<Stopwatch>>,
}

/// Writes all records, then reads them as a group of which every client is a member. Joining is told
/// apart: the broker waits for further members before it assigns anything, so that it takes the same time
/// whatever is read. Commits count, of which each batch has one. The latency is how long a member waited
/// for a batch.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let load = trial.load;
    produce::prepare(trial, None).await?;
    let clients = trial.clients()?;
    let count = Count {
        progress: trial.progress("consumed"),
        missing: Arc::new(AtomicU64::new(trial.record_count())),
        reached: CancellationToken::new(),
        stopwatch: Arc::default(),
    };
    let begun = Instant::now();
    let mut members = JoinSet::new();
    for client in clients {
        let member = join(&client, trial.topic());
        members.spawn(read(member, load.size, load.server_pid, count.clone()));
    }
    let latencies = produce::join_all(members).await?;
    let joined = count.stopwatch.get().ok_or_else(nobody_assigned)?;
    let joining = Some(joined.started_at() - begun);
    let elapsed = joined.stop();
    let read = count.progress.done();
    expect_count("the members have read", read, load.records.get())?;
    let lag = trial.delete_group(trial.topic()).await?;
    expect_count("the group has left", lag, 0)?;
    Ok(Measured {
        elapsed,
        latencies,
        joining,
    })
}

/// A member of the group that has the topic's name, with what the SDK lets be on its way.
fn join(client: &Client, topic: &str) -> GroupConsumer {
    client
        .group(topic)
        .topics([topic])
        .start(Start::Beginning)
        .build()
}

async fn read(
    mut member: GroupConsumer,
    value_bytes: usize,
    server_pid: Option<u32>,
    count: Count,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new()?;
    if is_assigned(&mut member).await? {
        count.stopwatch.get_or_init(|| Stopwatch::start(server_pid));
    }
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

/// Waits until a member has partitions; false if it never gets any.
async fn is_assigned(member: &mut GroupConsumer) -> Result<bool, Failure> {
    while let Some(item) = member.next_item().await {
        if let GroupItem::Assigned(_) = item? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn nobody_assigned() -> Failure {
    Failure::new(Exit::Failed, "void: no member was assigned a partition")
}
