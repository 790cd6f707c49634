//! Records for a terminal: one line each, columns that grow with what they have seen.

use super::View;
use crate::output::printable::{printable, push_printable};

/// Columns do not grow beyond this, so that one long key does not push all values away.
const WIDTH_MAX: usize = 40;
/// What stands for a key or type that is absent.
const ABSENT: &str = "-";
/// Header that tells the type of an event.
const TYPE: &str = "ce-type";

/// Widths of the columns so far.
#[derive(Debug, Default)]
pub(super) struct Columns {
    address: usize,
    key: usize,
    event_type: usize,
    /// Where one line is put together.
    line: String,
}

impl Columns {
    /// Appends the line of a record.
    pub(super) fn line<'a>(
        &mut self,
        out: &mut Vec<u8>,
        mut record: View<'a, impl Iterator<Item = (&'a str, &'a [u8])>>,
        time: &str,
    ) {
        self.line.clear();
        self.line.push_str(time);
        self.line.push_str("  ");
        let address = format!("{}/{}@{}", record.topic, record.partition, record.offset);
        let address = match record.key_version {
            Some(version) => format!("{address} v{version}"),
            None => address,
        };
        push_column(&mut self.line, &mut self.address, &address);
        let key = record.key.map_or(ABSENT.to_owned(), printable);
        push_column(&mut self.line, &mut self.key, &key);
        let event_type = record.headers.find(|(name, _)| *name == TYPE);
        let event_type = event_type.map_or(ABSENT.to_owned(), |(_, value)| printable(value));
        push_column(&mut self.line, &mut self.event_type, &event_type);
        match record.value {
            Some(value) => push_printable(&mut self.line, value),
            None => self.line.push_str(ABSENT),
        }
        out.extend_from_slice(self.line.as_bytes());
        out.push(b'\n');
    }
}

fn push_column(line: &mut String, width: &mut usize, text: &str) {
    let len = text.chars().count();
    *width = len.clamp(*width, WIDTH_MAX.max(*width));
    line.push_str(text);
    line.extend(std::iter::repeat_n(' ', width.saturating_sub(len) + 2));
}
