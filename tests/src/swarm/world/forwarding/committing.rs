//! What is handled, and how: one commit appends what comes of it, acks it and moves the group.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRefusal, AppendRequest, Commit, CommitAppend, CommitKey, CommitOffsets,
    CommitRefusalCause, CommitSettlement, CommitWish, DeliveryOutcome, Settlement,
};
use towpath_broker::runtime::command::{CommitCommand, DataCommand, Permits};
use towpath_proto::v1;
use towpath_storage::{Offset, OffsetRange, PartitionRef, TopicId};

use super::{Call, Forward, GROUP_LANE, MOVERS, RESULTS, SUBSCRIPTION_LANE, World};
use crate::history::{Event, ForwardEvent, Place, Source};
use crate::swarm::world::told::{Told, told};

/// Keys of commits are numbers from here on in their table.
const KEYS: u64 = 3 << 48;
/// Records that one commit handles for the subscription, and for the group, at most.
const HANDLED_MAX: usize = 5;

impl World {
    /// Writes records to be handled; nothing is sent again, and what is there is what counts.
    pub(super) fn write_source(&mut self, sources: TopicId) {
        let count = self.random.usize(1..6);
        let partition = self.random.u32(..self.partition_count_of(sources));
        let records = (0..count).map(|_| {
            let key = (self.random.u8(..4) != 0).then(|| self.random.u8(..6));
            v1::Record {
                key: key.map(|key| Bytes::copy_from_slice(&[key])),
                value: Some(vec![7; self.random.usize(..1_000)].into()),
                ..v1::Record::default()
            }
        });
        let records = records.collect();
        let append = to_append((sources, partition), records);
        let Some(engine) = &self.engine else { return };
        let (answer, _) = oneshot::channel();
        let pushed = engine.shared.commands.push_data(DataCommand::Publish {
            appends: vec![append],
            facts: None,
            letters: None,
            answer,
            permits: Permits::default(),
        });
        pushed.expect("the broker is running");
    }

    /// Handles what a worker has, and what is next for a member, or one of both; or sends a commit again.
    pub(super) fn forward(&mut self, sources: TopicId, results: TopicId) {
        if self.random.u8(..4) == 0 && self.forward_again(results) {
            return;
        }
        let (mut handled, settlement) = match self.random.u8(..3) {
            0 => (Vec::new(), None),
            _ => self.draw_settlement(sources),
        };
        let (moved, offsets) = match self.random.u8(..3) {
            0 => (Vec::new(), None),
            _ => self.draw_offsets(sources),
        };
        handled.extend(moved);
        if handled.is_empty() {
            return;
        }
        let is_keyed = !self.weather.has_clock_jumps && self.random.bool();
        let forward = Forward {
            number: self.forwarding().next_number(),
            is_keyed,
            settlement,
            offsets,
            sources: handled,
        };
        self.begin_forward(results, forward);
    }

    /// Somebody who is late handles once more what was perhaps handled: as another commit.
    pub(super) fn forward_late(&mut self, results: TopicId) {
        let count = self.forwarding().claims.len();
        let which = self.random.usize(..count.max(1));
        let forwarding = self.forwarding();
        let Some(claim) = forwarding.claims.get(which).cloned() else {
            return;
        };
        if !self.is_overtaken(&claim) {
            return;
        }
        let forwarding = self.forwarding();
        let forward = Forward {
            number: forwarding.next_number(),
            is_keyed: false,
            ..claim
        };
        self.begin_forward(results, forward);
    }

    /// Whether a claim moves the group no more: a member that still owns the partition would tread on its own
    /// heels.
    fn is_overtaken(&self, claim: &Forward) -> bool {
        let offsets = claim.offsets.iter().flat_map(|(_, wish)| &wish.commits);
        offsets.into_iter().all(|commit| {
            let known = self.groups().find_map(|it| it.partition(commit.partition));
            known.is_some_and(|known| {
                let owner = known.owner.map(|it| it.generation);
                owner > Some(commit.generation) || known.committed >= commit.offset
            })
        })
    }

    fn begin_forward(&mut self, results: TopicId, forward: Forward) {
        for source in &forward.sources {
            let event = ForwardEvent::Sent { source: *source };
            self.note_forward(forward.number, event);
        }
        let random = &mut self.random;
        let forwarding = self.apart.forwarding.as_mut().expect("it acts");
        forwarding.keep(&forward, random);
        self.push_forward(results, forward);
    }

    /// Sends a commit again that was not answered. Returns whether there was any.
    pub(super) fn forward_again(&mut self, results: TopicId) -> bool {
        let doubtful = self.forwarding().doubtful.pop();
        let is_any = doubtful.is_some();
        if let Some(forward) = doubtful {
            self.push_forward(results, forward);
        }
        is_any
    }

    /// Some records of one delivery and partition.
    fn draw_settlement(&mut self, sources: TopicId) -> (Vec<Source>, Option<CommitSettlement>) {
        let count_max = self.random.usize(1..=HANDLED_MAX);
        let who = self.random.usize(..2);
        let worker = &mut self.forwarding().workers[who];
        let first = worker.held.first_key_value().map(|(at, it)| (*at, *it));
        let (Some(((partition, _), delivery)), Some((_, subscription))) = (first, worker.seat)
        else {
            return (Vec::new(), None);
        };
        let same = worker
            .held
            .iter()
            .filter(|((of, _), it)| *of == partition && **it == delivery);
        let offsets: Vec<u64> = same.map(|((_, at), _)| *at).take(count_max).collect();
        for offset in &offsets {
            worker.held.remove(&(partition, *offset));
        }
        let handled = offsets
            .iter()
            .map(|offset| to_source(SUBSCRIPTION_LANE, (sources, partition), *offset));
        let ranges = offsets.iter().map(|offset| OffsetRange {
            start: Offset::new(*offset),
            end: Offset::new(offset + 1),
        });
        let settlement = Settlement {
            delivery,
            partition,
            ranges: ranges.collect(),
            outcome: DeliveryOutcome::Ack,
        };
        let settlement = CommitSettlement {
            operation: 1,
            subscription,
            settlement,
        };
        (handled.collect(), Some(settlement))
    }

    /// What is next in a partition that a member owns.
    fn draw_offsets(&mut self, sources: TopicId) -> (Vec<Source>, Option<(usize, CommitOffsets)>) {
        let ends = self.end_of_topic(sources);
        let count_max = self.random.u64(1..=HANDLED_MAX as u64);
        let (who, partition) = (self.random.usize(..2), self.random.u32(..2));
        if self.forwarding().is_moving(partition) {
            return (Vec::new(), None);
        }
        let forwarding = self.forwarding();
        let moved = forwarding.moved.get(&partition).copied();
        let mover = &mut forwarding.movers[who];
        let Some(&(generation, position)) = mover.owned.get(&partition) else {
            return (Vec::new(), None);
        };
        let position = position.max(moved.unwrap_or_default());
        let end = ends[partition as usize].min(position + count_max);
        let offsets = position..end;
        if offsets.is_empty() {
            return (Vec::new(), None);
        }
        let commit = Commit {
            partition: PartitionRef {
                topic: sources,
                partition,
            },
            generation,
            offset: Offset::new(end),
            gaps: Vec::new(),
        };
        let wish = CommitOffsets {
            operation: 2,
            group: MOVERS.parse().unwrap(),
            member: mover.id,
            commits: vec![commit],
        };
        let handled = offsets.map(|it| to_source(GROUP_LANE, (sources, partition), it));
        (handled.collect(), Some((who, wish)))
    }

    fn push_forward(&mut self, results: TopicId, forward: Forward) {
        let Some(engine) = &self.engine else { return };
        let snapshot = engine.shared.index.snapshot();
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&(KEYS + forward.number).to_le_bytes());
        let Ok(found) = snapshot.runs.get(&CommitKey::row_key(&hash)) else {
            // The disk could not be read: nothing was sent, or nothing again.
            if forward.is_keyed {
                self.forwarding().doubtful.push(forward);
            }
            return;
        };
        let key = forward.is_keyed.then(|| CommitKey {
            hash,
            fingerprint: hash,
            on_disk: found.value().cloned(),
            told: Bytes::new(),
        });
        let outputs = forward
            .sources
            .iter()
            .map(|it| to_output(forward.number, *it));
        let (request, payload) = to_append((results, 0), outputs.collect());
        let offsets = forward.offsets.iter().map(|(_, wish)| wish.clone());
        let (sender, answer) = oneshot::channel();
        let command = CommitCommand {
            wish: CommitWish {
                appends: vec![CommitAppend {
                    operation: 0,
                    request,
                }],
                offsets: offsets.collect(),
                settlements: forward.settlement.iter().cloned().collect(),
                key,
                ..CommitWish::default()
            },
            payloads: vec![payload],
            facts: None,
            snapshot: Some(snapshot),
            schedule_snapshot: None,
            answer: sender,
            permits: Permits::default(),
        };
        let command = DataCommand::Commit(Box::new(command));
        let pushed = engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.forwarding().waiting.push(Call { forward, answer });
    }

    /// Takes the answers that came.
    pub(in crate::swarm::world) fn take_forward_answers(&mut self) {
        let Some(forwarding) = &mut self.apart.forwarding else {
            return;
        };
        for mut call in std::mem::take(&mut forwarding.waiting) {
            let number = call.forward.number;
            match told(&mut call.answer) {
                Told::Nothing => self.forwarding().waiting.push(call),
                Told::Lost if call.forward.is_keyed => {
                    self.forwarding().doubtful.push(call.forward);
                }
                Told::Lost => {}
                Told::Done(committed) => {
                    let first = committed.published.base_offsets[0].get();
                    self.note_forward(number, ForwardEvent::Done { first });
                    self.counts.forwarded += 1;
                    self.forwarding().note_moved(&call.forward);
                }
                Told::Refused(refused) => {
                    self.note_forward(number, ForwardEvent::Refused);
                    self.take_forward_refusal(&call.forward, &refused.cause);
                }
            }
        }
    }

    fn take_forward_refusal(&mut self, forward: &Forward, cause: &CommitRefusalCause) {
        match cause {
            CommitRefusalCause::Append(AppendRefusal::StorageFull)
            | CommitRefusalCause::LeaseExpired { .. }
            | CommitRefusalCause::Offset { .. }
            | CommitRefusalCause::OffsetNotBeyond { .. } => {}
            other => panic!("unexpected answer {other:?} to {forward:?}"),
        }
        self.counts.late_forwards += 1;
        // What the member would commit next rests on this.
        if let Some((who, wish)) = &forward.offsets {
            for commit in &wish.commits {
                let mover = &mut self.forwarding().movers[*who];
                mover.owned.remove(&commit.partition.partition);
            }
        }
    }

    pub(super) fn note_forward(&mut self, commit: u64, event: ForwardEvent) {
        self.history.push(Event::Forward { commit, event });
    }
}

fn to_source(lane: u64, (topic, partition): (TopicId, u32), offset: u64) -> Source {
    let topic = topic.get();
    let place = Place { topic, partition };
    Source {
        lane,
        place,
        offset,
    }
}

/// What comes of a record: it says of which, and by which commit.
fn to_output(commit: u64, source: Source) -> v1::Record {
    let Source {
        lane,
        place,
        offset,
    } = source;
    let numbers = [commit, lane, place.topic, place.partition.into(), offset];
    let value: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
    v1::Record {
        value: Some(value.into()),
        // Longer than a sector: a torn round may hold a part of what belongs together.
        headers: vec![v1::Header {
            name: "padding".to_owned(),
            value: vec![7; 700].into(),
        }],
        ..v1::Record::default()
    }
}

/// Reads what [`to_output`] wrote.
pub(super) fn of_output(record: &v1::Record) -> (u64, Source) {
    let value = record.value.as_ref().expect("a value");
    let (numbers, _) = value.as_chunks();
    let numbers: Vec<u64> = numbers.iter().map(|it| u64::from_le_bytes(*it)).collect();
    let [commit, lane, topic, partition, offset] = numbers[..] else {
        panic!("{RESULTS} holds {record:?}");
    };
    let place = Place {
        topic,
        partition: u32::try_from(partition).unwrap(),
    };
    let source = Source {
        lane,
        place,
        offset,
    };
    (commit, source)
}

fn to_append(
    (topic, partition): (TopicId, u32),
    records: Vec<v1::Record>,
) -> (AppendRequest, Bytes) {
    let record_count = records.len();
    let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
    let partition = PartitionRef { topic, partition };
    let request = AppendRequest::plain(partition, &payload, record_count);
    (request, payload)
}
