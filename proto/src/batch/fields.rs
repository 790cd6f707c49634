//! The few pieces of the protobuf encoding that records use.

use super::Fault;

/// Bytes of the longest length: as much as every protobuf implementation reads.
const LENGTH_BYTES_MAX: usize = 5;
/// Bytes of the longest number.
const NUMBER_BYTES_MAX: usize = 10;

/// First bytes of the fields, which are also their whole tags.
pub(super) mod tag {
    /// `RecordBatch.records`.
    pub(in crate::batch) const RECORD: u8 = 0x0a;
    /// `Record.key`.
    pub(in crate::batch) const KEY: u8 = 0x0a;
    /// `Record.value`.
    pub(in crate::batch) const VALUE: u8 = 0x12;
    /// `Record.headers`.
    pub(in crate::batch) const HEADER: u8 = 0x1a;
    /// `Record.event_time_ms`.
    pub(in crate::batch) const EVENT_TIME: u8 = 0x20;
    /// `Header.name`.
    pub(in crate::batch) const HEADER_NAME: u8 = 0x0a;
    /// `Header.value`.
    pub(in crate::batch) const HEADER_VALUE: u8 = 0x12;
}

/// What is left to read of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the tag of the next field; none at the end of the message.
    pub(super) fn next_tag(&mut self) -> Option<u8> {
        let (&tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(tag)
    }

    /// Takes the content of a field that carries its length.
    pub(super) fn take_bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = match self.rest {
            &[byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                usize::from(byte)
            }
            _ => usize::try_from(self.take_varint(LENGTH_BYTES_MAX)?)
                .map_err(|_does_not_fit| Fault::Truncated)?,
        };
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Takes a signed number.
    pub(super) fn take_i64(&mut self) -> Result<i64, Fault> {
        self.take_varint(NUMBER_BYTES_MAX).map(u64::cast_signed)
    }

    fn take_varint(&mut self, bytes_max: usize) -> Result<u64, Fault> {
        let mut number = 0_u64;
        let mut shift = 0_u32;
        for (&byte, taken) in self.rest.iter().zip(1..=bytes_max) {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte of a number holds its one last bit.
            if shift == 63 && bits > 1 {
                return Err(Fault::NumberTooLong);
            }
            number |= bits << (shift & 63);
            shift = shift.saturating_add(7);
            if byte < 0x80 {
                self.rest = self.rest.get(taken..).unwrap_or_default();
                return Ok(number);
            }
        }
        if self.rest.len() < bytes_max {
            Err(Fault::Truncated)
        } else {
            Err(Fault::NumberTooLong)
        }
    }
}
