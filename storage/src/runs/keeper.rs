//! Which runs there are, which are to come with the next checkpoint, and which files may go.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use super::merge::{MergeJob, MergedRun};
use super::plan::{PlanRun, plan};
use super::run::{self, Run};
use super::store::IndexStore;
use super::writer::{RunWriter, WrittenRun};
use super::{IndexOptions, RunContext};
use crate::environment::Environment;
use crate::error::StorageError;
use crate::folder;
use crate::format::row::Row;
use crate::format::run_file::RunSpan;
use crate::format::run_row::RunRow;
use crate::ids::{BrokerId, Lsn};

/// The maintenance thread's half of the index store.
#[derive(Debug)]
pub(crate) struct RunKeeper {
    context: RunContext,
    store: Arc<IndexStore>,
    /// Above every number that a file in the folder has had since the start.
    next_number: u64,
    /// A merge that the next checkpoint installs.
    merged: Option<MergedRun>,
    /// Alive while a merge is under way or waits for a checkpoint.
    merging: Weak<()>,
    /// Files that no checkpoint needs once both copies of the next one are durable.
    doubtful: BTreeSet<u64>,
}

/// The runs that a checkpoint is to name.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Newest first.
    runs: Vec<Arc<Run>>,
    fresh: Option<WrittenRun>,
    /// Whether a file may name them by now.
    is_named: bool,
}

impl RunKeeper {
    /// Opens the runs that a checkpoint names.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if one is missing or is not that run.
    pub(crate) fn open(
        environment: &Environment,
        broker_id: BrokerId,
        options: &IndexOptions,
        named: &[RunRow],
    ) -> Result<Self, StorageError> {
        let context = RunContext {
            environment: environment.clone(),
            broker_id,
            filter_key_bytes: options.filter_key_bytes,
        };
        let mut runs = Vec::new();
        for row in named {
            runs.push(Arc::new(Run::open(&context, row)?));
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.rank()));
        let store = Arc::new(IndexStore::new(options.cache_bytes));
        store.replace(runs);
        let numbers = run::list(environment)?;
        let used = numbers
            .into_iter()
            .chain(named.iter().map(|row| row.number));
        Ok(Self {
            context,
            store,
            next_number: used.max().unwrap_or_default() + 1,
            merged: None,
            merging: Weak::new(),
            doubtful: BTreeSet::new(),
        })
    }

    pub(crate) fn store(&self) -> &Arc<IndexStore> {
        &self.store
    }

    /// Writes rows as a run, and says what a checkpoint at `lsn` is to name.
    ///
    /// # Errors
    /// [`StorageError`]; nothing is left, and nothing has changed.
    pub(crate) fn stage(&mut self, rows: &[Row], lsn: Lsn) -> Result<Staged, StorageError> {
        let mut runs = self.store.current().runs().to_vec();
        if let Some(merged) = &self.merged {
            let written = merged.written.as_ref();
            let opened = written.map(|it| open_written(&self.context, it));
            replace(&mut runs, &merged.inputs, opened.transpose()?);
        }
        let after = runs.first().map_or(Lsn::ZERO, |run| run.footer().span.last);
        let fresh = self.write_rows(rows, RunSpan { after, last: lsn })?;
        if let Some(written) = &fresh {
            let run = open_written(&self.context, written)?;
            runs.insert(0, run);
        }
        Ok(Staged {
            runs,
            fresh,
            is_named: false,
        })
    }

    fn write_rows(
        &mut self,
        rows: &[Row],
        span: RunSpan,
    ) -> Result<Option<WrittenRun>, StorageError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let number = self.take_number();
        let mut writer = RunWriter::create(&self.context, number)?;
        for row in rows {
            writer.push(&row.key, row.value.as_deref())?;
        }
        writer.finish(number, span)
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Notes that a checkpoint that names what is staged may be found at the next start.
    pub(crate) fn note_named(&mut self, staged: &mut Staged) {
        staged.is_named = true;
        let merged = self.merged.as_mut().and_then(|it| it.written.as_mut());
        for written in staged.fresh.iter_mut().chain(merged) {
            written.unfinished.keep();
        }
    }

    /// Gives up what was staged, after the checkpoint failed.
    pub(crate) fn give_up(&mut self, staged: Staged) {
        if let Some(written) = staged.fresh.filter(|_| staged.is_named) {
            self.doubtful.insert(written.row.number);
        }
    }

    /// Gives out what was staged, after both copies of the checkpoint are durable.
    pub(crate) fn install(&mut self, staged: Staged) {
        let numbers: BTreeSet<_> = staged.runs.iter().map(|run| run.number()).collect();
        let before = self.store.current();
        let replaced = before.runs().iter().map(|run| run.number());
        self.doubtful
            .extend(replaced.filter(|number| !numbers.contains(number)));
        self.store.replace(staged.runs);
        self.merged = None;
    }

    /// Unlinks what neither copy of the newest checkpoint names. What cannot be unlinked is tried again
    /// after the next one.
    pub(crate) fn remove_unneeded(&mut self) {
        let vfs = &self.context.environment.vfs;
        self.doubtful.retain(|number| {
            let path = folder::run_file(*number);
            match vfs.unlink(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let path = path.display();
                    tracing::error!(%path, %error, "run not removed, will be tried again");
                    true
                }
                _ => false,
            }
        });
    }

    /// Whether there are files that may go.
    pub(crate) fn has_doubtful(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Lets go of every file in the folder that is not one of the present runs.
    ///
    /// # Errors
    /// [`StorageError::Io`] if the folder cannot be listed.
    pub(crate) fn doubt_unnamed(&mut self) -> Result<(), StorageError> {
        let current = self.store.current();
        let merged = self.merged.iter().filter_map(|it| it.written.as_ref());
        let known = current.runs().iter().map(|run| run.number());
        let known: BTreeSet<_> = known.chain(merged.map(|it| it.row.number)).collect();
        let numbers = run::list(&self.context.environment)?;
        self.doubtful
            .extend(numbers.into_iter().filter(|number| !known.contains(number)));
        Ok(())
    }

    /// A merge that is due; `None` if there is none, or one is under way or waits for a checkpoint.
    pub(crate) fn merge_job(&mut self) -> Option<MergeJob> {
        if self.merging.strong_count() > 0 {
            return None;
        }
        let current = self.store.current();
        let of = |run: &Arc<Run>| PlanRun {
            bytes: run.file_bytes(),
            is_damaged: run.is_damaged(),
        };
        let oldest_first: Vec<_> = current.runs().iter().rev().map(of).collect();
        let places = plan(&oldest_first)?;
        let count = current.runs().len();
        let inputs = current
            .runs()
            .get(count - places.end..count - places.start)?
            .to_vec();
        let token = Arc::new(());
        self.merging = Arc::downgrade(&token);
        let number = self.take_number();
        let has_oldest = places.start == 0;
        Some(MergeJob::new(
            self.context.clone(),
            number,
            inputs,
            has_oldest,
            token,
        ))
    }

    /// Takes a finished merge for the next checkpoint.
    pub(crate) fn take_merged(&mut self, merged: MergedRun) {
        // INVARIANT: the runs of a merge are replaced by it alone.
        assert!(
            self.merging.ptr_eq(&Arc::downgrade(&merged.token)) && self.merged.is_none(),
            "one merge is under way"
        );
        self.merged = Some(merged);
    }
}

impl Staged {
    /// The rows of the checkpoint that name the runs, sorted.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<_> = self.runs.iter().map(|run| run.row().to_row()).collect();
        rows.sort_by(|left, right| left.key.cmp(&right.key));
        rows
    }
}

fn open_written(context: &RunContext, written: &WrittenRun) -> Result<Arc<Run>, StorageError> {
    Run::open(context, &written.row).map(Arc::new)
}

/// Puts a run, or none, in the place of those that were merged.
fn replace(runs: &mut Vec<Arc<Run>>, inputs: &[Arc<Run>], merged: Option<Arc<Run>>) {
    let is_input = |run: &Arc<Run>| inputs.iter().any(|input| Arc::ptr_eq(input, run));
    let place = runs.iter().position(is_input).unwrap_or(runs.len());
    runs.retain(|run| !is_input(run));
    if let Some(merged) = merged {
        runs.insert(place.min(runs.len()), merged);
    }
}
