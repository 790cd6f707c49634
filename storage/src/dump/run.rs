//! Telling the runs of index rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Item, Told, Walk};
use crate::checkpoint::named_runs;
use crate::error::StorageError;
use crate::folder::{self, CheckpointName};
use crate::format::run_row::RunRow;
use crate::runs::{Run, RunRows, check_rows, list};

/// The runs that a checkpoint names, by number.
type Named = BTreeMap<u64, RunRow>;

impl Walk<'_> {
    /// Tells every run in the folder, and those that the newest checkpoint names and that are missing.
    pub(super) fn runs(&mut self, newest: Option<CheckpointName>) -> Told {
        self.unknown_names(folder::INDEX, |name| {
            folder::parse_run_file(name).is_some() || folder::is_temporary(name)
        })?;
        let named = newest.map(|newest| self.named_runs(newest));
        let named = match named {
            Some(read) => self.attempt(read)?,
            None => None,
        };
        let mut missing = named.unwrap_or_default();
        let numbers = self.attempt(list(self.environment))?;
        for number in numbers.unwrap_or_default() {
            let row = missing.remove(&number);
            self.run_file(number, row.as_ref())?;
        }
        for number in missing.into_keys() {
            let what = "the file is missing, and the newest checkpoint names it";
            self.trouble(&folder::run_file(number), 0, what)?;
        }
        Told::Continue(())
    }

    fn named_runs(&self, newest: CheckpointName) -> Result<Named, StorageError> {
        let runs = named_runs(self.environment, newest)?;
        Ok(runs.into_iter().map(|run| (run.number, run)).collect())
    }

    fn run_file(&mut self, number: u64, row: Option<&RunRow>) -> Told {
        let opened = match row {
            Some(row) => Run::open_named(self.environment, row),
            None => Run::open_file(self.environment, number),
        };
        let (footer, tables) = match &opened {
            Ok(run) => (Some(*run.footer()), run.contents().tables.clone()),
            Err(_) => (None, Vec::new()),
        };
        let (run, mut damage) = match opened {
            Ok(run) => (Some(Arc::new(run)), None),
            Err(error) => (None, Some(super::told(&error))),
        };
        if let Some(run) = &run {
            damage = check_rows(run).err().map(|error| super::told(&error));
        }
        self.tell(&Item::Run {
            path: folder::run_file(number),
            footer,
            rank: row.map(|row| row.rank),
            damage,
        })?;
        for summary in tables {
            self.tell(&Item::RunTable(summary))?;
        }
        match run.filter(|_| self.selection.rows) {
            Some(run) => self.rows_of_run(&run),
            None => Told::Continue(()),
        }
    }

    /// Tells the rows up to the first damage, which was told with the file.
    fn rows_of_run(&mut self, run: &Arc<Run>) -> Told {
        let mut rows = RunRows::new(run);
        while let Ok(Some(row)) = rows.next_row() {
            self.row(row)?;
        }
        Told::Continue(())
    }
}
