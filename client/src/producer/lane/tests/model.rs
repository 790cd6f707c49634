//! The model: a broker, the connections to it, and a record of what was given and promised.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::batch::Records;
use towpath_proto::ids::{PartitionId, ProducerId};
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::v1::unwritten_record::Cause;

use super::super::{Lane, LaneRequest, LaneShare, Verdict};
use crate::producer::batch::{BatchSize, Weighed};
use crate::producer::partition::Rules;
use crate::producer::receipt::Receipt;
use crate::{Error, ErrorKind, ErrorReason, Record};

const PARTITIONS: u32 = 3;
const WINDOW: usize = 4;

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    LoseStream,
    /// The broker reads what was sent over connections that are gone.
    ReadLate,
    RefuseForNow,
    RefuseForGood,
    SpendSequence,
    /// Records are old news: the broker writes the others of their batch.
    LeaveOut,
    /// The broker ends in the middle of a batch, which may be written or not.
    Crash,
    /// The disk fails: what is unanswered may be written or not, and the broker says so and ends.
    FailDisk,
    ForgetProducer,
    Drain,
    /// A caller gives up before the time of its batch is over.
    GiveUp,
}

impl Fault {
    pub(super) const ALL: [Self; 11] = [
        Self::LoseStream,
        Self::ReadLate,
        Self::RefuseForNow,
        Self::RefuseForGood,
        Self::SpendSequence,
        Self::LeaveOut,
        Self::Crash,
        Self::FailDisk,
        Self::ForgetProducer,
        Self::Drain,
        Self::GiveUp,
    ];
}

/// One connection: what the lane has sent and the broker has not read, and the way back.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) sent: VecDeque<LaneRequest>,
    pub(super) answers: VecDeque<Response>,
    pub(super) producers: BTreeMap<u32, ProducerId>,
}

/// What the broker knows of a producer in a partition.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Sequence of the first of `outcomes`.
    pub(super) first: u64,
    pub(super) outcomes: VecDeque<Response>,
    /// The lane has heard that sequence 0 was dealt with.
    pub(super) is_established: bool,
}

pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) faults: Vec<Fault>,
    pub(super) now: Instant,
    pub(super) lane: Lane,
    pub(super) refuses_with: Option<ErrorReason>,
    pub(super) logs: Vec<Vec<u64>>,
    pub(super) known: BTreeMap<(ProducerId, u32), Known>,
    pub(super) wire: Option<Wire>,
    pub(super) old_wires: Vec<Wire>,
    /// The broker's disk has failed: it answers everything with that until it ends.
    pub(super) is_disk_dead: bool,
    given: Vec<(u32, Receipt)>,
}

impl World {
    pub(super) fn new(mut random: fastrand::Rng, faults: &[Fault]) -> Self {
        let rules = Rules {
            size: BatchSize {
                bytes_max: 1000,
                records_max: 3,
            },
            window: WINDOW,
            linger: Duration::from_millis(random.u64(0..2) * 5),
            give_up_after: Duration::from_millis(500),
            resend_for: Duration::from_secs(5),
        };
        let share = LaneShare {
            lane: 0,
            lane_count: 1,
            partition_count: PARTITIONS,
        };
        let topic = TopicName::new("orders").unwrap();
        Self {
            lane: Lane::new(topic, share, rules, random.fork()),
            random,
            faults: faults.to_vec(),
            now: Instant::now(),
            refuses_with: None,
            logs: vec![Vec::new(); PARTITIONS as usize],
            known: BTreeMap::new(),
            wire: None,
            old_wires: Vec::new(),
            is_disk_dead: false,
            given: Vec::new(),
        }
    }

    /// Lets nobody give up.
    pub(super) fn patience(&mut self) {
        self.lane.rules.give_up_after = Duration::from_secs(1_000_000);
    }

    pub(super) const fn refuse_everything(&mut self, reason: Option<ErrorReason>) {
        self.refuses_with = reason;
    }

    pub(super) fn push(&mut self) {
        let number = self.given.len() as u64;
        let partition = self.random.u32(0..PARTITIONS);
        let record = Record::new(number.to_le_bytes().to_vec());
        let weighed = Weighed::new(&record, "");
        let now = self.now;
        let place = self.lane.place_of(PartitionId::new(partition)).unwrap();
        let pushed = self.lane.push(place, &weighed, || now);
        let receipt = pushed.unwrap().receipt;
        self.given.push((partition, receipt));
    }

    pub(super) fn give_up(&mut self) {
        if self.given.is_empty() {
            return;
        }
        let place = self.random.usize(0..self.given.len());
        let (partition, receipt) = &self.given[place];
        let partition = PartitionId::new(*partition);
        match self.lane.give_up(partition, receipt.outcome(), self.now) {
            None => assert!(receipt.is_complete(), "nobody would be told"),
            Some(error) => assert!(error.may_have_happened(), "{error}"),
        }
        self.carry_out();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.lane.tick(self.now);
        self.carry_out();
    }

    pub(super) fn carry_out(&mut self) {
        self.lane.take_effects().wake();
    }

    pub(super) fn open_stream(&mut self) {
        self.wire = Some(Wire::default());
        self.lane.open_stream(self.now);
    }

    pub(super) fn lose_stream(&mut self) {
        let Some(wire) = self.wire.take() else {
            return;
        };
        self.old_wires.push(wire);
        self.lane.lose_stream(None, self.now);
        self.lane.tick(self.now);
        self.carry_out();
    }

    /// The broker takes a batch, as docs/protocol.md says.
    pub(super) fn judge(
        &mut self,
        producer: ProducerId,
        sendable: &crate::producer::partition::Sendable,
    ) -> Response {
        let partition = sendable.partition.get();
        let sequence = sendable.sequence.get();
        let refused = |reason, metadata: Option<u64>, is_sequence_spent| {
            let mut problem = Problem::new(reason, "refused");
            if let Some(expected) = metadata {
                problem = problem.with("expected", expected);
            }
            Response::Refused(v1::Refused {
                handle: sendable.identity,
                partition,
                sequence,
                error: Some(problem.into()),
                is_sequence_spent,
            })
        };
        if let Some(reason) = self.refuses_with {
            return refused(reason, None, false);
        }
        if self.is_disk_dead {
            return refused(ErrorReason::StorageFailed, None, false);
        }
        let Some(known) = self.known.get(&(producer, partition)) else {
            return match sequence {
                0 => self.decide(producer, sendable, &refused),
                _ => refused(ErrorReason::ProducerUnknown, None, false),
            };
        };
        let expected = known.first + known.outcomes.len() as u64;
        let place = sequence.checked_sub(known.first);
        match place.and_then(|place| known.outcomes.get(usize::try_from(place).unwrap())) {
            Some(outcome) => {
                let mut outcome = outcome.clone();
                match &mut outcome {
                    Response::Accepted(accepted) => accepted.batches[0].handle = sendable.identity,
                    Response::Refused(refused) => refused.handle = sendable.identity,
                    _ => {}
                }
                outcome
            }
            None if sequence == expected => self.decide(producer, sendable, &refused),
            None => refused(ErrorReason::SequenceGap, Some(expected), false),
        }
    }

    fn decide(
        &mut self,
        producer: ProducerId,
        sendable: &crate::producer::partition::Sendable,
        refused: &dyn Fn(ErrorReason, Option<u64>, bool) -> Response,
    ) -> Response {
        if self.happens(Fault::RefuseForNow, 10) {
            return refused(ErrorReason::Overloaded, None, false);
        }
        if self.happens(Fault::RefuseForGood, 20) {
            return refused(ErrorReason::InvalidArgument, None, false);
        }
        let partition = sendable.partition.get();
        let outcome = if self.happens(Fault::SpendSequence, 20) {
            refused(ErrorReason::StaleEntityVersion, None, true)
        } else {
            self.append(sendable)
        };
        let known = self.known.entry((producer, partition)).or_default();
        known.outcomes.push_back(outcome.clone());
        if known.outcomes.len() > WINDOW {
            known.outcomes.pop_front();
            known.first += 1;
        }
        outcome
    }

    fn append(&mut self, sendable: &crate::producer::partition::Sendable) -> Response {
        let partition = sendable.partition.get() as usize;
        let base_offset = self.logs[partition].len() as u64;
        let mut unwritten = Vec::new();
        for (index, record) in (0..).zip(Records::new(&sendable.bytes)) {
            if self.happens(Fault::LeaveOut, 10) {
                let cause = Some(Cause::StaleEntityVersion(7));
                unwritten.push(v1::UnwrittenRecord { index, cause });
                continue;
            }
            let value = record.unwrap().value().unwrap();
            self.logs[partition].push(u64::from_le_bytes(value.try_into().unwrap()));
        }
        let written = self.logs[partition].len() as u64 - base_offset;
        Response::Accepted(v1::Accepted {
            batches: vec![v1::AcceptedBatch {
                handle: sendable.identity,
                partition: sendable.partition.get(),
                sequence: sendable.sequence.get(),
                base_offset,
                record_count: u32::try_from(written).unwrap(),
                lsn: 1,
                append_time_ms: 1,
                is_duplicate: false,
                unwritten,
            }],
        })
    }

    pub(super) fn deliver(&mut self, answer: Response) {
        if let Response::Accepted(v1::Accepted { batches }) = &answer {
            let producers = &self.wire.as_ref().unwrap().producers;
            for batch in batches.iter().filter(|batch| batch.sequence == 0) {
                let key = (producers[&batch.handle], batch.partition);
                if let Some(known) = self.known.get_mut(&key) {
                    known.is_established = true;
                }
            }
        }
        let answer = v1::ProduceResponse {
            response: Some(answer),
        };
        match self.lane.take_answer(answer, self.now) {
            Verdict::GoOn | Verdict::Opened => {}
            // An old connection that was read late may have moved the sequence on in between.
            Verdict::Abandon(_) => self.lose_stream(),
            Verdict::End(error) => panic!("{error:?}"),
        }
        self.carry_out();
    }

    pub(super) fn happens(&mut self, fault: Fault, one_in: u32) -> bool {
        self.faults.contains(&fault) && self.random.u32(0..one_in) == 0
    }

    /// How often records failed, by kind, reason and doubt.
    pub(super) fn failures(&mut self) -> BTreeMap<(ErrorKind, Option<ErrorReason>, bool), usize> {
        let mut failures = BTreeMap::new();
        for (_, receipt) in &mut self.given {
            if let Some(Err(error)) = result_of(receipt) {
                let kind = (error.kind(), error.reason(), error.may_have_happened());
                *failures.entry(kind).or_default() += 1;
            }
        }
        failures
    }

    /// Compares what is in the logs with what was promised.
    pub(super) fn check(&mut self) {
        let mut places = BTreeMap::new();
        for (partition, log) in (0_u32..).zip(&self.logs) {
            assert!(log.is_sorted(), "order of partition {partition}: {log:?}");
            for (offset, number) in (0_u64..).zip(log) {
                let earlier = places.insert(*number, (partition, offset));
                assert_eq!(earlier, None, "record {number} was written twice");
            }
        }
        for (number, (partition, receipt)) in (0_u64..).zip(&mut self.given) {
            let place = places.get(&number).copied();
            match result_of(receipt) {
                None => panic!("the receipt of record {number} does not complete"),
                Some(Ok(position)) => {
                    let promised = (position.partition.get(), position.offset.get());
                    assert_eq!(place, Some(promised), "place of record {number}");
                    assert_eq!(promised.0, *partition, "partition of record {number}");
                }
                Some(Err(error)) if error.has_no_side_effects() => {
                    assert_eq!(place, None, "record {number} was written although {error}");
                }
                Some(Err(_)) => {}
            }
        }
    }

    pub(super) fn given_count(&self) -> usize {
        self.given.len()
    }
}

fn result_of(receipt: &mut Receipt) -> Option<Result<crate::Position, Error>> {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(receipt).poll(&mut cx) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}
