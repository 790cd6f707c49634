//! One name and value beside the value of a record.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use towpath_proto::v1;

/// A name and value beside the value of a record.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: Cow<'static, str>,
    value: Bytes,
}

impl Header {
    /// Makes a header. An empty name is refused when the record is sent.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub const fn value(&self) -> &Bytes {
        &self.value
    }

    pub(super) fn as_pair(&self) -> (&str, &[u8]) {
        (&self.name, &self.value)
    }

    pub(super) fn to_proto(&self) -> v1::Header {
        v1::Header {
            name: self.name.clone().into_owned(),
            value: self.value.clone(),
        }
    }
}

/// Shows the size of the value only: values belong in no log.
impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("name", &self.name)
            .field("value_bytes", &self.value.len())
            .finish()
    }
}
