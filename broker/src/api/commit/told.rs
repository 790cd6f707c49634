//! What is told of a commit, and remembered of one that has a key.

use bytes::Bytes;
use prost::Message;
use towpath_proto::v1;
use towpath_storage::Offset;

use super::super::places;
use super::placement::Placed;
use crate::core::{CommitAppend, UnwrittenRecord};

/// Where the records of all operations are within the batches of a commit.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Told {
    /// Partition of each batch.
    #[prost(uint32, repeated, tag = "1")]
    partitions: Vec<u32>,
    /// Of each operation.
    #[prost(message, repeated, tag = "2")]
    operations: Vec<ToldOperation>,
}

#[derive(Clone, PartialEq, Message)]
struct ToldOperation {
    /// Its records, in their order.
    #[prost(message, repeated, tag = "1")]
    runs: Vec<Run>,
}

/// Records that follow each other in a batch.
#[derive(Clone, Copy, PartialEq, Message)]
struct Run {
    /// Number of the batch.
    #[prost(uint32, tag = "1")]
    batch: u32,
    /// Number of the first one in it.
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(uint32, tag = "3")]
    count: u32,
}

impl Told {
    /// What is told of operations whose records have these places in these batches.
    pub(super) fn of(appends: &[CommitAppend], placed: &[Vec<Placed>]) -> Self {
        // INVARIANT: batches stand in the order of their partitions.
        let batch_of = |placed: &Placed| {
            let found = appends.binary_search_by_key(&placed.partition, |it| it.request.partition);
            found.map_or(0, |batch| u32::try_from(batch).unwrap_or(u32::MAX))
        };
        let operations = placed.iter().map(|placed| {
            let mut runs: Vec<Run> = Vec::new();
            for (placed, batch) in placed.iter().map(|placed| (placed, batch_of(placed))) {
                match runs.last_mut() {
                    Some(run) if run.batch == batch && run.first + run.count == placed.index => {
                        run.count += 1;
                    }
                    _ => runs.push(Run {
                        batch,
                        first: placed.index,
                        count: 1,
                    }),
                }
            }
            ToldOperation { runs }
        });
        Self {
            partitions: appends
                .iter()
                .map(|it| it.request.partition.partition)
                .collect(),
            operations: operations.collect(),
        }
    }

    /// As it is remembered.
    pub(super) fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// What was remembered.
    pub(super) fn from_bytes(bytes: Bytes) -> Option<Self> {
        Self::decode(bytes).ok()
    }

    /// The answer, by the offset of the first record of each batch and what was left out of each.
    pub(super) fn results(
        &self,
        base_offsets: &[Offset],
        unwritten: &[Vec<UnwrittenRecord>],
    ) -> Vec<v1::OperationResult> {
        let positions = |run: &Run| {
            let batch = run.batch as usize;
            let (partition, base) = (self.partitions.get(batch), base_offsets.get(batch));
            let left_out = unwritten.get(batch).map_or(&[][..], Vec::as_slice);
            let place = partition.copied().zip(base.copied());
            let numbers = run.first..run.first.saturating_add(run.count);
            numbers.filter_map(move |number| {
                let (partition, base) = place?;
                Some(places::position(partition, base, left_out, number))
            })
        };
        let operations = self.operations.iter();
        let results = operations.map(|operation| v1::OperationResult {
            positions: operation.runs.iter().flat_map(positions).collect(),
        });
        results.collect()
    }
}
