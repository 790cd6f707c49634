//! Records, one after the other, as fast as they come.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use towpath_client::{DeliveredRecord, ReceivedRecord};

use super::json::record_line;

mod aligned;

use aligned::Columns;

/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 64 * 1024;

/// How records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Everything about them, as JSON.
    Json,
    /// Their values byte for byte, each with a line feed.
    Values,
    /// For a terminal: time, address, key, type, value, with nothing a terminal would act on.
    Aligned,
}

/// Prints records. Nothing is sure to be written before [`RecordPrinter::flush`].
#[derive(Debug)]
pub(crate) struct RecordPrinter<W> {
    out: W,
    form: Form,
    buffer: Vec<u8>,
    columns: Columns,
    /// Records of one batch share their time: it is printed once.
    time: SystemTime,
    time_text: String,
}

/// What is printed of a record.
#[derive(Debug)]
pub(super) struct View<'a, H> {
    pub(super) topic: &'a str,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) lsn: u64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: H,
    pub(super) append_time: SystemTime,
    pub(super) event_time: Option<Timestamp>,
    /// Number of the attempt to handle it; none unless a subscription has delivered it.
    pub(super) attempt: Option<u32>,
    /// Which of its key's records it is; none unless its key was read.
    pub(super) key_version: Option<u64>,
}

impl<W: Write> RecordPrinter<W> {
    pub(super) fn new(out: W, form: Form) -> Self {
        Self {
            out,
            form,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            columns: Columns::default(),
            time: SystemTime::UNIX_EPOCH,
            time_text: time_text(SystemTime::UNIX_EPOCH),
        }
    }

    /// Prints one record.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn record(&mut self, record: &ReceivedRecord) -> io::Result<()> {
        self.show(record, None)
    }

    /// Prints one record that a subscription has delivered.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn delivered(&mut self, record: &DeliveredRecord) -> io::Result<()> {
        self.show(record, Some(record.attempt()))
    }

    /// Prints one record of a key, with its version; 0 where a topic does not count them.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn of_key(&mut self, record: &ReceivedRecord, version: u64) -> io::Result<()> {
        self.print(View {
            key_version: Some(version).filter(|it| *it > 0),
            ..view_of(record)
        })
    }

    fn show(&mut self, record: &ReceivedRecord, attempt: Option<u32>) -> io::Result<()> {
        self.print(View {
            attempt,
            ..view_of(record)
        })
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    ///
    /// What is written to does not take it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }

    fn print<'a>(
        &mut self,
        record: View<'a, impl Iterator<Item = (&'a str, &'a [u8])>>,
    ) -> io::Result<()> {
        if self.form != Form::Values && record.append_time != self.time {
            self.time = record.append_time;
            self.time_text = time_text(record.append_time);
        }
        match self.form {
            Form::Json => record_line(&mut self.buffer, record, &self.time_text)?,
            Form::Values => {
                self.buffer
                    .extend_from_slice(record.value.unwrap_or_default());
                self.buffer.push(b'\n');
            }
            Form::Aligned => self.columns.line(&mut self.buffer, record, &self.time_text),
        }
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush()
    }
}

fn view_of(record: &ReceivedRecord) -> View<'_, impl Iterator<Item = (&str, &[u8])>> {
    View {
        topic: record.topic().as_str(),
        partition: record.partition().get(),
        offset: record.offset().get(),
        lsn: record.lsn().get(),
        key: record.key(),
        value: record.value(),
        headers: record.headers(),
        append_time: record.append_time(),
        event_time: record
            .event_time()
            .and_then(|time| Timestamp::try_from(time).ok()),
        attempt: None,
        key_version: None,
    }
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests;
