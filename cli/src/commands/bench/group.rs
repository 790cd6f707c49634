//! How fast records are read by the members of a consumer group.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::{Client, GroupConsumer, GroupItem, Start};

use super::latencies::{Latencies, Recorder};
use super::meter::Meter;
use super::trial::Trial;
use super::verify::{Reading, expect_count};
use super::writer::Content;
use super::{Measured, join_all, produce};
use crate::commands::session::GIVE_UP_AFTER;
use crate::failure::Failure;

/// Writes all records, then reads them as a group of which every client is a member. Joining is told
/// apart: the broker waits for further members before it assigns anything, so that it takes the same time
/// whatever is read. Commits count, of which each batch has one. The latency is how long a member waited
/// for a batch.
pub(super) async fn measure(trial: &Trial<'_>) -> Result<Measured, Failure> {
    let load = trial.load;
    let written = produce::prepare(trial, Content::default()).await?;
    let clients = trial.clients()?;
    let reading = Reading::new(
        load.partitions.get(),
        load.records.get(),
        load.clients.get(),
    );
    let reading = Arc::new(reading);
    let meter = trial.meter("consumed", load.records.get());
    let latencies = Latencies::new(load.clients.get())?;
    let begun = Instant::now();
    let mut members = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let member = join(&client, trial.topic());
        let recorder = latencies.recorder(number);
        members.spawn(read(member, Arc::clone(&reading), meter.clone(), recorder));
    }
    join_all(&mut members).await?;
    let mut measured = Measured::of(&meter, latencies)?;
    measured.joining = Some(meter.start() - begun);
    reading
        .fingerprint()
        .expect("the members have read", written)?;
    let lag = trial.delete_group(trial.topic()).await?;
    expect_count("the group has left", lag, 0)?;
    Ok(measured)
}

/// A member of the group that has the topic's name, with what the SDK lets be on its way.
fn join(client: &Client, topic: &str) -> GroupConsumer {
    client
        .group(topic)
        .topics([topic])
        .start(Start::Beginning)
        .give_up_after(GIVE_UP_AFTER)
        .build()
}

async fn read(
    mut member: GroupConsumer,
    reading: Arc<Reading>,
    meter: Meter,
    recorder: Recorder,
) -> Result<(), Failure> {
    if is_assigned(&mut member).await? {
        meter.start();
    }
    let mut asked = Instant::now();
    loop {
        let batch = tokio::select! {
            biased;
            () = reading.complete() => break,
            batch = member.next_batch() => batch?,
        };
        let Some(batch) = batch else { break };
        recorder.record_since(asked);
        meter.advance(reading.note(&batch, |_| ())?);
        // Its answer is waited for at the end.
        drop(member.commit(&batch));
        asked = Instant::now();
    }
    member.close().await;
    Ok(())
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
