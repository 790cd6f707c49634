//! The hashes under which keys and events are remembered.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// Hashes what names something: each part with its length, so that no two lists of parts are the same bytes.
pub fn record_hash(hash_key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = SipHasher13::new_with_key(hash_key);
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish128().as_bytes()
}
