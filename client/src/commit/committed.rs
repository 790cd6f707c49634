//! What a commit has done.

use std::time::SystemTime;

use towpath_proto::ids::{Lsn, Offset, PartitionId};
use towpath_proto::v1;

use super::plan::Plan;
use crate::time::from_ms;
use crate::{Error, Position};

/// What happened, all of it on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Place in the one order over all topics, which all of it has.
    pub lsn: Lsn,
    /// When it happened, by the broker's clock.
    pub commit_time: SystemTime,
    /// It happened before, under the same key, and nothing happened now.
    pub is_repeated: bool,
    /// Of each operation.
    positions: Vec<Vec<Position>>,
}

impl Committed {
    /// Where each record is, in the order in which they were given.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        self.positions.iter().flatten()
    }

    /// Where each record of one operation is, counting the calls that made the commit from 0; none for one
    /// that writes nothing.
    pub fn positions_of(&self, operation: usize) -> &[Position] {
        self.positions
            .get(operation)
            .map_or(&[], |positions| positions.as_slice())
    }

    /// Reads the answer to what `plan` asked for so many operations.
    pub(super) fn read(
        plan: &Plan,
        operation_count: usize,
        answer: &v1::CommitResponse,
    ) -> Result<Self, Error> {
        let mut positions = vec![Vec::new(); operation_count];
        let (lsn, commit_time) = (Lsn::new(answer.lsn), from_ms(answer.commit_time_ms));
        let asked = plan.appends();
        if answer.results.len() != asked.len() {
            return Err(Error::protocol("not as many results as operations"));
        }
        for ((operation, record_count), result) in asked.zip(&answer.results) {
            if result.positions.len() != record_count {
                return Err(Error::protocol("not as many positions as records"));
            }
            let of_it = result.positions.iter().map(|position| Position {
                partition: PartitionId::new(position.partition),
                offset: Offset::new(position.offset),
                lsn,
                append_time: commit_time,
                is_repeated: position.is_repeated,
            });
            if let Some(positions) = positions.get_mut(operation) {
                positions.extend(of_it);
            }
        }
        Ok(Self {
            lsn,
            commit_time,
            is_repeated: answer.is_repeated,
            positions,
        })
    }
}
