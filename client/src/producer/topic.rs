//! A producer's topic once it is known: its partitions, the lanes to them, the room for records.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_proto::batch::BatchLimits;
use towpath_proto::ids::{PartitionId, TopicId};
use towpath_proto::names::TopicName;
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::Problem;

use super::batch::BatchSize;
use super::builder::ProducerOptions;
use super::driver::Driver;
use super::lane::{Lane, LaneShare};
use super::partition::Rules;
use super::receipt::{Outcome, Receipt};
use super::shared_lane::SharedLane;
use super::spread::Spread;
use crate::admin::Limits;
use crate::client::Shared;
use crate::error::Effects;
use crate::{Error, ErrorReason, Record};

/// How long a batch in doubt is sent again so that later ones can follow it: longer than any
/// connection that may still carry it, much shorter than the broker remembers a producer.
const RESEND_FOR: Duration = Duration::from_mins(10);

/// What a producer writes to.
#[derive(Debug)]
pub(super) struct OpenTopic {
    name: TopicName,
    partition_count: NonZeroU32,
    limits: BatchLimits,
    lanes: Box<[Arc<SharedLane>]>,
    spread: Spread,
    /// Bytes that may still be taken.
    room: Arc<Semaphore>,
    closing: CancellationToken,
    /// Where events come from that do not say so themselves.
    source: String,
}

/// What the drivers of a producer's lanes obey.
#[derive(Debug, Clone)]
pub(super) struct Lifetime {
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    pub(super) abort: CancellationToken,
}

impl OpenTopic {
    /// Prepares the lanes and starts their drivers, which connect when there is something to send.
    pub(super) fn start(
        client: &Arc<Shared>,
        options: &ProducerOptions,
        topic: &crate::Topic,
        limits: &Limits,
        lifetime: &Lifetime,
    ) -> Result<Self, Error> {
        let partition_count = NonZeroU32::new(topic.partition_count)
            .ok_or_else(|| Error::protocol("the topic has no partitions"))?;
        let room_bytes = room_bytes(options.in_flight_bytes_max, limits);
        let mut this = Self {
            name: topic.name.clone(),
            partition_count,
            limits: limits.of_batches(),
            lanes: Box::default(),
            spread: Spread::new(partition_count, fastrand::u32(..)),
            room: Arc::new(Semaphore::new(room_bytes)),
            closing: lifetime.closing.clone(),
            source: client.source.clone(),
        };
        let lane_count = partition_count
            .get()
            .min(narrow(client.transport.data_connections()));
        let shares = (0..lane_count).map(|lane| LaneShare {
            lane,
            lane_count,
            partition_count: partition_count.get(),
        });
        let rules = rules(options, limits);
        let first_connection = client.transport.next_data_connection();
        this.lanes = shares
            .map(|share| {
                let lane = Lane::new(
                    topic.name.clone(),
                    share,
                    rules.clone(),
                    fastrand::Rng::new(),
                );
                let lane = Arc::new(SharedLane::new(lane, Arc::clone(&this.room)));
                let connection = first_connection + share.lane as usize;
                this.drive(client, &lane, connection, topic.topic_id, lifetime);
                lane
            })
            .collect();
        Ok(this)
    }

    fn drive(
        &self,
        client: &Arc<Shared>,
        lane: &Arc<SharedLane>,
        connection: usize,
        topic_id: TopicId,
        lifetime: &Lifetime,
    ) {
        let driver = Driver {
            client: Arc::clone(client),
            lane: Arc::clone(lane),
            connection,
            topic: self.name.clone(),
            topic_id,
            closing: lifetime.closing.clone(),
            abort: lifetime.abort.clone(),
        };
        let tracked = lifetime.tasks.track_future(driver.run());
        client.tasks.spawn(tracked);
    }

    /// Checks a record and returns how much room it takes.
    pub(super) fn admit(&self, record: &Record) -> Result<u32, Error> {
        let new_record = record.as_new_record(&self.source);
        if let Err(fault) = new_record.check(&self.limits) {
            let error = Error::from(Problem::from(fault));
            return Err(error.with("topic", &self.name));
        }
        if let Some(partition) = record.chosen_partition()
            && partition.get() >= self.partition_count.get()
        {
            let text = format!("topic {} has no partition {partition}", self.name);
            let problem = Problem::new(ErrorReason::PartitionNotFound, text)
                .with("topic", &self.name)
                .with("partition", partition)
                .with_hint(format!(
                    "its partitions are 0 to {}",
                    self.partition_count.get() - 1
                ));
            return Err(problem.into());
        }
        Ok(narrow(new_record.batch_len()))
    }

    /// Waits for room, for at most `patience`. Dropping the future takes none.
    pub(super) async fn take_room(&self, bytes: u32, patience: Duration) -> Result<(), Error> {
        if self.try_take_room(bytes)? {
            return Ok(());
        }
        // Whoever waits here would wait for batches that wait for more records.
        self.hurry();
        let room = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(self.closed()),
            room = timeout(patience, self.room.acquire_many(bytes)) => room,
        };
        match room {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            Ok(Err(_closed)) => Err(self.closed()),
            Err(_elapsed) => Err(self.no_room()),
        }
    }

    /// Takes room if there is any at once.
    pub(super) fn try_take_room(&self, bytes: u32) -> Result<bool, Error> {
        match self.room.try_acquire_many(bytes) {
            Ok(permit) => {
                permit.forget();
                Ok(true)
            }
            Err(TryAcquireError::NoPermits) => Ok(false),
            Err(TryAcquireError::Closed) => Err(self.closed()),
        }
    }

    /// Puts a record for which there is room into a batch.
    pub(super) fn push(&self, record: &Record, bytes: u32) -> Result<Receipt, Error> {
        let new_record = record.as_new_record(&self.source);
        let key = record.key_bytes();
        let partition = record
            .chosen_partition()
            .or_else(|| key.map(|key| partition_of(key, self.partition_count)));
        let pushed = match partition {
            Some(partition) => {
                let push = |lane: &mut Lane| lane.push(partition, &new_record, Instant::now);
                self.lane_of(partition).map(|lane| lane.with(push))
            }
            None => self.push_anywhere(bytes as usize, |lane, partition| {
                lane.push(partition, &new_record, Instant::now)
            }),
        };
        let pushed = pushed.unwrap_or_else(|| Err(Error::protocol("the topic has no lanes")));
        if pushed.is_err() {
            self.room.add_permits(bytes as usize);
        }
        pushed
    }

    /// Lets everything go without waiting for more records.
    pub(super) fn hurry(&self) {
        for lane in &self.lanes {
            lane.with(|lane| lane.hurry(Instant::now()));
        }
    }

    /// The outcomes that somebody still waits for.
    pub(super) fn unsettled(&self) -> Vec<Arc<Outcome>> {
        let lanes = self.lanes.iter();
        lanes
            .flat_map(|lane| lane.with(|lane| lane.unsettled()))
            .collect()
    }

    pub(super) fn no_room(&self) -> Error {
        let text = "no room for the record: too much is in flight";
        Error::timeout(Effects::None, text).with("topic", &self.name)
    }

    fn closed(&self) -> Error {
        Error::closed(Effects::None, "the producer is closed").with("topic", &self.name)
    }

    /// Puts a record into the batch that takes records without a key, or begins one elsewhere.
    fn push_anywhere(
        &self,
        batch_len: usize,
        push: impl Fn(&mut Lane, PartitionId) -> Result<Receipt, Error>,
    ) -> Option<Result<Receipt, Error>> {
        let current = self.spread.current();
        let joined = self.lane_of(current)?.with(|lane| {
            lane.would_join(current, batch_len)
                .then(|| push(lane, current))
        });
        if joined.is_some() {
            return joined;
        }
        let next = self.spread.advance(current);
        Some(self.lane_of(next)?.with(|lane| push(lane, next)))
    }

    fn lane_of(&self, partition: PartitionId) -> Option<&Arc<SharedLane>> {
        self.lanes.get(partition.get() as usize % self.lanes.len())
    }
}

fn rules(options: &ProducerOptions, limits: &Limits) -> Rules {
    Rules {
        size: BatchSize {
            bytes_max: options.batch_bytes.min(limits.batch_bytes_max),
            records_max: limits.records_per_batch_max,
        },
        window: limits.producer_window_batches as usize,
        linger: options.linger,
        give_up_after: options.give_up_after,
        resend_for: RESEND_FOR,
    }
}

/// At least one record of the largest size has room.
fn room_bytes(wanted: usize, limits: &Limits) -> usize {
    let record_with_tag = limits.record_bytes_max.saturating_add(16);
    wanted.max(record_with_tag).min(Semaphore::MAX_PERMITS)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
