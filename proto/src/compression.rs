//! Batches that travel and lie compressed: one whole frame of a format that other languages have libraries
//! for.
//!
//! What comes from outside is decompressed within a bound that the caller sets, and only if every reader
//! will make the same of it: one frame, nothing before or behind it, no dictionary, no window that a reader
//! may refuse. No input makes anything here panic.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod lz4;
mod zstandard;

use std::fmt;

use bytes::Bytes;

use crate::v1;

/// How an encoded batch was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// An LZ4 frame.
    Lz4,
    /// A Zstandard frame.
    Zstd,
}

impl Codec {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Lz4, Self::Zstd];

    /// Its number on the wire and on disk, where 0 stands for plain.
    pub const fn number(self) -> u8 {
        match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    /// The codec with a number of the wire or the disk; none for 0 and for those that this version does not
    /// know.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| i32::from(codec.number()) == number)
    }

    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Codec> for v1::Codec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// Codecs that somebody can decompress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodecSet {
    /// A bit for each number.
    bits: u8,
}

impl CodecSet {
    /// The codecs with numbers as requests carry them; unknown ones mean nothing.
    pub fn from_numbers(numbers: &[i32]) -> Self {
        let known = numbers.iter().copied().filter_map(Codec::from_number);
        known.fold(Self::default(), |set, codec| Self {
            bits: set.bits | codec.bit(),
        })
    }

    /// Whether it has a codec.
    pub const fn has(self, codec: Codec) -> bool {
        self.bits & codec.bit() != 0
    }
}

impl Codec {
    const fn bit(self) -> u8 {
        match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }
}

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZ4: least work.
    Lz4,
    /// Zstandard: smaller, for more work.
    Zstd {
        /// From [`ZSTD_LEVEL_MIN`] to [`ZSTD_LEVEL_MAX`].
        level: i32,
    },
}

/// Usual level of Zstandard.
pub const ZSTD_LEVEL_DEFAULT: i32 = 3;
/// Lowest level of Zstandard, the fastest.
pub const ZSTD_LEVEL_MIN: i32 = 1;
/// Highest level of Zstandard: those above need windows that a reader may refuse.
pub const ZSTD_LEVEL_MAX: i32 = 19;

impl Compression {
    /// Which codec it makes.
    pub const fn codec(self) -> Codec {
        match self {
            Self::Lz4 => Codec::Lz4,
            Self::Zstd { .. } => Codec::Zstd,
        }
    }

    /// A codec with its usual level.
    pub const fn of(codec: Codec) -> Self {
        match codec {
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd {
                level: ZSTD_LEVEL_DEFAULT,
            },
        }
    }
}

/// Compresses an encoded batch to a frame that says how long the batch is. None where that makes it not
/// smaller: it is then better left as it is.
pub fn compress(batch: &[u8], compression: Compression) -> Option<Bytes> {
    let compressed = match compression {
        Compression::Lz4 => lz4::compress(batch),
        Compression::Zstd { level } => {
            zstandard::compress(batch, level.clamp(ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX))
        }
    };
    compressed
        .filter(|compressed| compressed.len() < batch.len())
        .map(Bytes::from)
}

/// Decompresses an encoded batch of at most `size_bytes_max`. Takes memory for no more than that and a few
/// blocks of the format.
///
/// # Errors
/// [`DecompressError`].
pub fn decompress(
    codec: Codec,
    compressed: &[u8],
    size_bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    let declared = declared_bytes(codec, compressed)?;
    let capacity = match declared {
        Some(size_bytes) => usize::try_from(size_bytes).unwrap_or(usize::MAX),
        None => size_bytes_max,
    };
    if capacity > size_bytes_max {
        return Err(DecompressError::TooLarge { size_bytes_max });
    }
    let mut batch = match codec {
        Codec::Lz4 => lz4::decompress(compressed, capacity),
        Codec::Zstd => zstandard::decompress(compressed, capacity),
    }
    .map_err(|fault| match fault {
        Fault::Malformed(cause) => DecompressError::Malformed { codec, cause },
        Fault::NoRoom if declared.is_none() => DecompressError::TooLarge { size_bytes_max },
        Fault::NoRoom => DecompressError::Malformed {
            codec,
            cause: LYING,
        },
    })?;
    if declared.is_some_and(|declared| declared != batch.len() as u64) {
        return Err(DecompressError::Malformed {
            codec,
            cause: LYING,
        });
    }
    batch.shrink_to_fit();
    Ok(batch.into())
}

/// How long the batch is, as its frame says; none if it does not. Nothing is decompressed, and it need not
/// be true.
///
/// # Errors
/// [`DecompressError::Malformed`].
pub fn declared_bytes(codec: Codec, compressed: &[u8]) -> Result<Option<u64>, DecompressError> {
    match codec {
        Codec::Lz4 => lz4::check_frame(compressed),
        Codec::Zstd => zstandard::check_frame(compressed),
    }
    .map_err(|cause| DecompressError::Malformed { codec, cause })
}

/// Why bytes cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// They are not one whole frame that every reader can decompress.
    #[error("compressed batch is not one whole {codec} frame: {cause}")]
    Malformed {
        /// What it should be.
        codec: Codec,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// There is more in them than allowed.
    #[error("batch is too large when it is decompressed: size_bytes_max={size_bytes_max}")]
    TooLarge {
        /// Largest size allowed, bytes.
        size_bytes_max: usize,
    },
}

/// Why a codec does not decompress.
enum Fault {
    Malformed(&'static str),
    /// There is more than fits.
    NoRoom,
}

/// Where a frame begins that is none of its codec's.
const NO_MAGIC: &str = "it does not begin with the magic number";
const CUT_OFF: &str = "it is cut off";
const TRAILING: &str = "there are bytes behind it";
const DICTIONARY: &str = "it needs a dictionary";
const DAMAGED: &str = "it is damaged";
const LYING: &str = "it does not have the size that it says";

#[cfg(test)]
mod tests;
