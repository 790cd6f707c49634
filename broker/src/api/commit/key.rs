//! The key that names a commit, and what is on disk under it.

use std::hash::Hasher;

use bytes::Bytes;
use prost::Message;
use siphasher::sip128::{Hasher128, SipHasher13};
use towpath_proto::problem::Problem;
use towpath_proto::wire::Operation;

use super::Shared;
use super::index::look_up;
use crate::core::CommitKey;
use crate::runtime::index_view::IndexSnapshot;

/// Longest key.
const KEY_BYTES_MAX: usize = 128;

/// Reads the key of a commit, if it has one, and looks it up.
///
/// # Errors
/// It is too long, or the disk fails.
pub(super) async fn read(
    shared: &Shared,
    key: &Bytes,
    operations: &[Operation],
) -> Result<Option<(CommitKey, IndexSnapshot)>, Problem> {
    if key.is_empty() {
        return Ok(None);
    }
    if key.len() > KEY_BYTES_MAX {
        let message = format!("a key has at most {KEY_BYTES_MAX} bytes, not {}", key.len());
        return Err(Problem::invalid_field("idempotency_key", message));
    }
    let broker_id = *shared.identity.broker_id.as_bytes();
    let hash = {
        let mut hasher = SipHasher13::new_with_key(&broker_id);
        hasher.write(key);
        hasher.finish128().as_bytes()
    };
    let snapshot = shared.index.snapshot();
    let mut found = look_up(shared, &snapshot, vec![CommitKey::row_key(&hash)]).await?;
    let key = CommitKey {
        hash,
        fingerprint: fingerprint(operations),
        on_disk: found.pop().flatten(),
        told: Bytes::new(),
    };
    Ok(Some((key, snapshot)))
}

/// A hash of the operations as they would be encoded.
fn fingerprint(operations: &[Operation]) -> [u8; 16] {
    let mut hasher = SipHasher13::new();
    let mut bytes = Vec::new();
    for operation in operations {
        bytes.clear();
        operation.encode_raw(&mut bytes);
        hasher.write_u64(bytes.len() as u64);
        hasher.write(&bytes);
    }
    hasher.finish128().as_bytes()
}
