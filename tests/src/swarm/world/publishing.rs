//! Somebody who writes to several partitions at once, all or nothing, beside the producers: with calls that
//! are never sent again, with commits that have a key and with events that have an id. Those two are sent
//! until they are answered, and happen once.

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};
use towpath_broker::core::{
    AcceptedBatch, AppendRefusal, AppendRequest, BatchFacts, CommitAppend, CommitKey,
    CommitRefusalCause, CommitRefused, CommitWish, EventRow, RecordFacts, Remembered,
    UnwrittenCause, UnwrittenRecord,
};
use towpath_broker::runtime::command::{
    CarriedFacts, CommandError, CommitCommand, Committed, DataCommand, Permits, Published,
};
use towpath_storage::{Offset, PartitionRef, TopicId};

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
    /// What is sent again, since its answer was lost.
    doubtful: Vec<(Way, Batches)>,
}

/// How batches are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With a call that happens whenever it is sent.
    Once,
    /// With a commit that has a key.
    Keyed,
    /// As events that their topic knows again.
    Events,
}

/// Batches, each with what the history calls it.
type Batches = Vec<(Item, AppendRequest, Bytes)>;

#[derive(Debug)]
struct Call {
    way: Way,
    /// Whether it was sent before.
    is_again: bool,
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
        let has_window = view.settings().config.dedupe_window_ms.is_some();
        let way = match (self.random.bool(), self.random.bool()) {
            // A clock that jumps by months ends the window, and what is remembered of keys.
            _ if self.weather.has_clock_jumps => Way::Once,
            (true, true) if has_window => Way::Events,
            (true, _) => Way::Once,
            (false, _) => Way::Keyed,
        };
        self.push_call(way, false, batches);
    }

    fn push_call(&mut self, way: Way, is_again: bool, batches: Batches) {
        match way {
            Way::Once | Way::Events => self.push_publish(way, is_again, batches),
            Way::Keyed => self.push_commit(is_again, batches),
        }
    }

    /// What the broker looks up of records that are events, each with a number of its own.
    fn facts(&self, batches: &Batches) -> Option<Box<CarriedFacts>> {
        let snapshot = self.engine.as_ref()?.shared.index.snapshot();
        let mut all = Vec::new();
        for (item, request, _) in batches {
            let mut facts = BatchFacts::default();
            for number in 0..request.record_count {
                let mut hash = [0; 16];
                hash[..8].copy_from_slice(&item.producer.to_le_bytes());
                hash[8..12].copy_from_slice(&item.place.partition.to_le_bytes());
                hash[12..].copy_from_slice(&number.to_le_bytes());
                let key = EventRow::row_key(request.partition.topic, &hash);
                let on_disk = snapshot.runs.get(&key).ok()?.value().cloned();
                facts.records.push(RecordFacts {
                    event: Some(Remembered { hash, on_disk }),
                    ..RecordFacts::default()
                });
            }
            all.push(facts);
        }
        Some(Box::new(CarriedFacts {
            batches: all,
            plain: None,
            snapshot,
        }))
    }

    fn push_publish(&mut self, way: Way, is_again: bool, batches: Batches) {
        let facts = match way {
            Way::Events => self.facts(&batches),
            Way::Once | Way::Keyed => None,
        };
        if way == Way::Events && facts.is_none() {
            // The disk has failed; whoever reads it next says so.
            return self.doubt(way, batches);
        }
        let Some(engine) = &self.engine else { return };
        let (sender, answer) = oneshot::channel();
        let appends = batches
            .iter()
            .map(|(_, request, bytes)| (*request, bytes.clone()));
        let pushed = engine.shared.commands.push_data(DataCommand::Publish {
            appends: appends.collect(),
            facts,
            letters: None,
            answer: sender,
            permits: Permits::default(),
        });
        pushed.expect("the broker is running");
        self.await_answer(Call {
            way,
            is_again,
            batches,
            answer: Answer::Published(answer),
        });
    }

    /// Commits batches under a key, which the number of the call is.
    fn push_commit(&mut self, is_again: bool, batches: Batches) {
        let Some(engine) = &self.engine else { return };
        let call = batches.first().map_or(0, |(item, ..)| item.producer);
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&call.to_le_bytes());
        let snapshot = engine.shared.index.snapshot();
        let Ok(found) = snapshot.runs.get(&CommitKey::row_key(&hash)) else {
            // The disk has failed; whoever reads it next says so.
            self.doubt(Way::Keyed, batches);
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
            schedule_snapshot: None,
            answer: sender,
            permits: Permits::default(),
        };
        let pushed = engine
            .shared
            .commands
            .push_data(DataCommand::Commit(Box::new(command)));
        pushed.expect("the broker is running");
        self.await_answer(Call {
            way: Way::Keyed,
            is_again,
            batches,
            answer: Answer::Committed(answer),
        });
    }

    fn await_answer(&mut self, call: Call) {
        if let Some(publisher) = &mut self.publisher {
            publisher.waiting.push(call);
        }
    }

    fn doubt(&mut self, way: Way, batches: Batches) {
        if let Some(publisher) = &mut self.publisher {
            publisher.doubtful.push((way, batches));
        }
    }

    /// Sends something again whose answer was lost. Returns whether there was any.
    pub(super) fn commit_again(&mut self) -> bool {
        let Some(publisher) = &mut self.publisher else {
            return false;
        };
        let doubtful = publisher.doubtful.pop();
        let is_any = doubtful.is_some();
        if let Some((way, batches)) = doubtful {
            self.push_call(way, true, batches);
        }
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
        for (call, outcome) in answered {
            let Call {
                way,
                is_again,
                batches,
                ..
            } = call;
            let is_refused = matches!(outcome, Some(Err(CommandError::Refused(_))));
            // An event that is sent again is refused for what stands in its way now; it may be there.
            let is_told_nothing = way == Way::Events && is_again && is_refused;
            let is_gone = matches!(
                outcome,
                Some(Err(CommandError::Refused(
                    AppendRefusal::TopicNotFound { .. }
                )))
            );
            let is_known = match is_told_nothing {
                true => is_gone,
                false => is_refused || matches!(outcome, Some(Ok(_))),
            };
            if let Some(answer) = outcome.filter(|_| !is_told_nothing) {
                let items = batches
                    .iter()
                    .map(|(item, request, _)| (*item, request.record_count));
                self.take_publish_answer(&items.collect::<Vec<_>>(), answer);
            }
            if !is_known && way != Way::Once {
                self.doubt(way, batches);
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
                let left_out = published.unwritten.iter().map(Vec::as_slice);
                let left_out = left_out.chain(std::iter::repeat(&[][..]));
                let bases = published.base_offsets.into_iter().zip(left_out);
                for (&(item, record_count), (base, left_out)) in items.iter().zip(bases) {
                    let (base_offset, append_time_ms) =
                        first_place(item, record_count, base, left_out)
                            .unwrap_or((base, published.append_time_ms));
                    let offset = base_offset.get();
                    self.history.push(Event::Accepted { item, offset });
                    self.counts.accepted += 1;
                    let batch = AcceptedBatch {
                        base_offset,
                        record_count,
                        lsn: published.lsn,
                        append_time_ms,
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

/// Where a batch is that was there before, and since when: all of it or nothing of it.
fn first_place(
    item: Item,
    record_count: u32,
    base: Offset,
    left_out: &[UnwrittenRecord],
) -> Option<(Offset, i64)> {
    let UnwrittenCause::RepeatedEvent(first) = left_out.first()?.cause else {
        panic!("nothing compares versions: {left_out:?}");
    };
    for (number, it) in (0..record_count).zip(left_out) {
        let UnwrittenCause::RepeatedEvent(place) = it.cause else {
            panic!("nothing compares versions: {left_out:?}");
        };
        assert_eq!(it.index, number, "{left_out:?}");
        assert_eq!(place.partition, item.place.partition, "{left_out:?}");
        let expected = first.offset.advance(number.into());
        assert_eq!(place.offset, expected, "it was written as one batch");
    }
    assert_eq!(left_out.len(), record_count as usize, "all or nothing");
    assert!(first.offset < base, "before the end: {left_out:?}");
    Some((first.offset, first.time_ms))
}

fn append(item: Item, random: &mut Rng) -> (AppendRequest, Bytes) {
    let bytes = payload(item, payload_bytes(random));
    let partition = PartitionRef {
        topic: TopicId::new(item.place.topic),
        partition: item.place.partition,
    };
    let request = AppendRequest::plain(partition, &bytes, random.u32(1..5) as usize);
    (request, bytes)
}
