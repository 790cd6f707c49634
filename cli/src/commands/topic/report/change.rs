//! What was done to a topic as a whole.

use std::io::{self, Write};

use towpath_client::Topic;

use super::TopicReport;
use crate::output::{Report, count_of, json_line};

/// What was done to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::topic) enum Done {
    /// It is there now.
    Created,
    /// It is there, now or from before.
    Ensured,
    /// It could be created.
    WouldCreate,
    /// Its settings are what was asked for.
    Updated,
    /// Its settings could be.
    WouldUpdate,
    /// It is gone.
    Deleted,
    /// It could be deleted.
    WouldDelete,
}

/// A topic and what was done to it.
#[derive(Debug)]
pub(in crate::commands::topic) struct TopicChange {
    topic: TopicReport,
    done: Done,
}

impl TopicChange {
    pub(in crate::commands::topic) fn new(topic: &Topic, done: Done) -> Self {
        Self {
            topic: TopicReport::of(topic),
            done,
        }
    }
}

impl Report for TopicChange {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = &self.topic.name;
        let partitions = count_of(self.topic.partition_count.into(), "partition");
        let records = count_of(self.topic.record_count, "record");
        let mut shape = vec![partitions.clone()];
        shape.extend(self.topic.config.chosen());
        let (shape, settings) = (shape.join(", "), self.topic.config.all());
        match self.done {
            Done::Created => writeln!(
                out,
                "created topic {name}: {shape}, acknowledged when on disk"
            ),
            Done::Ensured => writeln!(out, "topic {name} is there: {shape}"),
            Done::WouldCreate => writeln!(
                out,
                "would create topic {name}: {shape}\ndry run: nothing was created"
            ),
            Done::Updated => writeln!(out, "updated topic {name}: {settings}"),
            Done::WouldUpdate => writeln!(
                out,
                "would update topic {name}: {settings}\ndry run: nothing was changed"
            ),
            Done::Deleted => {
                writeln!(out, "deleted topic {name}: {partitions}, {records}")
            }
            Done::WouldDelete => writeln!(
                out,
                "would delete topic {name}: {partitions}, {records}\n\
                 dry run: nothing was deleted"
            ),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, &self.topic)
    }
}
