//! What is told about names of producers.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use towpath_client::NamedProducer;

use crate::output::{Align, Report, Table, json_line};

/// A name as JSON shows it.
#[derive(Debug, Serialize)]
struct ListedProducer {
    producer: String,
    epoch: u32,
    create_time: String,
    open_time: String,
}

impl ListedProducer {
    fn of(producer: &NamedProducer) -> Self {
        Self {
            producer: producer.name.to_string(),
            epoch: producer.epoch,
            create_time: time_text(producer.create_time),
            open_time: time_text(producer.open_time),
        }
    }
}

/// All names, one a line.
#[derive(Debug)]
pub(super) struct ProducerList {
    producers: Vec<ListedProducer>,
}

impl ProducerList {
    pub(super) fn of(producers: &[NamedProducer]) -> Self {
        Self {
            producers: producers.iter().map(ListedProducer::of).collect(),
        }
    }
}

impl Report for ProducerList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("PRODUCER", Align::Left),
            ("EPOCH", Align::Right),
            ("OPENED", Align::Left),
            ("CREATED", Align::Left),
        ]);
        for it in &self.producers {
            table.row([
                it.producer.clone(),
                it.epoch.to_string(),
                it.open_time.clone(),
                it.create_time.clone(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        self.producers.iter().try_for_each(|it| json_line(out, it))
    }
}

/// A name that was deleted, or would be.
#[derive(Debug, Serialize)]
pub(super) struct DeletedProducer {
    #[serde(flatten)]
    producer: ListedProducer,
    is_dry_run: bool,
}

impl DeletedProducer {
    pub(super) fn new(producer: &NamedProducer, is_dry_run: bool) -> Self {
        Self {
            producer: ListedProducer::of(producer),
            is_dry_run,
        }
    }
}

impl Report for DeletedProducer {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.is_dry_run {
            "would delete"
        } else {
            "deleted"
        };
        let ListedProducer {
            producer, epoch, ..
        } = &self.producer;
        writeln!(out, "{verb} producer {producer}, whose life was {epoch}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
