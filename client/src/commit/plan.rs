//! What the broker is asked: one request for all operations.
//!
//! Acks of what came with one delivery are one operation of the request, since a request holds few of them;
//! a record that rests on an offset or a version is not among others. So the numbers of the operations differ on both sides.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::settlement::Outcome;
use towpath_proto::wire::operation::Operation as Kind;
use towpath_proto::wire::{AppendRecords, CommitRequest, Operation as Asked};

use super::operation::{Member, Operation};
use crate::record::Expectation;
use crate::subscriber::NamedDelivery;
use crate::{
    Delivery, DeliveryOutcome, Error, ErrorReason, GroupOffset, Limits, PartitionId, Record,
};

/// What is asked, and for which operations.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) request: CommitRequest,
    /// For which operations each one of the request stands.
    origins: Vec<Origin>,
    /// Encoded records and what batches add to them.
    size_bytes: usize,
}

/// What an operation of the request is made of.
#[derive(Debug)]
enum Origin {
    /// So many records of one operation.
    Records(usize, usize),
    /// One that appends nothing.
    One(usize),
    /// Acks, by their offsets.
    Acks(BTreeMap<u64, usize>),
}

/// A failure, and the operation that it concerns.
type Failed = (Option<usize>, Error);

impl Plan {
    /// Plans operations. `source` is where events come from that do not say so themselves.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them.
    pub(super) fn of(operations: &[Operation], source: &str, key: &Bytes) -> Result<Self, Failed> {
        let mut draft = Draft::default();
        for (number, operation) in operations.iter().enumerate() {
            let added = match operation {
                Operation::Append { topic, records } => {
                    draft.append(number, (topic, source), records)
                }
                Operation::Settle { delivery, outcome } => draft.settle(number, delivery, outcome),
                Operation::SettlePulled { pulled, outcome } => {
                    let settle = pulled.settle(outcome);
                    draft.parts.push(Part::Settle(settle, number));
                    Ok(())
                }
                Operation::Offsets { member, offsets } => draft.commit(number, member, offsets),
            };
            added.map_err(|error| (Some(number), error))?;
        }
        let plan = draft.finish(key);
        if plan.origins.is_empty() {
            let text = "there is nothing to commit";
            return Err((None, Error::invalid("operations", text)));
        }
        Ok(plan)
    }

    /// Checks what the broker would refuse once it had all of it.
    ///
    /// # Errors
    ///
    /// The limit that is exceeded.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Failed> {
        let (count, count_max) = (
            self.origins.len(),
            limits.operations_per_commit_max as usize,
        );
        if count > count_max {
            let text = format!("{count} operations are more than one commit may have");
            let error = Error::invalid("operations", text);
            return Err((None, error.with_fact("operations_max", count_max)));
        }
        let (size_bytes, size_bytes_max) = (self.size_bytes, limits.commit_bytes_max);
        if size_bytes > size_bytes_max {
            let text = format!(
                "the records have {size_bytes} bytes, a commit has at most {size_bytes_max}"
            );
            let problem = Problem::new(ErrorReason::BatchTooLarge, text)
                .with("size_bytes", size_bytes)
                .with("size_bytes_max", size_bytes_max);
            return Err((None, Error::from_problem(&problem)));
        }
        Ok(())
    }

    /// For each operation of the request, for which one it stands and how many records it writes.
    pub(super) fn appends(&self) -> impl ExactSizeIterator<Item = (usize, usize)> {
        self.origins.iter().map(|origin| match origin {
            Origin::Records(number, count) => (*number, *count),
            Origin::One(number) => (*number, 0),
            Origin::Acks(acks) => (acks.values().next().copied().unwrap_or_default(), 0),
        })
    }

    /// Finds the operation that a refusal is about.
    pub(super) fn explain(&self, error: Error) -> Failed {
        let asked = error.metadata("operation").and_then(|it| it.parse().ok());
        let asked: Option<usize> = asked.or_else(|| number_in(error.metadata("field")?));
        let origin = asked.and_then(|asked| self.origins.get(asked));
        let number = origin.map(|origin| match origin {
            Origin::Records(number, _) | Origin::One(number) => *number,
            Origin::Acks(acks) => {
                let offset = error.metadata("offset").and_then(|it| it.parse().ok());
                let at_offset = offset.and_then(|offset: u64| acks.get(&offset));
                let number = at_offset.or_else(|| acks.values().next());
                number.copied().unwrap_or_default()
            }
        });
        (number, error)
    }
}

/// The number in the name of a field such as `operations[3].append.topic`.
fn number_in(field: &str) -> Option<usize> {
    let (number, _) = field.strip_prefix("operations[")?.split_once(']')?;
    number.parse().ok()
}

/// A plan that is being made.
#[derive(Debug, Default)]
struct Draft {
    parts: Vec<Part>,
    /// Places of acks, by what they settle.
    acks: BTreeMap<NamedDelivery, usize>,
    /// How far each member says to be in each partition, and in which part.
    offsets: BTreeMap<([u8; 16], String, PartitionId), (usize, usize)>,
    size_bytes: usize,
}

#[derive(Debug)]
enum Part {
    Append(AppendRecords, usize),
    Settle(v1::SettleRecords, usize),
    Acks(NamedDelivery, BTreeMap<u64, usize>),
    Offsets(v1::CommitGroupOffsets, usize),
}

impl Draft {
    fn append(
        &mut self,
        number: usize,
        (topic, source): (&str, &str),
        records: &[Record],
    ) -> Result<(), Error> {
        // Those that expect versions of a key that follow one another rest on the first of them.
        let follows = |one: &Record, next: &Record| match (one.expectation(), next.expectation()) {
            (None, None) => true,
            (Some(Expectation::Version(one_version)), Some(Expectation::Version(next_version))) => {
                one_version.checked_add(1) == Some(next_version)
                    && one.key_bytes().is_some()
                    && one.key_bytes() == next.key_bytes()
            }
            _ => false,
        };
        let belong_together = |one: &Record, next: &Record| {
            follows(one, next) && one.chosen_partition() == next.chosen_partition()
        };
        for run in records.chunk_by(belong_together) {
            let first = run.first();
            let partition = first.and_then(Record::chosen_partition);
            let expectation = first.and_then(Record::expectation);
            let checked = first.map_or(Ok(()), Expectation::check);
            checked.map_err(|error| error.with("topic", topic))?;
            let encoded = run.iter().map(|record| {
                self.size_bytes += record.as_new_record(source).batch_len();
                record.to_proto(source).encode_to_vec().into()
            });
            let append = AppendRecords {
                topic: topic.to_owned(),
                records: encoded.collect(),
                partition: partition.map(PartitionId::get),
                expectation: expectation.map(Expectation::of_append),
            };
            self.parts.push(Part::Append(append, number));
        }
        Ok(())
    }

    fn settle(
        &mut self,
        number: usize,
        delivery: &Delivery,
        outcome: &DeliveryOutcome,
    ) -> Result<(), Error> {
        let settled = || Error::invalid("deliveries", "a delivery was settled before");
        let (named, offset) = delivery.name().ok_or_else(settled)?;
        if *outcome != DeliveryOutcome::Ack {
            let settle = named.settle([offset].into_iter(), outcome.to_proto());
            self.parts.push(Part::Settle(settle, number));
            return Ok(());
        }
        let place = *self.acks.entry(named.clone()).or_insert_with(|| {
            self.parts.push(Part::Acks(named, BTreeMap::new()));
            self.parts.len() - 1
        });
        if let Some(Part::Acks(_, acks)) = self.parts.get_mut(place) {
            acks.insert(offset, number);
        }
        Ok(())
    }

    fn commit(
        &mut self,
        number: usize,
        member: &Member,
        offsets: &[GroupOffset],
    ) -> Result<(), Error> {
        let (group, member_id) = member.name();
        let mut part = v1::CommitGroupOffsets {
            group,
            member_id: member_id.to_vec().into(),
            offsets: Vec::new(),
        };
        let part_place = self.parts.len();
        for it in offsets {
            let topic = it.topic().as_str().to_owned();
            let key = (member_id, topic.clone(), it.partition());
            let wanted = v1::GroupOffset {
                topic,
                partition: it.partition().get(),
                generation: it.generation().get(),
                offset: it.offset().get(),
            };
            let place = self.offsets.get(&key).copied();
            let known = place.and_then(|(known_part, index)| {
                if known_part == part_place {
                    return part.offsets.get_mut(index);
                }
                match self.parts.get_mut(known_part)? {
                    Part::Offsets(known, _) => known.offsets.get_mut(index),
                    Part::Append(..) | Part::Settle(..) | Part::Acks(..) => None,
                }
            });
            match known {
                Some(known) if known.generation != wanted.generation => {
                    let text = "a partition is committed in two generations at once";
                    return Err(Error::invalid("offsets", text)
                        .with("topic", it.topic())
                        .with("partition", it.partition()));
                }
                Some(known) => known.offset = known.offset.max(wanted.offset),
                None => {
                    self.offsets.insert(key, (part_place, part.offsets.len()));
                    part.offsets.push(wanted);
                }
            }
        }
        if !part.offsets.is_empty() {
            self.parts.push(Part::Offsets(part, number));
        }
        Ok(())
    }

    fn finish(self, key: &Bytes) -> Plan {
        let parts = self.parts.into_iter().map(|part| {
            let (kind, origin) = match part {
                Part::Append(append, number) => {
                    let origin = Origin::Records(number, append.records.len());
                    (Kind::Append(append), origin)
                }
                Part::Settle(settle, number) => (Kind::Settle(settle), Origin::One(number)),
                Part::Acks(named, acks) => {
                    let outcome = Outcome::Ack(v1::Ack {});
                    let settle = named.settle(acks.keys().copied(), outcome);
                    (Kind::Settle(settle), Origin::Acks(acks))
                }
                Part::Offsets(offsets, number) => (Kind::Offsets(offsets), Origin::One(number)),
            };
            let asked = Asked {
                operation: Some(kind),
            };
            (asked, origin)
        });
        let (operations, origins) = parts.unzip();
        Plan {
            request: CommitRequest {
                operations,
                idempotency_key: key.clone(),
            },
            origins,
            size_bytes: self.size_bytes,
        }
    }
}
