//! Which rows changed since the last checkpoint. Only names are kept; values are read when the
//! checkpoint is taken.

use std::collections::BTreeSet;

use super::row::RowId;

#[derive(Debug, Default)]
pub(super) struct Changes {
    rows: BTreeSet<RowId>,
    /// The rows noted last: batches of one producer to one partition come in runs.
    last: [Option<RowId>; 3],
}

impl Changes {
    pub(super) fn note(&mut self, row: RowId) {
        if self.last.contains(&Some(row)) {
            return;
        }
        self.rows.insert(row);
        self.last = [self.last[1], self.last[2], Some(row)];
    }

    pub(super) fn take(&mut self) -> BTreeSet<RowId> {
        self.last = [None; 3];
        std::mem::take(&mut self.rows)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
