//! Looking at a subscription until it has come so far.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use towpath_client::Admin;

use crate::{Error, Result};

/// Longest time that anything may take; reached only when something hangs.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);
/// How often something is looked at that is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Records of a subscription that are not settled.
pub(super) async fn lag(admin: &Admin, name: &str) -> Result<u64> {
    let subscription = admin.subscription(name).await?;
    Ok({ subscription.partitions.iter() }
        .map(|it| it.lag_records)
        .sum())
}

/// Waits until something is so.
///
/// # Errors
/// [`Error::Void`] if that takes too long.
pub(super) async fn until(is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let looking = async {
        while !is_so().await? {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    };
    timeout(PATIENCE, looking)
        .await
        .map_err(|_elapsed| hangs())?
}

/// Something has taken too long.
pub(super) fn hangs() -> Error {
    Error::Void("the subscription does not come so far in time".to_owned())
}
