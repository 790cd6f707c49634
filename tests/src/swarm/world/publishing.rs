//! Somebody who writes to several partitions at once, all or nothing, beside the producers: with calls that
//! are never sent again, and with commits that have a key and are sent until they are answered.

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};
use towpath_broker::core::{
    AcceptedBatch, AppendRefusal, AppendRequest, CommitAppend, CommitKey, CommitRefusalCause,
    CommitRefused, CommitWish,
};
use towpath_broker::runtime::command::{
    CommandError, CommitCommand, Committed, DataCommand, Permits, Published,
};
use towpath_storage::{PartitionRef, TopicId};

use super::World;
use crate::history::{Event, Item, Place};
use crate::swarm::actors::{digest, payload, payload_bytes};

/// Numbers from here on are those of calls: one call says nothing of the order of another.
const CALLS: u64 = 1 << 32;
/// Most partitions of one call.
const PARTITIONS_MAX: usize = 3;

/// What was called and not answered.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    call_count: u64,
    waiting: Vec<Call>,
    /// Commits whose answers were lost.
    doubtful: Vec<Batches>,
}

/// Batches, each with what the history calls it.
type Batches = Vec<(Item, AppendRequest, Bytes)>;

#[derive(Debug)]
struct Call {
    batches: Batches,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Published(Receiver<Result<Published, CommandError<AppendRefusal>>>),
    Committed(Receiver<Result<Committed, CommandError<CommitRefused>>>),
}

/// What became of a call: nothing for one that nobody knows of.
type Outcome = Option<Result<Published, CommandError<AppendRefusal>>>;

impl Answer {
    /// What became of it, once that is known.
    fn take(&mut self) -> Option<Outcome> {
        match self {
            Self::Published(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => None,
                // The broker is gone.
                Err(TryRecvError::Closed) => Some(None),
                Ok(answer) => Some(Some(answer)),
            },
            Self::Committed(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Closed) => Some(None),
                Ok(answer) => Some(Some(answer.map(|it| it.published).map_err(append_error))),
            },
        }
    }

    fn is_commit(&self) -> bool {
        matches!(self, Self::Committed(_))
    }
}

fn append_error(error: CommandError<CommitRefused>) -> CommandError<AppendRefusal> {
    match error {
        CommandError::Refused(CommitRefused {
            cause: CommitRefusalCause::Append(refusal),
            ..
        }) => CommandError::Refused(refusal),
        CommandError::Refused(other) => panic!("it only appends: {other}"),
        CommandError::Failed => CommandError::Failed,
        CommandError::ShuttingDown => CommandError::ShuttingDown,
    }
}

impl World {
    /// Whether it is the publisher's turn where a producer would send.
    pub(super) fn may_publish(&mut self) -> bool {
        self.publisher.is_some() && self.random.u8(..6) == 0
    }

    pub(super) fn publish(&mut self) {
        if self.random.bool() && self.commit_again() {
            return;
        }
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
        let mut batches = Vec::new();
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
            batches.push((item, request, bytes));
        }
        match self.random.bool() {
            true => self.push_publish(batches),
            false => self.push_commit(batches),
        }
    }

    fn push_publish(&mut self, batches: Batches) {
        let Some(engine) = &self.engine else { return };
        let (sender, answer) = oneshot::channel();
        let appends = batches
            .iter()
            .map(|(_, request, bytes)| (*request, bytes.clone()));
        let pushed = engine.shared.commands.push_data(DataCommand::Publish {
            appends: appends.collect(),
            facts: None,
            letters: None,
            answer: sender,
            permits: Permits::default(),
        });
        pushed.expect("the broker is running");
        let answer = Answer::Published(answer);
        self.await_answer(Call { batches, answer });
    }

    /// Commits batches under a key, which the number of the call is.
    fn push_commit(&mut self, batches: Batches) {
        let Some(engine) = &self.engine else { return };
        let call = batches.first().map_or(0, |(item, ..)| item.producer);
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&call.to_le_bytes());
        let snapshot = engine.shared.index.snapshot();
        let Ok(found) = snapshot.runs.get(&CommitKey::row_key(&hash)) else {
            // The disk has failed; whoever reads it next says so.
            self.doubt(batches);
            return;
        };
        let key = CommitKey {
            hash,
            fingerprint: hash,
            on_disk: found.value().cloned(),
            told: Bytes::new(),
        };
        let appends = batches.iter().map(|(_, request, _)| CommitAppend {
            operation: 0,
            request: *request,
        });
        let (sender, answer) = oneshot::channel();
        let command = CommitCommand {
            wish: CommitWish {
                appends: appends.collect(),
                key: Some(key),
                ..CommitWish::default()
            },
            payloads: batches.iter().map(|(.., bytes)| bytes.clone()).collect(),
            facts: None,
            snapshot: Some(snapshot),
            answer: sender,
            permits: Permits::default(),
        };
        let pushed = engine
            .shared
            .commands
            .push_data(DataCommand::Commit(Box::new(command)));
        pushed.expect("the broker is running");
        let answer = Answer::Committed(answer);
        self.await_answer(Call { batches, answer });
    }

    fn await_answer(&mut self, call: Call) {
        if let Some(publisher) = &mut self.publisher {
            publisher.waiting.push(call);
        }
    }

    fn doubt(&mut self, batches: Batches) {
        if let Some(publisher) = &mut self.publisher {
            publisher.doubtful.push(batches);
        }
    }

    /// Sends a commit again whose answer was lost. Returns whether there was one.
    pub(super) fn commit_again(&mut self) -> bool {
        let Some(publisher) = &mut self.publisher else {
            return false;
        };
        let batches = publisher.doubtful.pop();
        let is_any = batches.is_some();
        batches.into_iter().for_each(|it| self.push_commit(it));
        is_any
    }

    pub(super) fn take_publish_answers(&mut self) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        let mut answered = Vec::new();
        for mut call in std::mem::take(&mut publisher.waiting) {
            match call.answer.take() {
                None => publisher.waiting.push(call),
                Some(outcome) => answered.push((call, outcome)),
            }
        }
        for (Call { batches, answer }, outcome) in answered {
            let is_known = matches!(outcome, Some(Ok(_) | Err(CommandError::Refused(_))));
            if let Some(answer) = outcome {
                let items = batches
                    .iter()
                    .map(|(item, request, _)| (*item, request.record_count));
                self.take_publish_answer(&items.collect::<Vec<_>>(), answer);
            }
            if !is_known && answer.is_commit() {
                self.doubt(batches);
            }
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
