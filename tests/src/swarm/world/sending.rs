//! Producers at work: sending, sending again, taking answers.

use std::sync::Arc;

use towpath_broker::core::{AppendRefusal, AppendRequest};
use towpath_broker::runtime::command::{AppendAnswer, DataCommand, Permits, Ticket};
use towpath_storage::{PartitionRef, ProducerStamp, TopicId};

use super::{Sink, World};
use crate::history::{Event, Item, Place};
use crate::swarm::actors::{Unanswered, digest};

/// Batches that a producer may have under way in one partition.
const WINDOW: usize = 16;

impl World {
    pub(super) fn send(&mut self) {
        let Some(place) = self.pick_place() else {
            return self.create_topic();
        };
        let number = self.random.usize(..self.producers.len());
        let producer = &mut self.producers[number];
        if producer
            .lanes
            .get(&place)
            .is_some_and(|lane| lane.unanswered.len() >= WINDOW)
        {
            return;
        }
        let batch = producer.next(place, &mut self.random);
        let item = Item {
            producer: producer.number,
            place,
            sequence: batch.sequence,
        };
        let records = u64::from(batch.record_count);
        self.history.push(Event::Sent {
            item,
            value: digest(&batch.payload),
            records,
        });
        self.push(number, place, batch);
    }

    fn push(&self, producer: usize, place: Place, batch: Unanswered) {
        let Some(engine) = &self.engine else { return };
        let id = self.producers[producer].id();
        let partition = PartitionRef {
            topic: TopicId::new(place.topic),
            partition: place.partition,
        };
        let request = AppendRequest {
            producer: Some(ProducerStamp {
                id,
                epoch: 0,
                sequence: batch.sequence,
            }),
            codec: batch.codec,
            ..AppendRequest::plain(partition, &batch.payload, batch.record_count as usize)
        };
        let sink = Sink {
            producer: self.producers[producer].number,
            mailbox: Arc::clone(&self.mailbox),
        };
        let ticket = Ticket {
            handle: u32::try_from(place.topic).unwrap(),
            partition: place.partition,
            sequence: batch.sequence,
        };
        let command = DataCommand::Append {
            request,
            payload: batch.payload,
            facts: None,
            sink: Arc::new(sink),
            ticket,
            permits: Permits::default(),
        };
        engine
            .shared
            .commands
            .push_data(command)
            .expect("the broker is running");
    }

    /// Sends everything again that was not answered, in order.
    pub(super) fn send_again(&mut self) {
        for producer in 0..self.producers.len() {
            let places: Vec<_> = self.producers[producer].lanes.keys().copied().collect();
            places
                .into_iter()
                .for_each(|place| self.send_lane_again(producer, place));
        }
    }

    fn send_lane_again(&self, producer: usize, place: Place) {
        let lane = self.producers[producer].lanes.get(&place);
        for batch in lane.iter().flat_map(|lane| &lane.unanswered) {
            self.push(producer, place, batch.clone());
        }
    }

    pub(super) fn take_answers(&mut self) {
        let answers = std::mem::take(&mut *self.mailbox.answers.lock().unwrap());
        for (producer, ticket, answer) in answers {
            let place = Place {
                topic: u64::from(ticket.handle),
                partition: ticket.partition,
            };
            let number = usize::try_from(producer).unwrap();
            self.take_answer(number, place, ticket.sequence, answer);
        }
        self.take_publish_answers();
        self.take_control_answers();
        self.take_group_answers();
        self.take_delivery_answers();
        self.take_apart_answers();
    }

    fn take_answer(&mut self, number: usize, place: Place, sequence: u64, answer: AppendAnswer) {
        let producer = &mut self.producers[number];
        let Some(lane) = producer.lanes.get_mut(&place) else {
            return;
        };
        match answer {
            AppendAnswer::Accepted { batch, .. } => {
                let item = Item {
                    producer: producer.number,
                    place,
                    sequence,
                };
                let offset = batch.base_offset.get();
                self.history.push(Event::Accepted { item, offset });
                self.counts.accepted += 1;
                let ledger = self.ledgers.entry(place.topic).or_default();
                ledger.note_append(place.partition, &batch);
                lane.unanswered.retain(|waiting| {
                    let is_it = waiting.sequence == sequence;
                    self.counts.compressed += u64::from(is_it && waiting.codec.is_some());
                    !is_it
                });
            }
            AppendAnswer::Refused(AppendRefusal::TopicNotFound { .. }) => {
                producer.lanes.remove(&place);
            }
            // What follows a producer's first batch, when that was refused.
            AppendAnswer::Refused(AppendRefusal::ProducerUnknown) => {
                let first = lane.unanswered.front().map(|waiting| waiting.sequence);
                assert_eq!(first, Some(0), "only before anything was acknowledged");
            }
            // Sent again later: a full disk may have room, and what follows a refused batch is a gap.
            AppendAnswer::Refused(
                AppendRefusal::StorageFull | AppendRefusal::SequenceGap { .. },
            )
            | AppendAnswer::Failed
            | AppendAnswer::ShuttingDown => {}
            other => panic!("unexpected answer {other:?} to {place:?} {sequence}"),
        }
    }
}
