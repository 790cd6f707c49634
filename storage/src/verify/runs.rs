//! Runs of index rows: those that the checkpoint names, block by block.

use std::sync::Arc;

use super::{Effect, Flow, Verification};
use crate::format::run_row::RunRow;
use crate::runs::{Run, check_rows};

impl Verification<'_> {
    pub(super) fn runs(&mut self, named: &[RunRow]) -> Flow {
        for row in named {
            let opened = Run::open_named(self.environment, row);
            let Some(run) = self.attempt(opened, Effect::Refused)? else {
                continue;
            };
            self.note_file(0)?;
            let checked = check_rows(&Arc::new(run));
            self.attempt(checked, Effect::IndexRows)?;
            self.note_bytes(row.file_bytes)?;
        }
        Flow::Continue(())
    }
}
