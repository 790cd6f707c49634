//! The values of items by name, for text and for JSON alike.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use super::{Ending, Item};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::{DirectoryLine, EntryHeader, EntryKind, FrameForm};
use crate::format::frame::FrameHeader;
use crate::format::journal_header::JournalHeader;
use crate::format::row::Row;
use crate::format::run_file::RunFooter;
use crate::ids::SegmentRef;
use crate::journal::JournalPosition;

/// A named value of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A count, length, position, offset or number.
    Number(u64),
    /// A time in milliseconds since the Unix epoch.
    TimeMs(i64),
    /// Words, or a number that is only compared.
    Text(Cow<'a, str>),
    /// Bytes that storage does not understand.
    Bytes(&'a [u8]),
    /// Whether something is so.
    Flag(bool),
}

impl Item {
    /// Its values by name, in the order of its line; what does not apply is left out.
    pub fn fields(&self) -> Vec<(&'static str, Value<'_>)> {
        let mut fields = Fields::default();
        self.add_file(&mut fields);
        self.add_content(&mut fields);
        fields.0
    }

    /// The values of items that are about a file.
    fn add_file<'a>(&'a self, fields: &mut Fields<'a>) {
        match self {
            Self::Folder {
                path,
                broker_id,
                user_pid,
                trouble,
            } => {
                fields.path(path);
                fields.text_of("broker_id", broker_id.as_ref());
                fields.number_of("user_pid", user_pid.map(u64::from));
                fields.text_of("trouble", trouble.as_ref());
            }
            Self::Unknown { path } => fields.path(path),
            Self::Quarantined { path, bytes } => {
                fields.path(path);
                fields.number_of("bytes", *bytes);
            }
            Self::Checkpoint {
                path,
                footer,
                damage,
            } => {
                fields.path(path);
                footer.iter().for_each(|footer| fields.footer(footer));
                fields.text_of("damage", damage.as_ref());
            }
            Self::Run { .. } => self.add_run(fields),
            Self::JournalFile {
                path,
                bytes,
                header,
                role,
            } => {
                fields.path(path);
                fields.number("bytes", *bytes);
                fields.journal_header(header.as_ref());
                fields.text("role", *role);
            }
            Self::Segment {
                path,
                segment,
                bytes,
                header,
            } => {
                fields.path(path);
                fields.segment(segment);
                fields.number("bytes", *bytes);
                if header.is_none() {
                    fields.text("damage", "the header is damaged");
                }
            }
            Self::Trouble {
                path,
                position,
                what,
            } => {
                fields.path(path);
                fields.number("position", *position);
                fields.text("what", what.as_str());
            }
            _ => {}
        }
    }

    fn add_run<'a>(&'a self, fields: &mut Fields<'a>) {
        if let Self::Run {
            path,
            footer,
            rank,
            damage,
        } = self
        {
            fields.path(path);
            fields.run(footer.as_ref(), *rank);
            fields.text_of("damage", damage.as_ref());
        }
    }

    /// The values of items that are about what a file holds.
    fn add_content<'a>(&'a self, fields: &mut Fields<'a>) {
        match self {
            Self::Table {
                table,
                row_count,
                bytes,
            } => {
                fields.number("table", u64::from(*table));
                fields.number("row_count", *row_count);
                fields.number("bytes", *bytes);
            }
            Self::RunTable(summary) => {
                fields.number("table", u64::from(summary.table));
                fields.number("row_count", summary.row_count);
                let filter_key_bytes = summary.filter_key_bytes;
                if filter_key_bytes < u32::MAX {
                    fields.number("filter_key_bytes", u64::from(filter_key_bytes));
                }
            }
            Self::Row(row) => fields.row(row),
            Self::Entry { at, header, damage } => {
                fields.place(at);
                fields.entry(header);
                fields.text_of("damage", damage.as_ref());
            }
            Self::Append { line, damage } => {
                fields.line(line);
                fields.text_of("damage", damage.as_ref());
            }
            Self::StaleEntry { at, lsn } => {
                fields.place(at);
                fields.number("claimed_lsn", lsn.get());
            }
            Self::JournalEnd { lsn, ending } => {
                fields.number("lsn", lsn.get());
                fields.ending(ending);
            }
            Self::Frame {
                position,
                header,
                damage,
            } => {
                fields.number("position", *position);
                fields.frame(header);
                fields.number("lsn", header.lsn.get());
                fields.time("time_ms", header.append_time_ms);
                fields.text_of("damage", damage.as_ref());
            }
            Self::IndexEntry(entry) => {
                fields.number("base_offset", entry.base_offset.get());
                fields.number("position", entry.position);
                fields.time("time_ms", entry.append_time_ms);
            }
            _ => {}
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.fields()
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::TimeMs(time_ms) => time_ms.fmt(f),
            Self::Text(text) if text.contains([' ', '"']) || text.is_empty() => {
                write!(f, "{text:?}")
            }
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// Collects the values of one item.
#[derive(Default)]
struct Fields<'a>(Vec<(&'static str, Value<'a>)>);

impl<'a> Fields<'a> {
    fn number(&mut self, name: &'static str, number: u64) {
        self.0.push((name, Value::Number(number)));
    }

    fn number_of(&mut self, name: &'static str, number: Option<u64>) {
        self.0.extend(number.map(|it| (name, Value::Number(it))));
    }

    fn time(&mut self, name: &'static str, time_ms: i64) {
        self.0.push((name, Value::TimeMs(time_ms)));
    }

    fn text(&mut self, name: &'static str, text: impl Into<Cow<'a, str>>) {
        self.0.push((name, Value::Text(text.into())));
    }

    fn text_of(&mut self, name: &'static str, text: Option<&impl ToString>) {
        if let Some(text) = text {
            self.text(name, text.to_string());
        }
    }

    fn path(&mut self, path: &'a Path) {
        self.text("path", path.to_string_lossy());
    }

    /// Bits that are only compared: as text, since they do not fit into the numbers of JSON.
    fn bits(&mut self, name: &'static str, bits: u64) {
        self.text(name, format!("{bits:016x}"));
    }

    fn crc(&mut self, name: &'static str, crc: u32) {
        self.text(name, format!("{crc:08x}"));
    }

    fn place(&mut self, at: &JournalPosition) {
        self.number("file", at.file);
        self.number("position", at.position);
    }

    fn footer(&mut self, footer: &CheckpointFooter) {
        self.number("lsn", footer.lsn.get());
        self.number("incarnation", footer.incarnation);
        self.number("row_count", footer.row_count);
        self.number("journal_file", footer.journal_file);
        self.number("journal_position", footer.journal_position);
        self.time("time_ms", footer.time_ms);
        self.text("broker_id", footer.broker_id.to_string());
    }

    fn run(&mut self, footer: Option<&RunFooter>, rank: Option<u64>) {
        footer.iter().for_each(|footer| self.run_footer(footer));
        self.number_of("rank", rank);
        self.text("role", rank.map_or("unnamed", |_| "named"));
    }

    fn run_footer(&mut self, footer: &RunFooter) {
        self.number("number", footer.identity.number);
        self.bits("salt", footer.identity.salt);
        self.number("after_lsn", footer.span.after.get());
        self.number("last_lsn", footer.span.last.get());
        self.number("row_count", footer.row_count);
        self.number("gone_count", footer.gone_count);
        self.number("partition_count", u64::from(footer.partition_count));
        self.number("contents_position", footer.contents.position);
        self.text("broker_id", footer.identity.broker_id.to_string());
    }

    fn row(&mut self, row: &'a Row) {
        self.number("table", u64::from(row.key.table));
        self.0.push(("key", Value::Bytes(&row.key.key)));
        match &row.value {
            Some(value) => self.0.push(("value", Value::Bytes(value))),
            None => self.0.push(("gone", Value::Flag(true))),
        }
    }

    fn journal_header(&mut self, header: Option<&JournalHeader>) {
        match header {
            Some(header) => {
                self.number("number", header.number);
                self.bits("salt", header.salt);
                self.bits("previous_salt", header.previous_salt);
                self.text("broker_id", header.broker_id.to_string());
                self.number("durable_lsn", header.durable.get());
            }
            None => self.text("damage", "there is no intact header"),
        }
    }

    fn entry(&mut self, header: &EntryHeader) {
        self.number("lsn", header.lsn.get());
        self.text(
            "kind",
            match header.kind {
                EntryKind::Decision => "decision",
                EntryKind::Mark => "mark",
            },
        );
        self.time("time_ms", header.time_ms);
        self.number("previous_durable", header.previous_durable.get());
        self.number("append_count", u64::from(header.append_count));
        self.number("inline_bytes", header.inline_bytes);
        self.number("change_bytes", u64::from(header.change_bytes));
        self.number("entry_bytes", header.entry_bytes());
    }

    fn segment(&mut self, segment: &SegmentRef) {
        self.number("topic", segment.partition.topic.get());
        self.number("partition", u64::from(segment.partition.partition));
        self.number("segment", segment.base.get());
        let generation = Some(segment.generation).filter(|it| *it > 0);
        self.number_of("generation", generation.map(u64::from));
    }

    fn frame(&mut self, header: &FrameHeader) {
        self.number("base_offset", header.base_offset.get());
        self.number("next_offset", header.next_offset().get());
        self.number("payload_bytes", u64::from(header.payload_bytes));
        self.crc("payload_crc", header.payload_crc);
        self.codec(header.codec);
        let left = header.sparse.map(|_| u64::from(header.record_count));
        self.number_of("records_left", left);
    }

    fn codec(&mut self, number: u8) {
        let name = match number {
            0 => Cow::Borrowed("none"),
            1 => Cow::Borrowed("lz4"),
            2 => Cow::Borrowed("zstd"),
            later => Cow::Owned(later.to_string()),
        };
        self.0.push(("codec", Value::Text(name)));
    }

    fn line(&mut self, line: &'a DirectoryLine) {
        self.segment(&line.place.segment);
        self.text(
            "form",
            match line.form {
                FrameForm::Inline => "inline",
                FrameForm::Reference => "reference",
            },
        );
        self.number("position", line.place.position);
        self.number("gap_bytes", u64::from(line.gap_bytes));
        self.frame(&line.frame);
        if let Some(producer) = &line.producer {
            self.0
                .push(("producer", Value::Bytes(producer.id.as_bytes())));
            self.number("epoch", u64::from(producer.epoch));
            self.number("sequence", producer.sequence);
        }
    }

    fn ending(&mut self, ending: &Ending) {
        match ending {
            Ending::Clean { at } => {
                self.text("ending", "clean");
                self.place(at);
            }
            Ending::Torn { at, bytes } => {
                self.text("ending", "torn");
                self.place(at);
                self.number("bytes", *bytes);
            }
            Ending::Damaged { at, what, evidence } => {
                self.text("ending", "damaged");
                self.place(at);
                self.text("damage", *what);
                self.number("evidence_file", evidence.file);
                self.number("evidence_position", evidence.position);
            }
            Ending::Missing { at } => {
                self.text("ending", "missing");
                self.place(at);
                self.text("damage", "the file is missing or is not that file");
            }
        }
    }
}
