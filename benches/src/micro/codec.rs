//! Compressing and decompressing a batch.

use towpath_proto::compression::{Codec, Compression, compress, decompress};

use super::wire::{expect, void};
use super::{Shape, Subject, Work};
use crate::{Error, Result};

const LZ4: Compression = Compression::Lz4;
/// The level of the SDK.
const ZSTD: Compression = Compression::Zstd { level: 3 };

pub(super) const LZ4_COMPRESS: Subject = Subject {
    name: "compress lz4",
    prepare: |shape, _| Ok(compressing(shape, LZ4)),
};

pub(super) const LZ4_DECOMPRESS: Subject = Subject {
    name: "decompress lz4",
    prepare: |shape, _| decompressing(shape, LZ4),
};

pub(super) const ZSTD_COMPRESS: Subject = Subject {
    name: "compress zstd",
    prepare: |shape, _| Ok(compressing(shape, ZSTD)),
};

pub(super) const ZSTD_DECOMPRESS: Subject = Subject {
    name: "decompress zstd",
    prepare: |shape, _| decompressing(shape, ZSTD),
};

fn compressing(shape: &'static Shape, compression: Compression) -> Work {
    let batch = shape.batch();
    Box::new(move || {
        let compressed = compress(&batch, compression);
        expect(compressed.is_some(), "a batch did not become smaller")
    })
}

fn decompressing(shape: &'static Shape, compression: Compression) -> Result<Work> {
    let batch = shape.batch();
    let compressed = compress(&batch, compression)
        .ok_or_else(|| Error::Void("a batch did not become smaller".to_owned()))?;
    let codec: Codec = compression.codec();
    Ok(Box::new(move || {
        let plain = decompress(codec, &compressed, batch.len()).map_err(|fault| void(&fault))?;
        expect(plain.len() == batch.len(), "a batch is cut")
    }))
}
