//! What the broker does with a batch: decide, write, publish, read.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tempfile::TempDir;
use towpath_broker::core::{AppendDecision, AppendRequest, CoreLimits, State};
use towpath_broker::runtime::command::{AppendAnswer, AppendSink, DataCommand, Permits, Ticket};
use towpath_broker::runtime::engine::{Engine, EngineOptions};
use towpath_proto::batch;
use towpath_proto::wire::fetch_response::Response;
use towpath_proto::wire::{
    FetchResponse, FetchedBatch, ProduceBatch, ProduceRequest, produce_request,
};
use towpath_storage::{
    Append, DirectoryLine, Lsn, Offset, PartitionLog, PartitionRef, Placing, ProducerId,
    ProducerStamp, ReadLimit, Round, StateMachine, Storage, StorageOptions, TailRead,
};

use super::deliveries::create_topic;
use super::outside::{environment, folder};
use super::wire::{encoded_request, expect, void, walk};
use super::{Shape, Subject, Work};
use crate::nothing::Nothing;
use crate::{Error, Result};

/// Deciding on a batch, and taking the effect.
pub(super) const DECIDE: Subject = Subject {
    name: "decide and apply",
    prepare: |shape, _| deciding(shape),
};

/// A batch in a round of its own: encoded, written and synced. What the system does is not counted.
pub(super) const ENCODE: Subject = Subject {
    name: "encode entry",
    prepare: |shape, _| encoding(shape),
};

/// All that the broker does with a batch between the connection and the answer, and its way into a segment:
/// decoded, checked, decided, a round of its own, published, settled.
pub(super) const PRODUCE: Subject = Subject {
    name: "broker produce",
    prepare: producing,
};

/// A batch from the broker's memory, encoded for its reader.
pub(super) const FETCH_TAIL: Subject = Subject {
    name: "fetch from tail",
    prepare: fetching,
};

/// A batch looked up in the index of its segment and read from there.
pub(super) const READ_SEGMENT: Subject = Subject {
    name: "read segment",
    prepare: reading,
};

const PRODUCER: ProducerId = ProducerId::new([7; 16]);
/// As long as a segment may be.
const ALLOCATED_END: u64 = 256 * 1024 * 1024;

fn request(
    partition: PartitionRef,
    payload: &Bytes,
    shape: &Shape,
    sequence: u64,
) -> AppendRequest {
    AppendRequest {
        producer: Some(ProducerStamp {
            id: PRODUCER,
            epoch: 0,
            sequence,
        }),
        ..AppendRequest::plain(partition, payload, shape.record_count as usize)
    }
}

/// A state with a partition whose first segment is ready.
fn ready_state() -> Result<(State, PartitionRef)> {
    let mut state = State::new(CoreLimits::default());
    let topic = create_topic(&mut state, 1)?;
    let partition = PartitionRef {
        topic,
        partition: 0,
    };
    for row in state.roll(partition).into_iter().flatten() {
        state.apply_row(row);
    }
    state.segment_ready(partition, Offset::ZERO, ALLOCATED_END);
    Ok((state, partition))
}

fn deciding(shape: &'static Shape) -> Result<Work> {
    let (mut state, partition) = ready_state()?;
    let asked = request(partition, &shape.batch(), shape, 0);
    let mut sequences = 0..;
    Ok(Box::new(move || {
        let sequence = sequences.next().unwrap_or_default();
        let producer = asked
            .producer
            .map(|stamp| ProducerStamp { sequence, ..stamp });
        let asked = AppendRequest { producer, ..asked };
        let decision = state.append(&asked, Placing::Inline, Lsn::new(sequence + 1), 5);
        let AppendDecision::Append(line) = decision.map_err(|refusal| void(&refusal))? else {
            return Err(Error::Void("a batch was not appended".to_owned()));
        };
        state.apply_append(&line);
        Ok(())
    }))
}

/// A storage without anything in it.
pub(super) fn storage(folder: &TempDir, options: &StorageOptions) -> Result<Storage> {
    let opened = Storage::open(&environment(folder)?, options, &mut Nothing);
    opened.map_err(|error| void(&error))
}

fn encoding(shape: &'static Shape) -> Result<Work> {
    let folder = folder()?;
    let mut storage = storage(&folder, &StorageOptions::default())?;
    let payload = shape.batch();
    let line = first_line(shape, &payload)?;
    Ok(Box::new(move || {
        let _alive = &folder;
        let mut round = Round::default();
        let append = Append {
            line,
            payload: payload.clone(),
        };
        round.push(
            storage.journal.durable().next(),
            5,
            vec![append],
            Vec::new(),
        );
        let committed = storage
            .journal
            .commit(round)
            .map_err(|error| void(&error))?;
        expect(committed.frames.len() == 1, "a frame is missing")
    }))
}

/// What becomes of a first batch.
fn first_line(shape: &Shape, payload: &Bytes) -> Result<DirectoryLine> {
    let (state, partition) = ready_state()?;
    let asked = request(partition, payload, shape, 0);
    match state.append(&asked, Placing::Inline, Lsn::new(1), 5) {
        Ok(AppendDecision::Append(line)) => Ok(line),
        other => Err(Error::Void(format!("not appended: {other:?}"))),
    }
}

/// A broker without threads and connections, with one partition.
struct Unthreaded {
    engine: Engine,
    partition: PartitionRef,
    answers: Arc<Answers>,
    next_sequence: u64,
    /// Dropped last.
    _folder: TempDir,
}

/// Counts what is accepted.
#[derive(Debug, Default)]
struct Answers(std::sync::atomic::AtomicU64);

impl Answers {
    fn accepted_count(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl AppendSink for Answers {
    fn answer(&self, _: Ticket, answer: AppendAnswer) {
        if matches!(answer, AppendAnswer::Accepted { .. }) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Unthreaded {
    fn open() -> Result<Self> {
        let folder = folder()?;
        let options = EngineOptions::default();
        let opened = Engine::open(&environment(&folder)?, &options);
        let mut engine = opened.map_err(|error| void(&error))?;
        let topic = super::deliveries::create_topic_in(&mut engine)?;
        Ok(Self {
            engine,
            partition: PartitionRef {
                topic,
                partition: 0,
            },
            answers: Arc::default(),
            next_sequence: 0,
            _folder: folder,
        })
    }

    /// Takes a batch as it was decoded, as a connection does.
    fn push(&mut self, sent: ProduceBatch, shape: &Shape) -> Result<()> {
        let crc = batch::crc(&sent.batch);
        expect(sent.crc == Some(crc), "a checksum differs")?;
        walk(&sent.batch, shape)?;
        let command = DataCommand::Append {
            request: AppendRequest {
                payload_crc: crc,
                payload_bytes: u32::try_from(sent.batch.len()).unwrap_or(u32::MAX),
                record_count: shape.record_count,
                partition: self.partition,
                producer: Some(ProducerStamp {
                    id: PRODUCER,
                    epoch: 0,
                    sequence: sent.sequence,
                }),
                codec: None,
                expected: None,
            },
            payload: sent.batch,
            facts: None,
            sink: Arc::clone(&self.answers) as Arc<dyn AppendSink>,
            ticket: Ticket {
                handle: sent.handle,
                partition: 0,
                sequence: sent.sequence,
            },
            permits: Permits::default(),
        };
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.map_err(|_command| Error::Void("the broker takes nothing".to_owned()))
    }

    /// Carries out what was pushed, until it is durable and settled.
    fn carry_out(&mut self) -> Result<()> {
        self.next_sequence += 1;
        loop {
            let round = self.engine.step_round().map_err(|error| void(&error))?;
            let settled = self.engine.step_settle().map_err(|error| void(&error))?;
            if !round && !settled {
                break;
            }
        }
        let accepted_count = self.answers.accepted_count();
        expect(accepted_count == self.next_sequence, "a batch was refused")
    }

    /// Takes a request as it was received.
    fn produce(&mut self, received: Bytes, shape: &Shape) -> Result<()> {
        let decoded = ProduceRequest::decode(received).map_err(|fault| void(&fault))?;
        match decoded.request {
            Some(produce_request::Request::Produce(sent)) => self.push(sent, shape)?,
            _ => return Err(Error::Void("a request is another one".to_owned())),
        }
        self.carry_out()
    }

    fn fill(&mut self, shape: &Shape, batch_count: usize) -> Result<()> {
        let batch = shape.batch();
        for sequence in (0..).take(batch_count) {
            let received = encoded_request(batch.clone(), shape.record_count, sequence);
            self.produce(received, shape)?;
        }
        Ok(())
    }

    fn log(&self) -> Result<Arc<PartitionLog>> {
        let topics = self.engine.shared.published.topics();
        let view = topics.with_id(self.partition.topic);
        let handle = view.and_then(|view| view.partition(0));
        let log = handle.map(|handle| Arc::clone(handle.log()));
        log.ok_or_else(|| Error::Void("the partition is missing".to_owned()))
    }

    fn limit(&self, bytes_max: usize) -> ReadLimit {
        ReadLimit {
            bytes_max,
            lsn_max: self.engine.shared.published.durable(),
        }
    }
}

fn producing(shape: &'static Shape, calls: usize) -> Result<Work> {
    let mut broker = Unthreaded::open()?;
    let batch = shape.batch();
    let requests = (0..).take(calls);
    let requests: Vec<Bytes> = requests
        .map(|sequence| encoded_request(batch.clone(), shape.record_count, sequence))
        .collect();
    let mut requests = requests.into_iter();
    Ok(Box::new(move || {
        let received = requests.next();
        let received = received.ok_or_else(|| Error::Void("too many calls".to_owned()))?;
        broker.produce(received, shape)
    }))
}

fn fetching(shape: &'static Shape, calls: usize) -> Result<Work> {
    let mut broker = Unthreaded::open()?;
    broker.fill(shape, calls)?;
    let (log, limit) = (broker.log()?, broker.limit(1));
    let mut out = BytesMut::with_capacity(2 * shape.batch().len());
    let mut next = Offset::ZERO;
    Ok(Box::new(move || {
        let _alive = &broker;
        let TailRead::Frames(frames) = log.read_tail(next, limit) else {
            return Err(Error::Void("a batch is not in memory".to_owned()));
        };
        for frame in frames {
            next = frame.header.next_offset();
            out.clear();
            let response: FetchResponse = Response::Batch(FetchedBatch {
                base_offset: frame.header.base_offset.get(),
                record_count: frame.header.record_count,
                lsn: frame.header.lsn.get(),
                append_time_ms: frame.header.append_time_ms,
                crc: frame.header.payload_crc,
                batch: frame.payload,
                ..FetchedBatch::default()
            })
            .into();
            response.encode(&mut out).map_err(|fault| void(&fault))?;
        }
        expect(out.len() > shape.value_bytes, "nothing was read")
    }))
}

fn reading(shape: &'static Shape, calls: usize) -> Result<Work> {
    let mut broker = Unthreaded::open()?;
    broker.fill(shape, calls)?;
    let (log, limit) = (broker.log()?, broker.limit(1));
    let mut next = Offset::ZERO;
    Ok(Box::new(move || {
        let read = broker
            .engine
            .reader
            .read(&log, None, next, log.end(), limit);
        let read = read.map_err(|error| void(&error))?;
        let frame = read.frames.first();
        let frame = frame.ok_or_else(|| Error::Void("a batch was not read".to_owned()))?;
        next = frame.header.next_offset();
        Ok(())
    }))
}
