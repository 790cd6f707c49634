//! A producer's topic once it is known, with the lanes to its partitions.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_proto::ids::PartitionId;

use super::admission::{Admission, Admitted};
use super::batch::{BatchSize, Weighed};
use super::builder::ProducerOptions;
use super::driver::Driver;
use super::lane::{Lane, LaneShare};
use super::life::BegunLife;
use super::partition::Rules;
use super::receipt::{Outcome, Receipt};
use super::room::{Room, closed};
use super::shared_lane::SharedLane;
use super::spread::Spread;
use crate::admin::{Limits, ServerInfo};
use crate::client::Shared;
use crate::{Error, Topic};

/// How long a batch in doubt is sent again so that later ones can follow it: longer than any
/// connection that may still carry it, much shorter than the broker remembers a producer.
const RESEND_FOR: Duration = Duration::from_mins(10);
/// What a record of the largest size adds to a batch beside itself, at most.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// What a producer writes to.
#[derive(Debug)]
pub(super) struct OpenTopic {
    pub(super) admission: Admission,
    pub(super) room: Room,
    lanes: Box<[Arc<SharedLane>]>,
    spread: Spread,
}

/// A record in a batch.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) partition: PartitionId,
    pub(super) receipt: Receipt,
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
        (topic, server): (&Topic, &ServerInfo),
        life: Option<&Arc<BegunLife>>,
        lifetime: &Lifetime,
    ) -> Result<Self, Error> {
        let partition_count = NonZeroU32::new(topic.partition_count)
            .ok_or_else(|| Error::protocol("the topic has no partitions"))?;
        let lane_count = partition_count
            .get()
            .min(client.transport.data_connections());
        let first_connection = client.transport.next_data_connection();
        let limits = &server.limits;
        let broker_id: Arc<str> = server.broker_id.as_str().into();
        let rules = rules(options, limits);
        let room = Room::new(room_bytes(options, limits), lifetime.closing.clone());
        let lanes = (0..lane_count).map(|lane| {
            let share = LaneShare {
                lane,
                lane_count,
                partition_count: partition_count.get(),
            };
            let name = topic.name.clone();
            let lane = Lane::new(name.clone(), share, rules.clone(), fastrand::Rng::new());
            let lane = lane.of_life(life.cloned());
            let lane = Arc::new(SharedLane::new(lane, room.clone()));
            let driver = Driver {
                client: Arc::clone(client),
                lane: Arc::clone(&lane),
                connection: first_connection.wrapping_add(share.lane),
                topic: name,
                topic_id: topic.topic_id,
                broker_id: Arc::clone(&broker_id),
                compression: options.compression,
                closing: lifetime.closing.clone(),
                abort: lifetime.abort.clone(),
            };
            let tracked = lifetime.tasks.track_future(driver.run());
            client.tasks.spawn(tracked);
            lane
        });
        let source = client.source.clone();
        Ok(Self {
            lanes: lanes.collect(),
            admission: Admission::new(
                topic.name.clone(),
                partition_count,
                limits.of_batches(),
                source,
            ),
            room,
            spread: Spread::new(partition_count, fastrand::u32(..)),
        })
    }

    /// Puts a record for which there is room into a batch.
    ///
    /// # Errors
    ///
    /// The producer has ended, and why. The room is free again.
    pub(super) fn push(&self, admitted: &Admitted<'_>) -> Result<Placed, Error> {
        let Admitted { partition, weighed } = admitted;
        let pushed = match *partition {
            Some(partition) => self.push_to(partition, weighed, false),
            None => self.push_anywhere(weighed),
        };
        let pushed = pushed.unwrap_or_else(|| Err(closed()));
        if pushed.is_err() {
            self.room.give_back(weighed.batch_len);
        }
        pushed
    }

    /// Gives a record up before the time of its batch is over, because its caller does. Returns what
    /// to tell the caller; none if the receipt is complete now.
    pub(super) fn give_up(&self, placed: &Placed) -> Option<Error> {
        let lane = self.lane_of(placed.partition)?;
        lane.with(|lane| lane.give_up(placed.partition, placed.receipt.outcome(), Instant::now()))
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

    /// Puts a record into the batch that takes records without a key, or begins one elsewhere.
    fn push_anywhere(&self, weighed: &Weighed<'_>) -> Option<Result<Placed, Error>> {
        let current = self.spread.current();
        self.push_to(current, weighed, true)
            .or_else(|| self.push_to(self.spread.advance(current), weighed, false))
    }

    fn push_to(
        &self,
        partition: PartitionId,
        weighed: &Weighed<'_>,
        must_join: bool,
    ) -> Option<Result<Placed, Error>> {
        let lane = self.lane_of(partition)?;
        let pushed = lane.push(partition, weighed, must_join)?;
        Some(pushed.map(|receipt| Placed { partition, receipt }))
    }

    fn lane_of(&self, partition: PartitionId) -> Option<&SharedLane> {
        let lane = self
            .lanes
            .get(partition.get() as usize % self.lanes.len())?;
        Some(lane)
    }
}

fn rules(options: &ProducerOptions, limits: &Limits) -> Rules {
    Rules {
        size: BatchSize {
            bytes_max: options.batch_bytes.min(limits.batch_bytes_max),
            // Whether the topic looks at records may change.
            records_max: limits
                .records_per_batch_max
                .min(limits.records_looked_at_max),
        },
        window: limits.producer_window_batches as usize,
        linger: options.linger,
        give_up_after: options.give_up_after,
        resend_for: RESEND_FOR,
    }
}

/// At least one record of the largest size has room.
fn room_bytes(options: &ProducerOptions, limits: &Limits) -> usize {
    let largest = limits
        .record_bytes_max
        .saturating_add(RECORD_OVERHEAD_BYTES);
    options.in_flight_bytes_max.max(largest)
}
