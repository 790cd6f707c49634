//! How fast, and how long after it was due, a record has come to a reader that follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_client::Reader;

use super::consume::share_of;
use super::latencies::{Latencies, Recorder};
use super::latency::write_at_rate;
use super::meter::Meter;
use super::trial::Trial;
use super::verify::Reading;
use super::writer::Content;
use super::{Measured, join_all, produce};
use crate::args::BenchEndToEnd;
use crate::commands::session::GIVE_UP_AFTER;
use crate::failure::Failure;

/// What a reader needs beside its source.
#[derive(Debug, Clone)]
struct Follower {
    reading: Arc<Reading>,
    meter: Meter,
    /// What the marks of records count from.
    epoch: Instant,
}

/// Writes all records while they are read. Each record holds the time when it was due: at a rate, or else
/// when it was given to the producer, so that its waits for room count. Time runs until the last one was
/// read.
pub(super) async fn measure(
    trial: &Trial<'_>,
    options: &BenchEndToEnd,
) -> Result<Measured, Failure> {
    let load = trial.load;
    let epoch = Instant::now();
    let content = Content {
        epoch: Some(epoch),
        ..Content::default()
    };
    let writers = trial.writers(content).await?;
    let reading = Reading::new(
        load.partitions.get(),
        load.records.get(),
        load.clients.get(),
    );
    let follower = Follower {
        reading: Arc::new(reading),
        meter: trial.meter("received", load.records.get()),
        epoch,
    };
    let latencies = Latencies::new(options.readers.get())?;
    let readers = options.readers.get() as usize;
    let mut following = JoinSet::new();
    for number in 0..readers {
        let source = share_of(trial, number, readers);
        let reader = trial.client()?.reader([source]).follow();
        let reader = reader.give_up_after(GIVE_UP_AFTER).build();
        following.spawn(follow(reader, follower.clone(), latencies.recorder(number)));
    }
    let Follower { reading, meter, .. } = follower;
    // Every reader has its stream before anything is due. One that cannot says so at the join below.
    tokio::select! {
        () = reading.live() => {}
        failed = join_all(&mut following) => drop(failed?),
    }
    meter.start();
    let unseen = trial.hidden_meter();
    let written = async {
        match options.rate {
            Some(rate) => write_at_rate(writers, (rate, 0), &unseen, &Latencies::new(1)?).await,
            None => produce::write_all(writers, &unseen, &Latencies::new(1)?).await,
        }
    };
    let (written, _read) = tokio::try_join!(written, join_all(&mut following))?;
    let measured = Measured::of(&meter, latencies)?;
    reading
        .fingerprint()
        .expect("the readers have got", written)?;
    trial.verify().await?;
    Ok(measured)
}

async fn follow(mut reader: Reader, follower: Follower, recorder: Recorder) -> Result<(), Failure> {
    let Follower {
        reading,
        meter,
        epoch,
    } = follower;
    let mut latencies = Vec::new();
    loop {
        let batch = tokio::select! {
            biased;
            batch = reader.next_batch() => batch?,
            () = reading.complete() => return Ok(()),
        };
        let Some(batch) = batch else { return Ok(()) };
        let now = epoch.elapsed();
        let since = |mark| now.saturating_sub(Duration::from_nanos(mark));
        let count = reading.note(&batch, |mark| latencies.push(since(mark)))?;
        recorder.record_all(latencies.drain(..));
        meter.advance(count);
    }
}
