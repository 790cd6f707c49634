//! The two fields in which the records of a batch may travel.

use bytes::Bytes;

use crate::compression::Codec;

/// The records of a batch as they travel: an encoded `RecordBatch`, compressed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedBatch<'a> {
    /// How the bytes were compressed; none if they are plain.
    pub codec: Option<Codec>,
    /// The bytes; empty and plain if the message has no batch.
    pub bytes: &'a Bytes,
}

/// Why it is not certain what the records of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingFault {
    /// A field that may occur once occurs again.
    #[error("field occurs twice: field=batch")]
    Repeated,
    /// The batch is there plain and compressed.
    #[error("a batch is plain or compressed, not both: batch and compressed_batch are set")]
    Both,
    /// The codec goes with another field.
    #[error("codec is set, and compressed_batch is not")]
    WithoutBytes,
    /// The codec of a compressed batch is not said.
    #[error("compressed_batch is set, and codec is not")]
    WithoutCodec,
    /// This version does not know the codec.
    #[error("codec is not known: codec={number}")]
    UnknownCodec {
        /// What was sent.
        number: i32,
    },
}

impl<'a> EncodedBatch<'a> {
    /// `bytes` are fields 15 and 16.
    pub(super) fn new(
        bytes: (&'a Bytes, &'a Bytes),
        codec: i32,
        is_repeated: bool,
    ) -> Result<Self, EncodingFault> {
        let (plain, compressed) = bytes;
        if is_repeated {
            return Err(EncodingFault::Repeated);
        }
        if compressed.is_empty() {
            return match codec {
                0 => Ok(Self {
                    codec: None,
                    bytes: plain,
                }),
                _ => Err(EncodingFault::WithoutBytes),
            };
        }
        if !plain.is_empty() {
            return Err(EncodingFault::Both);
        }
        match Codec::from_number(codec) {
            Some(codec) => Ok(Self {
                codec: Some(codec),
                bytes: compressed,
            }),
            None if codec == 0 => Err(EncodingFault::WithoutCodec),
            None => Err(EncodingFault::UnknownCodec { number: codec }),
        }
    }
}

impl EncodingFault {
    /// Name of the field that is wrong.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Repeated | Self::Both => "batch",
            Self::WithoutBytes => "compressed_batch",
            Self::WithoutCodec | Self::UnknownCodec { .. } => "codec",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_plain_or_compressed_with_a_codec_that_is_known() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let none = Bytes::new();
        let (plain, small) = (bytes("plain"), bytes("small"));
        let read = |batch, compressed, codec| EncodedBatch::new((batch, compressed), codec, false);
        let told = |codec, bytes| Ok(EncodedBatch { codec, bytes });
        assert_eq!(read(&plain, &none, 0), told(None, &plain));
        assert_eq!(read(&none, &small, 1), told(Some(Codec::Lz4), &small));
        assert_eq!(read(&none, &small, 2), told(Some(Codec::Zstd), &small));
        assert_eq!(read(&none, &none, 0), told(None, &none), "no batch");
        let wrong = [
            (&plain, &small, 1, EncodingFault::Both),
            (&plain, &none, 1, EncodingFault::WithoutBytes),
            (&none, &none, 2, EncodingFault::WithoutBytes),
            (&none, &small, 0, EncodingFault::WithoutCodec),
            (&none, &small, 3, EncodingFault::UnknownCodec { number: 3 }),
            (
                &none,
                &small,
                -1,
                EncodingFault::UnknownCodec { number: -1 },
            ),
        ];
        for (batch, compressed, codec, fault) in wrong {
            assert_eq!(read(batch, compressed, codec), Err(fault), "{fault}");
        }
        let repeated = EncodedBatch::new((&plain, &none), 0, true);
        assert_eq!(repeated, Err(EncodingFault::Repeated));
    }
}
