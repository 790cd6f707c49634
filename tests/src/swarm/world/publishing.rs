//! Somebody who writes to several partitions at once, all or nothing, beside the producers.

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};
use towpath_broker::core::{AcceptedBatch, AppendRefusal, AppendRequest};
use towpath_broker::runtime::command::{CommandError, DataCommand, Permits, Published};
use towpath_storage::{PartitionRef, TopicId};

use super::World;
use crate::history::{Event, Item, Place};
use crate::swarm::actors::{digest, payload, payload_bytes};

/// Numbers from here on are those of calls: one call says nothing of the order of another, since none
/// is sent again.
const CALLS: u64 = 1 << 32;
/// Most partitions of one call.
const PARTITIONS_MAX: usize = 3;

/// What was called and not answered.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    call_count: u64,
    waiting: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    /// With the number of records of each.
    items: Vec<(Item, u32)>,
    answer: Receiver<Result<Published, CommandError<AppendRefusal>>>,
}

impl World {
    /// Whether it is the publisher's turn where a producer would send.
    pub(super) fn may_publish(&mut self) -> bool {
        self.publisher.is_some() && self.random.u8(..6) == 0
    }

    pub(super) fn publish(&mut self) {
        let Some((_, view)) = self.pick_view() else {
            return self.create_topic();
        };
        let mut partitions: Vec<u32> = (0..).take(view.partitions().len()).collect();
        self.random.shuffle(&mut partitions);
        let count = self.random.usize(1..=PARTITIONS_MAX.min(partitions.len()));
        partitions.truncate(count);
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        publisher.call_count += 1;
        let call = CALLS + publisher.call_count;
        let (mut items, mut appends) = (Vec::new(), Vec::new());
        for partition in partitions {
            let place = Place {
                topic: view.id().get(),
                partition,
            };
            let item = Item {
                producer: call,
                place,
                sequence: 0,
            };
            let (request, bytes) = append(item, &mut self.random);
            self.history.push(Event::Sent {
                item,
                value: digest(&bytes),
                records: u64::from(request.record_count),
            });
            self.history.push(Event::Together {
                request: call,
                item,
            });
            items.push((item, request.record_count));
            appends.push((request, bytes));
        }
        let Some(engine) = &self.engine else { return };
        let (sender, answer) = oneshot::channel();
        let pushed = engine.shared.commands.push_data(DataCommand::Publish {
            appends,
            letters: None,
            answer: sender,
            permits: Permits::default(),
        });
        pushed.expect("the broker is running");
        if let Some(publisher) = &mut self.publisher {
            publisher.waiting.push(Call { items, answer });
        }
    }

    pub(super) fn take_publish_answers(&mut self) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        let mut answered = Vec::new();
        for mut call in std::mem::take(&mut publisher.waiting) {
            match call.answer.try_recv() {
                Err(TryRecvError::Empty) => publisher.waiting.push(call),
                // The broker is gone: nobody knows.
                Err(TryRecvError::Closed) => {}
                Ok(answer) => answered.push((call.items, answer)),
            }
        }
        for (items, answer) in answered {
            self.take_publish_answer(&items, answer);
        }
    }

    fn take_publish_answer(
        &mut self,
        items: &[(Item, u32)],
        answer: Result<Published, CommandError<AppendRefusal>>,
    ) {
        match answer {
            Ok(published) => {
                assert_eq!(published.base_offsets.len(), items.len(), "offsets");
                for (&(item, record_count), base_offset) in items.iter().zip(published.base_offsets)
                {
                    let offset = base_offset.get();
                    self.history.push(Event::Accepted { item, offset });
                    self.counts.accepted += 1;
                    let batch = AcceptedBatch {
                        base_offset,
                        record_count,
                        lsn: published.lsn,
                        append_time_ms: published.append_time_ms,
                    };
                    let ledger = self.ledgers.entry(item.place.topic).or_default();
                    ledger.note_append(item.place.partition, &batch);
                }
            }
            Err(CommandError::Refused(
                AppendRefusal::TopicNotFound { .. } | AppendRefusal::StorageFull,
            )) => {
                let refused = items.iter().map(|&(item, _)| Event::Refused { item });
                self.history.extend(refused);
            }
            Err(CommandError::Failed | CommandError::ShuttingDown) => {}
            Err(other) => panic!("unexpected answer {other:?} to {items:?}"),
        }
    }
}

fn append(item: Item, random: &mut Rng) -> (AppendRequest, Bytes) {
    let bytes = payload(item, payload_bytes(random));
    let request = AppendRequest {
        partition: PartitionRef {
            topic: TopicId::new(item.place.topic),
            partition: item.place.partition,
        },
        producer: None,
        payload_bytes: u32::try_from(bytes.len()).unwrap(),
        payload_crc: towpath_proto::batch::crc(&bytes),
        record_count: random.u32(1..5),
        expected: None,
    };
    (request, bytes)
}
