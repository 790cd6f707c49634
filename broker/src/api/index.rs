//! Looking up index rows for commands that are about to be decided.

use std::sync::Arc;

use bytes::Bytes;
use towpath_proto::problem::Problem;
use towpath_storage::RowKey;

use super::{Shared, status};
use crate::runtime::index_view::IndexSnapshot;

/// The values of rows on disk, in the order of their keys; none for those that are not there.
///
/// # Errors
/// One of them cannot be read, or the broker stops.
pub(super) async fn look_up(
    shared: &Shared,
    snapshot: &IndexSnapshot,
    keys: Vec<RowKey>,
) -> Result<Vec<Option<Bytes>>, Problem> {
    let cached = keys.iter().map(|key| snapshot.runs.get_cached(key));
    let found = match cached.collect::<Option<Vec<_>>>() {
        Some(found) => found,
        None => {
            let runs = Arc::clone(&snapshot.runs);
            let read = move || keys.iter().map(|key| runs.get(key)).collect();
            let found: Option<Result<Vec<_>, _>> = shared.reading.pool().run(read).await;
            let found = found.ok_or_else(status::shutting_down)?;
            found.map_err(|error| status::index_unreadable(&error))?
        }
    };
    Ok(found.iter().map(|found| found.value().cloned()).collect())
}
