//! What a consumer makes of what the broker says.

mod records;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::ids::{Offset, OffsetRange, PartitionId, TopicId};
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;
use towpath_proto::wire::Delivered;
use towpath_proto::wire::receive_response::Response;

use super::ending::Ending;
use super::ticket::{DeliveryId, LaneKey, Place, Source, Ticket};
use super::{Known, Phase, Receiving};
use crate::subscriber::caught_up::SubscriptionCaughtUp;
use crate::subscriber::gap::DeliveryGap;
use crate::{Error, ErrorReason, GapReason};

/// What a message means for the stream it came on.
#[derive(Debug)]
pub(in crate::subscriber) enum Heard {
    /// It goes on.
    GoOn,
    /// The consumer receives, and says so often that it is alive: the broker is well.
    Opened(Duration),
    /// It is of no use any more.
    Broken(Error),
    /// Nor would be another one.
    Over(Error),
}

impl Receiving {
    /// Takes a message of the broker.
    pub(in crate::subscriber) fn hear(
        &mut self,
        response: Option<Response>,
        now: Instant,
    ) -> Heard {
        let heard = match response {
            Some(Response::Opened(opened)) => return self.take_opened(&opened, now),
            Some(Response::Delivered(delivered)) => return self.take_delivered(&delivered, now),
            Some(Response::Settled(settled)) => self.take_settled(&settled),
            Some(Response::Lost(lost)) => self.take_lost(&lost),
            Some(Response::Gap(gap)) => self.take_gap(&gap),
            Some(Response::CaughtUp(told)) => {
                self.caught_up = Some(SubscriptionCaughtUp::from_proto(&told));
                self.caught_up_count += 1;
                Ok(())
            }
            Some(Response::Draining(_)) => {
                // What is begun with now could not be settled in time.
                self.give_back_waiting();
                self.phase = Phase::Draining;
                Ok(())
            }
            Some(Response::Heartbeat(_)) | None => Ok(()),
        };
        match heard {
            Ok(()) => Heard::GoOn,
            Err(error) => Heard::Broken(error),
        }
    }

    fn take_opened(&mut self, opened: &v1::ReceiveOpened, now: Instant) -> Heard {
        match self.compare(opened) {
            Ok(known) => self.known = Some(known),
            Err(error) => return Heard::Over(error),
        }
        self.phase = Phase::Open;
        self.flow.begin();
        let unconfirmed = self.settlements.to_requests().map(Request::Settle);
        self.outbox.extend(unconfirmed);
        // Tells which of them are still the consumer's, also after a restart of the broker.
        for (delivery, place) in self.held.begun() {
            self.settlements.start(delivery, place);
        }
        self.extend_later(now);
        let interval = Duration::from_millis(opened.heartbeat_interval_ms.max(1));
        Heard::Opened(interval)
    }

    /// The first time broker and subscription are learned, later they are also compared.
    fn compare(&self, opened: &v1::ReceiveOpened) -> Result<Known, Error> {
        let topic = TopicName::new(&opened.topic)
            .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))?;
        let dead_letter_topic = TopicName::new(&opened.dead_letter_topic).ok();
        let found = Known {
            broker_id: opened.broker_id.clone(),
            subscription_id: opened.subscription_id,
            topic,
            dead_letter_topic,
            topic_id: TopicId::new(opened.topic_id),
            is_ordered: opened.mode() != v1::SubscriptionMode::Shared,
            ack_deadline: Duration::from_millis(opened.ack_deadline_ms.max(1)),
        };
        let Some(known) = &self.known else {
            return Ok(found);
        };
        if known.broker_id != found.broker_id {
            let error = self.gone("this is another broker");
            return Err(error.with("broker_id", found.broker_id));
        }
        if known.subscription_id != found.subscription_id || known.topic_id != found.topic_id {
            let text = "the subscription was deleted, and another one has its name";
            return Err(self.gone(text));
        }
        Ok(found)
    }

    fn gone(&self, message: &'static str) -> Error {
        let problem = Problem::new(ErrorReason::SubscriptionNotFound, message);
        Error::from_problem(&problem).with("subscription", &self.options.subscription)
    }

    fn take_delivered(&mut self, delivered: &Delivered, now: Instant) -> Heard {
        let Some(known) = self.known.as_ref().filter(|_| self.phase == Phase::Open) else {
            return Heard::Broken(Error::protocol("records come before the stream is open"));
        };
        let topic = match delivered.is_dead_letter {
            true => known.dead_letter_topic.as_ref(),
            false => Some(&known.topic),
        };
        let Some(topic) = topic else {
            let text = "dead letters come although there is no topic of them";
            return Heard::Broken(Error::protocol(text));
        };
        let records = match records::read(delivered, topic) {
            Ok(records) => records,
            Err(error) => return self.take_damaged(delivered, error),
        };
        let source = Source::new(delivered.partition, delivered.is_dead_letter);
        self.caught_up = None;
        for (record, cost) in records {
            let offset = record.offset();
            let lane = record.key_bytes().map(|key| LaneKey { source, key });
            let ticket = Ticket {
                delivery: DeliveryId::new(delivered.delivery),
                place: Place { source, offset },
                lane,
                holds_lane: false,
            };
            self.flow.hold(cost);
            if let Some(earlier) = self.held.insert(&ticket, record, cost, now) {
                self.flow.release(earlier);
            }
            self.turns.push(ticket);
        }
        // Others get it as soon as the broker hears that this consumer takes no more.
        if self.ending != Ending::No {
            self.drop_waiting();
        }
        Heard::GoOn
    }

    /// Asks once more; a second time there is no hope.
    fn take_damaged(&mut self, delivered: &Delivered, error: Error) -> Heard {
        let first = delivered.spans.first().map_or(0, |it| it.first_offset);
        let place = Place {
            source: Source::new(delivered.partition, delivered.is_dead_letter),
            offset: Offset::new(first),
        };
        let error = error
            .with("partition", place.source.partition)
            .with("offset", place.offset);
        if self.damaged.replace(place) == Some(place) {
            Heard::Over(error)
        } else {
            Heard::Broken(error)
        }
    }

    fn take_settled(&mut self, settled: &v1::Settled) -> Result<(), Error> {
        let confirmed = self.settlements.confirm(settled)?;
        for lane in confirmed.lanes {
            self.turns.release(lane);
        }
        for ((delivery, source), range) in confirmed.expired {
            let lost = self.held.lose_delivered(delivery, source, range);
            self.flow.release(lost);
        }
        Ok(())
    }

    /// What the consumer had of them, it has lost: that was told before.
    fn take_gap(&mut self, gap: &v1::DeliveryGap) -> Result<(), Error> {
        let text = "the broker told of a gap before the stream is open";
        let known = self.known.as_ref().ok_or_else(|| Error::protocol(text))?;
        let topic = known.topic.clone();
        for range in to_ranges(gap.range.as_slice())? {
            self.gaps.push(DeliveryGap {
                topic: topic.clone(),
                partition: PartitionId::new(gap.partition),
                range,
                records: gap.records,
                reason: GapReason::from_proto(gap.reason()),
            });
        }
        Ok(())
    }

    fn take_lost(&mut self, lost: &v1::DeliveryLost) -> Result<(), Error> {
        let source = Source::new(lost.partition, lost.is_dead_letter);
        let mut keys = HashMap::new();
        for range in to_ranges(&lost.ranges)? {
            let lost = self.held.lose(source, range, &mut keys);
            self.flow.release(lost);
        }
        // The broker has taken back what waits behind them too, but may say so only later.
        if self.known.as_ref().is_some_and(|it| it.is_ordered) {
            let behind = self.held.lose_behind(source, &keys);
            self.flow.release(behind);
        }
        Ok(())
    }
}

/// Offsets as the broker tells them.
pub(super) fn to_ranges(ranges: &[v1::OffsetRange]) -> Result<Vec<OffsetRange>, Error> {
    let text = "the broker told a range that ends before it starts";
    let ranges = ranges.iter().map(|it| {
        OffsetRange::new(Offset::new(it.start), Offset::new(it.end))
            .ok_or_else(|| Error::protocol(text))
    });
    ranges.collect()
}
