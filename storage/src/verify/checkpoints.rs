//! Checkpoints: each from its first byte to its last.

use super::{Effect, Finding, Flow, Verification, VerifiedState};
use crate::checkpoint::{self, CheckpointReader};
use crate::error::StorageError;
use crate::folder::{self, CheckpointName};
use crate::recovery::{Loaded, check_checkpoint, load_rows};

/// The next checkpoint is written from the copy that is intact.
const OTHER_COPY: &str = "another copy of the checkpoint is intact";
const NEWER: &str = "a newer checkpoint is intact";

impl Verification<'_> {
    /// Checks all checkpoints and loads the newest that is intact; none if none is.
    pub(super) fn checkpoints(&mut self, state: &mut dyn VerifiedState) -> Flow<Option<Loaded>> {
        let listed = checkpoint::list(self.environment);
        let names = self.attempt(listed, Effect::Refused)?.unwrap_or_default();
        let mut newest: Option<CheckpointName> = None;
        let mut damaged = Vec::new();
        for name in names.iter().rev() {
            let path = folder::checkpoint_file(*name);
            let checked = check_checkpoint(self.environment, *name, self.broker_id);
            let bytes = CheckpointReader::open(self.environment, *name)
                .map_or(0, |reader| reader.footer().blocks_end);
            self.note_file(bytes)?;
            match checked {
                Ok(()) => newest = newest.or(Some(*name)),
                Err(error) => damaged.push((*name, path, error)),
            }
        }
        let Some(newest) = newest else {
            return self
                .no_checkpoint(damaged.into_iter().map(|(_, _, error)| error))
                .map_continue(|()| None);
        };
        for (name, _, error) in damaged {
            // Without its journal an older checkpoint is refused; that is found where the journal is checked.
            let why = match (name.lsn, name.incarnation) == (newest.lsn, newest.incarnation) {
                true => OTHER_COPY,
                false if name < newest => NEWER,
                false => {
                    "an older checkpoint is intact; whether it suffices is said of the journal"
                }
            };
            self.find(Finding::of_error(&error, Effect::Harmless { why }))?;
        }
        let is_alone = !names.iter().any(|it| {
            *it != newest && (it.lsn, it.incarnation) == (newest.lsn, newest.incarnation)
        });
        if is_alone {
            let path = folder::checkpoint_file(newest);
            let why = OTHER_COPY;
            let what = "its other copy is missing";
            self.find(Finding::new(&path, what, Effect::Harmless { why }))?;
        }
        let loaded = load_rows(self.environment, newest, state);
        self.attempt(loaded, Effect::Refused)
    }

    fn no_checkpoint(&mut self, errors: impl Iterator<Item = StorageError>) -> Flow {
        for error in errors {
            self.find(Finding::of_error(&error, Effect::Refused))?;
        }
        let what = "no checkpoint is intact, so that nothing says what else belongs to the folder";
        self.find(Finding::new(
            folder::CHECKPOINT.as_ref(),
            what,
            Effect::Refused,
        ))
    }
}
