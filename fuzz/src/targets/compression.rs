//! Compressed batches, within the bound that was set.

use towpath_proto::compression::{
    Codec, Compression, DecompressError, compress, declared_bytes, decompress,
};

use crate::given::Given;

/// Largest batch that may come out.
const SIZE_BYTES_MAX: usize = 1 << 20;

/// Codec and bound, then a frame: to be decompressed, and as a batch to be compressed.
pub fn compression(data: &[u8]) {
    let mut input = Given::new(data);
    let choice = input.u8();
    let codec = Codec::ALL[usize::from(choice & 1)];
    let size_bytes_max = input.u32() as usize % SIZE_BYTES_MAX;
    let bytes = input.rest();
    with_magic(codec, bytes, size_bytes_max);
    there_and_back(codec, bytes);
}

/// The bytes as a frame, and behind the number that begins one.
fn with_magic(codec: Codec, bytes: &[u8], size_bytes_max: usize) {
    let magic = match codec {
        Codec::Lz4 => 0x184D_2204_u32,
        Codec::Zstd => 0xFD2F_B528,
    };
    let whole = [&magic.to_le_bytes(), bytes].concat();
    for frame in [bytes, &whole] {
        let declared = declared_bytes(codec, frame);
        let batch = match decompress(codec, frame, size_bytes_max) {
            Ok(batch) => batch,
            Err(DecompressError::TooLarge {
                size_bytes_max: told,
            }) => {
                assert_eq!(told, size_bytes_max, "the bound");
                continue;
            }
            Err(DecompressError::Malformed { .. }) => continue,
        };
        assert!(batch.len() <= size_bytes_max, "bounded");
        let declared = declared.expect("whole");
        assert!(declared.is_none_or(|it| it == batch.len() as u64));
        // A larger bound changes nothing, a smaller one is kept to.
        let larger = decompress(codec, frame, size_bytes_max.saturating_mul(2));
        assert_eq!(larger.as_ref(), Ok(&batch), "a larger bound");
        if let Some(less) = batch.len().checked_sub(1) {
            let error = decompress(codec, frame, less).expect_err("too large");
            assert!(matches!(error, DecompressError::TooLarge { .. }), "{error}");
        }
        // Nothing behind it passes, and no part of it.
        let longer = [frame, &[0]].concat();
        assert!(
            decompress(codec, &longer, SIZE_BYTES_MAX).is_err(),
            "longer"
        );
        let cut = &frame[..frame.len() - 1];
        assert!(decompress(codec, cut, SIZE_BYTES_MAX).is_err(), "cut");
        there_and_back(codec, &batch);
    }
}

fn there_and_back(codec: Codec, batch: &[u8]) {
    let Some(compressed) = compress(batch, Compression::of(codec)) else {
        return;
    };
    assert!(compressed.len() < batch.len(), "smaller");
    let size = batch.len() as u64;
    assert_eq!(declared_bytes(codec, &compressed), Ok(Some(size)));
    let again = decompress(codec, &compressed, batch.len());
    assert_eq!(again.as_deref(), Ok(batch), "there and back");
}
