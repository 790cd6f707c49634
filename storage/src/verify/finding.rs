//! What is found to be wrong, and what that costs.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{StorageError, with_causes};
use crate::ids::{OffsetRange, PartitionRef};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub path: PathBuf,
    /// Which bytes of it; none if all of it, or if it is not there. Where only the beginning is known, the
    /// range is empty.
    pub positions: Option<Range<u64>>,
    /// What was found.
    pub what: String,
    /// What it costs.
    pub effect: Effect,
}

/// What damage costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it is there twice, or is made again.
    Harmless {
        /// Why.
        why: &'static str,
    },
    /// Records cannot be read.
    Lost {
        /// Of which partition.
        partition: PartitionRef,
        /// Which.
        range: OffsetRange,
    },
    /// Rows of indexes cannot be read: what asks for them fails, and all else is served.
    IndexRows,
    /// The broker does not start.
    Refused,
}

impl Effect {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Harmless { .. } => "harmless",
            Self::Lost { .. } => "lost",
            Self::IndexRows => "index_rows",
            Self::Refused => "refused",
        }
    }
}

impl Finding {
    pub(super) fn new(path: &Path, what: impl Into<String>, effect: Effect) -> Self {
        Self {
            path: path.to_owned(),
            positions: None,
            what: what.into(),
            effect,
        }
    }

    pub(super) fn at(path: &Path, position: u64, what: impl Into<String>, effect: Effect) -> Self {
        Self {
            positions: Some(position..position),
            ..Self::new(path, what, effect)
        }
    }

    pub(super) fn of_error(error: &StorageError, effect: Effect) -> Self {
        match error {
            StorageError::Corrupt(found) => {
                Self::at(&found.path, found.position, found.what.clone(), effect)
            }
            StorageError::Io { path, .. } => {
                Self::new(path, with_causes(error).to_string(), effect)
            }
            StorageError::Poisoned => Self::new(Path::new(""), error.to_string(), effect),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.positions {
            None => {}
            Some(at) if at.is_empty() => write!(f, " at position {}", at.start)?,
            Some(at) => write!(f, " at positions {}..{}", at.start, at.end)?,
        }
        write!(f, ": {}", self.what)?;
        match &self.effect {
            Effect::Harmless { why } => write!(f, "; nothing is lost: {why}"),
            Effect::Lost { partition, range } => {
                write!(f, "; records {range} of partition {partition} are lost")
            }
            Effect::IndexRows => f.write_str("; what needs its rows fails"),
            Effect::Refused => f.write_str("; the broker does not start"),
        }
    }
}
