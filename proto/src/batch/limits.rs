//! What a walk lets pass.

use super::Fault;
use crate::limits;

/// Limits that a walk enforces. Sizes are in bytes.
#[expect(
    clippy::struct_field_names,
    reason = "the names of crate::limits, qualifiers last"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Largest encoded batch.
    pub batch_bytes_max: usize,
    /// Most records in a batch.
    pub records_max: u32,
    /// Largest encoded record.
    pub record_bytes_max: usize,
    /// Largest key.
    pub key_bytes_max: usize,
    /// Most headers of one record.
    pub headers_max: u32,
    /// Longest header name.
    pub header_name_bytes_max: usize,
    /// Longest header value.
    pub header_value_bytes_max: usize,
}

impl BatchLimits {
    /// Lets everything pass that is well formed: for readers of what a broker has accepted.
    pub const NONE: Self = Self {
        batch_bytes_max: usize::MAX,
        records_max: u32::MAX,
        record_bytes_max: usize::MAX,
        key_bytes_max: usize::MAX,
        headers_max: u32::MAX,
        header_name_bytes_max: usize::MAX,
        header_value_bytes_max: usize::MAX,
    };

    pub(super) const fn check_batch(&self, size_bytes: usize) -> Result<(), Fault> {
        let size_bytes_max = self.batch_bytes_max;
        if size_bytes > size_bytes_max {
            return Err(Fault::BatchTooLarge {
                size_bytes,
                size_bytes_max,
            });
        }
        Ok(())
    }

    pub(super) const fn check_record(&self, size_bytes: usize) -> Result<(), Fault> {
        let size_bytes_max = self.record_bytes_max;
        if size_bytes > size_bytes_max {
            return Err(Fault::RecordTooLarge {
                size_bytes,
                size_bytes_max,
            });
        }
        Ok(())
    }

    pub(super) const fn check_key(&self, size_bytes: usize) -> Result<(), Fault> {
        let size_bytes_max = self.key_bytes_max;
        if size_bytes > size_bytes_max {
            return Err(Fault::KeyTooLarge {
                size_bytes,
                size_bytes_max,
            });
        }
        Ok(())
    }

    /// Checks the header that has `index` headers of its record before it.
    pub(super) const fn check_header(
        &self,
        index: u32,
        name: &str,
        value: &[u8],
    ) -> Result<(), Fault> {
        if index >= self.headers_max {
            return Err(Fault::TooManyHeaders {
                headers_max: self.headers_max,
            });
        }
        if name.is_empty() {
            return Err(Fault::HeaderNameEmpty);
        }
        if name.len() > self.header_name_bytes_max {
            return Err(Fault::HeaderNameTooLong {
                size_bytes: name.len(),
                size_bytes_max: self.header_name_bytes_max,
            });
        }
        if value.len() > self.header_value_bytes_max {
            return Err(Fault::HeaderValueTooLarge {
                size_bytes: value.len(),
                size_bytes_max: self.header_value_bytes_max,
            });
        }
        Ok(())
    }
}

/// The broker's defaults, from [`crate::limits`].
impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            records_max: limits::RECORDS_PER_BATCH_MAX,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            key_bytes_max: limits::KEY_BYTES_MAX,
            headers_max: limits::HEADERS_PER_RECORD_MAX,
            header_name_bytes_max: limits::HEADER_NAME_BYTES_MAX,
            header_value_bytes_max: limits::HEADER_VALUE_BYTES_MAX,
        }
    }
}
