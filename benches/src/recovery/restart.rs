//! One round: load, the end of the broker, and its next start, which is what is measured.

use std::time::Duration;

use tokio::time::sleep;
use towpath_client::Client;

use super::journal_tail::JournalTail;
use super::page_cache::drop_page_cache;
use super::topics::{self, Load, RECORD_BYTES};
use super::{DataFolder, PageCache, Plan, Recovery, RecoverySetting, Stop};
use crate::broker_process::BrokerProcess;
use crate::{Error, Result};

/// One restart that is to be measured.
#[derive(Debug)]
pub(super) struct Restart<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a DataFolder,
    /// Bytes that were asked to be stored.
    pub(super) size_bytes: u64,
    /// Records that they are.
    pub(super) record_count: u64,
    pub(super) round: u32,
    pub(super) stop: Stop,
}

/// A broker that was ended, and what it has left.
#[derive(Debug)]
struct Ended {
    load: Load,
    acknowledged: u64,
    tail: JournalTail,
    page_cache: PageCache,
}

impl Restart<'_> {
    /// Ends the broker under load and starts its successor.
    ///
    /// # Errors
    /// [`Error::Void`] if a record was lost, or if the broker did not end or start as it should.
    pub(super) async fn measure(
        &self,
        broker: BrokerProcess,
    ) -> Result<(BrokerProcess, RecoverySetting, Recovery)> {
        let ended = self.end(broker).await?;
        let broker = BrokerProcess::start(&self.plan.towpath, self.folder.path()).await?;
        let client = broker.client()?;
        topics::probe(&client).await?;
        let first_write_after = broker.start.elapsed();
        let usage = broker.meter.stop()?;
        let recovery = Recovery {
            stored_bytes: self.check(&client, &ended).await?,
            entry_count: ended.tail.entry_count,
            journal_bytes: ended.tail.journal_bytes,
            referenced_bytes: ended.tail.referenced_bytes,
            ready_ms: to_ms(broker.ready_after),
            first_write_ms: to_ms(first_write_after),
            server_cpu_seconds: usage.server_cpu_seconds.unwrap_or(0.0),
            steal_percent: usage.steal_percent,
            others_percent: usage.others_percent,
        };
        ended.load.remove(&client, self.folder.path()).await?;
        client.close().await;
        Ok((broker, self.setting(ended.page_cache), recovery))
    }

    /// Ends the broker in the middle of the load.
    async fn end(&self, broker: BrokerProcess) -> Result<Ended> {
        let client = broker.client()?;
        let topic = format!("load-{}-{}-{}", self.size_bytes, self.round, self.stop);
        let mut load = Load::start(&client, topic, self.plan.partitions).await?;
        sleep(self.plan.load_time(self.round)).await;
        broker.end(self.stop).await?;
        let acknowledged = load.stop().await?;
        // Before the cache is dropped: it reads the journal.
        let tail = JournalTail::measure(self.folder.path())?;
        Ok(Ended {
            load,
            acknowledged,
            tail,
            page_cache: drop_page_cache(self.folder.path())?,
        })
    }

    /// Checks that nothing is lost and returns how many bytes there are.
    async fn check(&self, client: &Client, ended: &Ended) -> Result<u64> {
        let (stored_bytes, stored_count) = topics::stored(client).await?;
        let (load_bytes, load_count) = ended.load.stored(client).await?;
        let (expected, acknowledged) = (self.record_count, ended.acknowledged);
        if stored_count != expected || load_count < acknowledged {
            return Err(Error::Void(format!(
                "records were lost: {stored_count} of {expected} that were stored and {load_count} of \
                 {acknowledged} of the load are there"
            )));
        }
        Ok(stored_bytes + load_bytes)
    }

    fn setting(&self, page_cache: PageCache) -> RecoverySetting {
        RecoverySetting {
            benchmark: "recovery",
            size_bytes: self.size_bytes,
            record_bytes: RECORD_BYTES,
            partitions: self.plan.partitions,
            stop: self.stop,
            page_cache,
        }
    }
}

/// To the microsecond.
fn to_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
