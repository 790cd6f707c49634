//! How a producer compresses its batches.

use std::fmt;
use std::str::FromStr;

use towpath_proto::compression::{self, ZSTD_LEVEL_DEFAULT, ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN};

/// How a producer compresses the batches that it sends. They are stored like this; who reads them gets
/// the same records.
///
/// A batch that does not get smaller is sent as it is. What compresses is the batch, not the record: small
/// batches compress less, and [`linger`](crate::ProducerBuilder::linger) makes larger ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: least work.
    Lz4,
    /// Zstandard: smaller, for more work.
    Zstd {
        /// From 1, the fastest, to 19, the smallest; what is outside counts as the nearer end. A batch is
        /// compressed on the task of the connection, which a high level holds up.
        level: i32,
    },
}

impl Compression {
    /// Zstandard with its usual level, 3.
    pub const ZSTD: Self = Self::Zstd {
        level: ZSTD_LEVEL_DEFAULT,
    };

    pub(super) const fn to_proto(self) -> Option<compression::Compression> {
        match self {
            Self::None => None,
            Self::Lz4 => Some(compression::Compression::Lz4),
            Self::Zstd { level } => Some(compression::Compression::Zstd { level }),
        }
    }
}

/// As it is parsed.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
        }
    }
}

/// A text is no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected none, lz4, zstd or zstd:<level from {ZSTD_LEVEL_MIN} to {ZSTD_LEVEL_MAX}>")]
pub struct ParseCompressionError;

/// Reads `none`, `lz4`, `zstd` and `zstd:<level>`.
impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::ZSTD),
            _ => {
                let level = text.strip_prefix("zstd:").and_then(|it| it.parse().ok());
                let level = level.filter(|it| (ZSTD_LEVEL_MIN..=ZSTD_LEVEL_MAX).contains(it));
                let level = level.ok_or(ParseCompressionError)?;
                Ok(Self::Zstd { level })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for (text, expected) in [
            ("none", Compression::None),
            ("lz4", Compression::Lz4),
            ("zstd", Compression::Zstd { level: 3 }),
            ("zstd:1", Compression::Zstd { level: 1 }),
            ("zstd:19", Compression::Zstd { level: 19 }),
        ] {
            let read: Compression = text.parse().expect("known");
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.to_string().parse(), Ok(expected), "there and back");
        }
        for text in [
            "", "gzip", "LZ4", "zstd:", "zstd:0", "zstd:20", "zstd:3.5", "lz4:1",
        ] {
            assert_eq!(
                text.parse::<Compression>(),
                Err(ParseCompressionError),
                "{text}"
            );
        }
    }
}
