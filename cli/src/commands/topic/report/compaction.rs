//! What is told about compacting a topic.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::TopicCompaction;

use crate::output::{Report, bytes, json_line};

/// A topic that was asked to be compacted.
#[derive(Debug, Serialize)]
pub(in crate::commands::topic) struct CompactionReport {
    name: String,
    topic_id: u64,
    uncompacted_bytes: u64,
}

impl CompactionReport {
    pub(in crate::commands::topic) fn new(name: &str, compaction: &TopicCompaction) -> Self {
        Self {
            name: name.to_owned(),
            topic_id: compaction.topic_id.get(),
            uncompacted_bytes: compaction.uncompacted_bytes,
        }
    }
}

impl Report for CompactionReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let new = bytes(self.uncompacted_bytes);
        writeln!(
            out,
            "topic {} is being compacted, {new} of it for the first time",
            self.name
        )
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
