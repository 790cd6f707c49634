//! Where the broker has the records that are read: in memory, or in segments alone.

use std::fs;

use rustix::fs::sync;

use super::latencies::Latencies;
use super::produce;
use super::trial::Trial;
use super::writer::{Content, Writer};
use crate::args::{BenchLoad, BenchPlace};
use crate::failure::Failure;

/// More than a broker's tail cache holds by default, so that nothing older stays there.
const FILLING_BYTES: u64 = 160 * 1024 * 1024;
const FILLING_VALUE_BYTES: usize = 64 * 1024;
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
const CLEAN_PAGES: &str = "1";

/// Sees to it that the broker has the records that were written where they are to be read; returns what to
/// call that.
pub(super) async fn prepare(
    trial: &Trial<'_>,
    from: Option<BenchPlace>,
) -> Result<&'static str, Failure> {
    match from {
        None => Ok("the newest in the broker's memory, the others in segments"),
        Some(BenchPlace::Tail) => Ok("the broker's memory"),
        Some(BenchPlace::Cache) => {
            fill(trial).await?;
            Ok("segments, read once before")
        }
        Some(BenchPlace::Disk) => {
            fill(trial).await?;
            // Only clean pages can be dropped.
            let is_dropped = tokio::task::spawn_blocking(|| {
                sync();
                fs::write(DROP_CACHES, CLEAN_PAGES).is_ok()
            });
            Ok(match is_dropped.await {
                Ok(true) => "segments, page cache dropped",
                _ => "segments, page cache kept: only root drops it, on the broker's machine",
            })
        }
    }
}

/// Writes so much to another topic that nothing else stays in the broker's memory.
async fn fill(trial: &Trial<'_>) -> Result<(), Failure> {
    let topic = trial.add_topic("filling").await?;
    let load = BenchLoad::filling(FILLING_BYTES, FILLING_VALUE_BYTES);
    let client = trial.client()?;
    let share = (0, load.records.get());
    let content = (
        Content::default(),
        super::payload::Payload::new(load.values, load.size, load.records.get()),
    );
    let writer = Writer::connect(&client, &topic, &load, share, content).await?;
    let meter = trial.meter("written behind them", load.records.get());
    produce::write_all(vec![writer], &meter, &Latencies::new(1)?).await?;
    trial.remove_topic(&topic).await
}
