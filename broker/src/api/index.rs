//! Looking up index rows for commands that are about to be decided.

use std::sync::Arc;

use bytes::Bytes;
use towpath_proto::problem::Problem;
use towpath_storage::{RowKey, StorageError};

use super::{Shared, status};
use crate::runtime::index_view::IndexSnapshot;

/// Rows that one job of the read pool looks up, so that others have their turn.
const ROWS_PER_JOB: usize = 512;

/// The values of rows on disk, in the order of their keys; none for those that are not there. What memory
/// answers is not read, the rest is through the read pool.
///
/// # Errors
/// One of them cannot be read, or the broker stops.
pub(super) async fn look_up(
    shared: &Shared,
    snapshot: &IndexSnapshot,
    keys: Vec<RowKey>,
) -> Result<Vec<Option<Bytes>>, Problem> {
    let mut values = Vec::with_capacity(keys.len());
    let mut on_disk = Vec::new();
    for (place, key) in keys.into_iter().enumerate() {
        let cached = snapshot.runs.get_cached(&key);
        values.push(cached.as_ref().and_then(|found| found.value().cloned()));
        if cached.is_none() {
            on_disk.push((place, key));
        }
    }
    for rows in on_disk.chunks(ROWS_PER_JOB) {
        let keys: Vec<_> = rows.iter().map(|(_, key)| key.clone()).collect();
        let runs = Arc::clone(&snapshot.runs);
        let job = move || -> Result<Vec<Option<Bytes>>, StorageError> {
            let found = keys.iter().map(|key| Ok(runs.get(key)?.value().cloned()));
            found.collect()
        };
        let found = shared.reading.pool().run(job).await;
        let found = found.ok_or_else(status::shutting_down)?;
        let found = found.map_err(|error| status::index_unreadable(&error))?;
        for ((place, _), value) in rows.iter().zip(found) {
            if let Some(slot) = values.get_mut(*place) {
                *slot = value;
            }
        }
    }
    Ok(values)
}
