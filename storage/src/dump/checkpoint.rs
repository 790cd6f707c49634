//! Telling a checkpoint file.

use std::collections::BTreeMap;

use super::{Item, Told, Walk};
use crate::checkpoint::CheckpointReader;
use crate::error::StorageError;
use crate::folder::{self, CheckpointName};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::row::Row;

/// Rows and bytes of each table.
type Tables = BTreeMap<u16, (u64, u64)>;

impl Walk<'_> {
    /// Tells a checkpoint, if that is selected; returns its footer if all of it is intact.
    pub(super) fn checkpoint(&mut self, name: CheckpointName) -> Told<Option<CheckpointFooter>> {
        let (mut footer, mut tables) = (None, Tables::new());
        let counted = self.count_rows(name, &mut footer, &mut tables);
        let damage = counted.err().map(|error| super::told(&error));
        let intact = footer.filter(|_| damage.is_none());
        if !self.selection.checkpoints {
            return Told::Continue(intact);
        }
        self.tell(&Item::Checkpoint {
            path: folder::checkpoint_file(name),
            footer,
            damage,
        })?;
        for (table, (row_count, bytes)) in tables {
            self.tell(&Item::Table {
                table,
                row_count,
                bytes,
            })?;
        }
        if self.selection.rows {
            self.rows_of_checkpoint(name)?;
        }
        Told::Continue(intact)
    }

    /// Reads the whole file. What was found before an error stands.
    fn count_rows(
        &self,
        name: CheckpointName,
        footer: &mut Option<CheckpointFooter>,
        tables: &mut Tables,
    ) -> Result<(), StorageError> {
        let mut reader = CheckpointReader::open(self.environment, name)?;
        *footer = Some(*reader.footer());
        while let Some(row) = reader.next_row()? {
            let (row_count, bytes) = tables.entry(row.key.table).or_default();
            *row_count += 1;
            *bytes += row.encoded_bytes() as u64;
        }
        Ok(())
    }

    fn rows_of_checkpoint(&mut self, name: CheckpointName) -> Told {
        let mut reader = match CheckpointReader::open(self.environment, name) {
            Ok(reader) => reader,
            Err(error) => return self.end_of_rows(error),
        };
        loop {
            match reader.next_row() {
                Ok(Some(row)) => self.row(row)?,
                Ok(None) => return Told::Continue(()),
                Err(error) => return self.end_of_rows(error),
            }
        }
    }

    /// Damage was told with the file.
    fn end_of_rows(&mut self, error: StorageError) -> Told {
        match error {
            StorageError::Corrupt(_) => Told::Continue(()),
            error => self.attempt::<()>(Err(error)).map_continue(drop),
        }
    }

    pub(super) fn row(&mut self, row: Row) -> Told {
        self.tell(&Item::Row(row))
    }
}
