//! What a member makes of what the broker says.

use std::sync::Arc;
use std::time::Duration;

use towpath_proto::ids::{Generation, Lsn, Offset, OffsetRange, PartitionId};
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::v1::join_request::Request;
use towpath_proto::wire::FetchedBatch;
use towpath_proto::wire::join_response::Response;

use super::{Holding, Membership, Phase, Place, Stage};
use crate::flow::Cost;
use crate::group::item::{
    AssignedPartition, Assignment, GroupBatch, GroupItem, Revoking, StoppedPartition,
};
use crate::reader::{check, received_bytes};
use crate::record::Origin;
use crate::{Batch, CaughtUp, Error, ErrorReason, Gap, GapReason};

/// What a message means for the stream it came on.
#[derive(Debug)]
pub(in crate::group) enum Heard {
    /// It goes on.
    GoOn,
    /// The member belongs to the group: the broker is well.
    Joined,
    /// It is of no use any more.
    Broken(Error),
    /// Nor would be another one.
    Over(Error),
}

impl Membership {
    /// Takes a message of the broker.
    pub(in crate::group) fn take(&mut self, response: Option<Response>) -> Heard {
        let tells_holdings = matches!(
            response,
            Some(
                Response::Joined(_)
                    | Response::Assigned(_)
                    | Response::Revoking(_)
                    | Response::Lost(_)
                    | Response::Committed(_)
            )
        );
        // What the member still owns is told before anything else.
        if !tells_holdings {
            self.settle();
        }
        let heard = match response {
            Some(Response::Joined(joined)) => return self.take_joined(&joined),
            Some(Response::Assigned(assigned)) => self.take_assigned(&assigned),
            Some(Response::Revoking(revoking)) => self.take_revoking(&revoking),
            Some(Response::Lost(lost)) => self.take_lost(&lost),
            Some(Response::Batch(batch)) => self.take_batch(batch),
            Some(Response::Committed(committed)) => self.commits.take(committed),
            Some(Response::CaughtUp(caught_up)) => self.take_caught_up(caught_up),
            Some(Response::Gap(gap)) => self.take_gap(&gap),
            Some(Response::Failed(failed)) => self.take_failed(failed),
            Some(Response::Heartbeat(_) | Response::Draining(_)) | None => Ok(()),
        };
        match heard {
            Ok(()) => Heard::GoOn,
            Err(error) => Heard::Broken(error),
        }
    }

    fn take_joined(&mut self, joined: &v1::Joined) -> Heard {
        if let Err(error) = self.compare(joined) {
            return Heard::Over(error);
        }
        self.phase = Phase::Open;
        self.buffer.begin();
        Heard::Joined
    }

    /// The first time broker, group and topics are learned, later they are only compared.
    fn compare(&mut self, joined: &v1::Joined) -> Result<(), Error> {
        let found = v1::Rejoin {
            broker_id: joined.broker_id.clone(),
            group_id: joined.group_id,
            topic_ids: joined.topics.iter().map(|topic| topic.topic_id).collect(),
        };
        if let Some(known) = &self.joined {
            return match *known == found {
                true => Ok(()),
                false => Err(Error::protocol("the broker joined what was not asked for")),
            };
        }
        let names = joined.topics.iter().map(|topic| topic.topic.parse());
        let names: Result<Vec<TopicName>, _> = names.collect();
        let names = names
            .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))?;
        if names.len() != self.options.topics.len() {
            return Err(Error::protocol(
                "the broker joined other topics than asked for",
            ));
        }
        self.topics = names;
        self.joined = Some(found);
        Ok(())
    }

    /// What the broker has not confirmed by now belongs to others.
    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let unconfirmed = self.holdings.iter().filter(|(_, it)| !it.is_confirmed);
        let places: Vec<_> = unconfirmed.map(|(place, _)| *place).collect();
        self.lose(&places);
    }

    fn take_assigned(&mut self, assigned: &v1::Assigned) -> Result<(), Error> {
        let generation = Generation::new(assigned.generation);
        let mut fresh = Vec::new();
        let mut replaced = Vec::new();
        let mut returned = Vec::new();
        for it in &assigned.partitions {
            let place = (it.handle, it.partition);
            let assignment = self.assignment(place, generation)?;
            match self.holdings.get_mut(&place) {
                Some(holding) if holding.generation == generation => {
                    holding.is_confirmed = true;
                    if holding.stage == Stage::Returned {
                        returned.push(holding.to_ref(place));
                    }
                }
                known => {
                    if known.is_some() {
                        replaced.push(place);
                    }
                    fresh.push((place, it, assignment));
                }
            }
        }
        self.lose(&replaced);
        let mut news = Vec::with_capacity(fresh.len());
        for (place, it, assignment) in fresh {
            let committed_offset = Offset::new(it.committed_offset);
            let holding = Holding::new(it.partition, generation, committed_offset);
            self.holdings.insert(place, holding);
            news.push(AssignedPartition {
                assignment,
                committed_offset,
                end_offset: Offset::new(it.end_offset),
            });
        }
        if !news.is_empty() && !self.is_leaving {
            self.news.push_back(GroupItem::Assigned(news));
        }
        if !returned.is_empty() {
            let partitions = returned;
            let request = Request::Return(v1::ReturnPartitions { partitions });
            self.outbox.push_back(request);
        }
        Ok(())
    }

    fn take_revoking(&mut self, revoking: &v1::Revoking) -> Result<(), Error> {
        let mut partitions = Vec::new();
        for it in &revoking.partitions {
            let place = (it.handle, it.partition);
            let generation = Generation::new(it.generation);
            let assignment = self.assignment(place, generation)?;
            let holding = self.holdings.get_mut(&place);
            let is_same =
                |it: &&mut Holding| it.generation == generation && it.stage == Stage::Held;
            if let Some(holding) = holding.filter(is_same) {
                holding.stage = Stage::Revoking;
                self.buffer.drop_place(place);
                partitions.push(assignment);
            }
        }
        if !partitions.is_empty() && !self.is_leaving {
            self.news.push_back(GroupItem::Revoking(Revoking {
                partitions,
                grace: Duration::from_millis(revoking.grace_ms),
            }));
        }
        Ok(())
    }

    fn take_lost(&mut self, lost: &v1::Lost) -> Result<(), Error> {
        let mut places = Vec::new();
        for it in &lost.partitions {
            let place = (it.handle, it.partition);
            self.assignment(place, Generation::new(it.generation))?;
            let holding = self.holdings.get(&place);
            if holding.is_some_and(|known| known.generation.get() == it.generation) {
                places.push(place);
            }
        }
        self.lose(&places);
        Ok(())
    }

    /// Forgets partitions and tells those that were not given back.
    fn lose(&mut self, places: &[Place]) {
        let mut lost = Vec::new();
        for place in places {
            self.buffer.drop_place(*place);
            let Some(holding) = self.holdings.remove(place) else {
                continue;
            };
            if holding.stage != Stage::Returned {
                lost.extend(self.assignment(*place, holding.generation).ok());
            }
        }
        if !lost.is_empty() && !self.is_leaving {
            self.news.push_back(GroupItem::Lost(lost));
        }
    }

    fn take_batch(&mut self, mut batch: FetchedBatch) -> Result<(), Error> {
        let place = (batch.handle, batch.partition);
        let cost = Cost {
            records: batch.record_count.into(),
            bytes: received_bytes(&batch),
        };
        let topic = self.topic(place.0)?;
        let is_leaving = self.is_leaving;
        let holding = self.holdings.get_mut(&place);
        let Some(holding) = holding.filter(|it| it.is_held() && !is_leaving) else {
            self.buffer.refund(cost);
            return Ok(());
        };
        if let Err(error) = check_batch(holding, &mut batch) {
            return self.take_damaged(place, Offset::new(batch.base_offset), error);
        }
        let wanted = holding.take(&batch);
        let generation = holding.generation;
        match Batch::new(Arc::new(Origin { topic, batch }), wanted) {
            None => self.buffer.refund(cost),
            Some(batch) => {
                let item = GroupItem::Batch(GroupBatch { batch, generation });
                self.buffer.push_records(Some(place), cost, Ok(item));
            }
        }
        Ok(())
    }

    /// Asks once more; a second time the partition is given up.
    fn take_damaged(&mut self, place: Place, offset: Offset, error: Error) -> Result<(), Error> {
        let error = error
            .with("topic", self.topic(place.0)?)
            .with("partition", place.1)
            .with("offset", offset);
        if self.damaged.replace((place, offset)) != Some((place, offset)) {
            return Err(error);
        }
        self.stop(place, error)
    }

    /// Reads a partition no further. What comes again over another stream is no news.
    fn stop(&mut self, place: Place, error: Error) -> Result<(), Error> {
        let holding = self.holdings.get_mut(&place).filter(|it| it.is_held());
        if let Some(holding) = holding
            && holding.fail()
        {
            let generation = holding.generation;
            let assignment = self.assignment(place, generation)?;
            let item = GroupItem::Stopped(StoppedPartition { assignment, error });
            self.buffer.push(Some(place), Ok(item));
        }
        Ok(())
    }

    fn take_caught_up(&mut self, caught_up: v1::CaughtUp) -> Result<(), Error> {
        let place = (caught_up.handle, caught_up.partition);
        let topic = self.topic(place.0)?;
        let holding = self.holdings.get_mut(&place);
        if holding.is_some_and(|it| it.is_held() && it.take_caught_up()) {
            let item = GroupItem::CaughtUp(CaughtUp {
                topic,
                partition: PartitionId::new(place.1),
                end_offset: Offset::new(caught_up.end_offset),
                lsn: Lsn::new(caught_up.lsn),
            });
            self.buffer.push(Some(place), Ok(item));
        }
        Ok(())
    }

    fn take_gap(&mut self, gap: &v1::Gap) -> Result<(), Error> {
        let place = (gap.handle, gap.partition);
        let topic = self.topic(place.0)?;
        let range = gap.range.unwrap_or_default();
        let range = OffsetRange::new(Offset::new(range.start), Offset::new(range.end))
            .ok_or_else(|| Error::protocol("the broker told a gap that ends before it starts"))?;
        let holding = self.holdings.get_mut(&place).filter(|it| it.is_held());
        if let Some(range) = holding.and_then(|it| it.skip(range)) {
            let item = GroupItem::Gap(Gap {
                topic,
                partition: PartitionId::new(place.1),
                range,
                reason: GapReason::from_proto(gap.reason()),
            });
            self.buffer.push(Some(place), Ok(item));
        }
        Ok(())
    }

    fn take_failed(&mut self, failed: v1::SourceFailed) -> Result<(), Error> {
        let topic = self.topic(failed.handle)?;
        let error = Error::from_stream(&failed.error.unwrap_or_default()).with("topic", topic);
        // A broker that stops gives up nothing for good.
        if error.reason() == Some(ErrorReason::ShuttingDown) {
            return Err(error);
        }
        if let Some(partition) = failed.partition {
            let place = (failed.handle, partition);
            return self.stop(place, error.with("partition", partition));
        }
        if !self.failed_topics.insert(failed.handle) {
            return Ok(());
        }
        let of_topic = self.holdings.iter_mut();
        let of_topic = of_topic.filter(|((handle, _), _)| *handle == failed.handle);
        for (_, holding) in of_topic {
            holding.fail();
        }
        if self.failed_topics.len() == self.topics.len() {
            self.fail(error);
        } else {
            self.buffer.push(None, Err(error));
        }
        Ok(())
    }

    fn assignment(
        &self,
        (handle, partition): Place,
        generation: Generation,
    ) -> Result<Assignment, Error> {
        Ok(Assignment {
            topic: self.topic(handle)?,
            partition: PartitionId::new(partition),
            generation,
        })
    }

    fn topic(&self, handle: u32) -> Result<TopicName, Error> {
        let topic = self.topics.get(handle as usize);
        let missing = "the broker tells of a topic that was not asked for";
        topic.cloned().ok_or_else(|| Error::protocol(missing))
    }
}

fn check_batch(holding: &Holding, batch: &mut FetchedBatch) -> Result<(), Error> {
    check(batch)?;
    if holding.is_beyond_next(batch) {
        return Err(Error::corrupt("records are missing before a batch")
            .with("expected", holding.next_offset()));
    }
    Ok(())
}
