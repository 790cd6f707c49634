//! A state that keeps nothing, for measuring what lies below it.

use towpath_storage::{DirectoryLine, Row, StateMachine};

/// Keeps nothing.
#[derive(Debug)]
pub struct Nothing;

impl StateMachine for Nothing {
    fn apply_row(&mut self, _: Row) {}

    fn apply_append(&mut self, _: &DirectoryLine) {}

    fn take_changed(&mut self) -> Vec<Row> {
        Vec::new()
    }

    fn checkpoint_loaded(&mut self) {}
}
