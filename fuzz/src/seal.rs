//! Checksums as the format document has them, written a second time: what a fuzzer changes is given the
//! checksum that belongs to it, or nothing behind one would ever be reached.

/// CRC-32 of the parts one after the other.
pub(crate) fn crc_of(parts: &[&[u8]]) -> u32 {
    crc32fast::hash(&parts.concat())
}

/// Writes `bytes` over what stands at `start`; false if that is beyond the end.
pub(crate) fn put(target: &mut [u8], start: usize, bytes: &[u8]) -> bool {
    let place = target.get_mut(start..start.saturating_add(bytes.len()));
    place.is_some_and(|place| {
        place.copy_from_slice(bytes);
        true
    })
}

/// A structure that begins with a magic number of 8 bytes, a version and the CRC of all but itself.
pub(crate) fn structure(bytes: &[u8], used: usize, magic: [u8; 8], version: u32) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    if put(&mut sealed, 0, &magic) && put(&mut sealed, 8, &version.to_le_bytes()) {
        let crc = match (sealed.get(..12), sealed.get(16..used)) {
            (Some(head), Some(rest)) => crc_of(&[head, rest]),
            _ => 0,
        };
        put(&mut sealed, 12, &crc.to_le_bytes());
    }
    sealed
}
