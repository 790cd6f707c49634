//! What can be wrong with a batch.

use std::fmt;

/// A fault and where in the batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchError {
    /// Number of the record within the batch, from 0; absent when the fault is not in a record.
    pub record: Option<u32>,
    /// Number of the header within the record, from 0; absent when the fault is not in a header.
    pub header: Option<u32>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a batch, a record or a header. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The batch has no record.
    #[error("batch has no record")]
    Empty,
    /// The encoded batch is larger than allowed.
    #[error("batch is too large: size_bytes={size_bytes} size_bytes_max={size_bytes_max}")]
    BatchTooLarge {
        /// Size of the batch.
        size_bytes: usize,
        /// Largest size allowed.
        size_bytes_max: usize,
    },
    /// The batch has more records than allowed.
    #[error("batch has more records than allowed: records_max={records_max}")]
    TooManyRecords {
        /// Most records allowed.
        records_max: u32,
    },
    /// An encoded record is larger than allowed.
    #[error(
        "record is too large, with key, headers and encoding: size_bytes={size_bytes} \
         size_bytes_max={size_bytes_max}"
    )]
    RecordTooLarge {
        /// Size of the record.
        size_bytes: usize,
        /// Largest size allowed.
        size_bytes_max: usize,
    },
    /// A key is larger than allowed.
    #[error("key is too large: size_bytes={size_bytes} size_bytes_max={size_bytes_max}")]
    KeyTooLarge {
        /// Size of the key.
        size_bytes: usize,
        /// Largest size allowed.
        size_bytes_max: usize,
    },
    /// A record has more headers than allowed.
    #[error("record has more headers than allowed: headers_max={headers_max}")]
    TooManyHeaders {
        /// Most headers allowed.
        headers_max: u32,
    },
    /// A header has no name.
    #[error("header has no name")]
    HeaderNameEmpty,
    /// A header name is longer than allowed.
    #[error("header name is too long: size_bytes={size_bytes} size_bytes_max={size_bytes_max}")]
    HeaderNameTooLong {
        /// Size of the name.
        size_bytes: usize,
        /// Largest size allowed.
        size_bytes_max: usize,
    },
    /// A header name is not UTF-8.
    #[error("header name is not UTF-8")]
    HeaderNameNotUtf8,
    /// A header value is larger than allowed.
    #[error("header value is too large: size_bytes={size_bytes} size_bytes_max={size_bytes_max}")]
    HeaderValueTooLarge {
        /// Size of the value.
        size_bytes: usize,
        /// Largest size allowed.
        size_bytes_max: usize,
    },
    /// The bytes end inside a field.
    #[error("bytes end inside a field")]
    Truncated,
    /// A number has more bytes than its type allows.
    #[error("number is encoded in too many bytes")]
    NumberTooLong,
    /// A field that the message does not have, or one of another wire type.
    #[error("field is not known: tag={tag}")]
    UnknownField {
        /// First byte of the field.
        tag: u8,
    },
    /// A field that may occur once occurs again.
    #[error("field occurs twice: field={field}")]
    RepeatedField {
        /// Name of the field.
        field: &'static str,
    },
}

impl BatchError {
    pub(super) const fn of_batch(fault: Fault) -> Self {
        Self {
            record: None,
            header: None,
            fault,
        }
    }

    /// Returns the path of what is wrong within the message that carries the batch, such as
    /// `batch.records[3].headers[0]`.
    pub fn field_path(&self) -> String {
        match (self.record, self.header) {
            (Some(record), Some(header)) => format!("batch.records[{record}].headers[{header}]"),
            (Some(record), None) => format!("batch.records[{record}]"),
            (None, _) => "batch".to_owned(),
        }
    }
}

impl std::error::Error for BatchError {}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        if let Some(record) = self.record {
            write!(f, " record={record}")?;
        }
        if let Some(header) = self.header {
            write!(f, " header={header}")?;
        }
        Ok(())
    }
}
