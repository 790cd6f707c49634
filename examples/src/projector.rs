//! From the events to the read model, by a consumer group.

use std::time::Duration;

use towpath_client::{Admin, ErrorReason, GroupConsumer};

use crate::{Balances, Error};

/// How often it is looked how far a group is.
const LOOK: Duration = Duration::from_millis(250);

/// Applies what comes until the consumer is shut down; returns how many events were applied. Needs a
/// runtime with several threads, since SQLite blocks the one that it works on.
///
/// # Errors
///
/// What the broker or SQLite says. What was applied stays applied, and is not applied again later.
pub async fn project(mut consumer: GroupConsumer, balances: &mut Balances) -> Result<u64, Error> {
    let mut applied = 0;
    while let Some(batch) = consumer.next_batch().await? {
        applied += tokio::task::block_in_place(|| balances.apply(&batch))?;
        // Only now: what is committed is never handed out again. Nobody waits for the answer: should the
        // commit fail, the batch comes again and is passed over.
        drop(consumer.commit(&batch));
    }
    consumer.close().await;
    Ok(applied)
}

/// How far a group is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Records that it has not committed.
    pub records: u64,
    /// How long ago the oldest of them was written.
    pub time: Duration,
}

/// Asks the broker how far a group is behind; none if there is no such group.
///
/// # Errors
///
/// What the broker says.
pub async fn lag(admin: &Admin, group: &str) -> Result<Option<Lag>, Error> {
    let group = match admin.group(group).await {
        Ok(group) => group,
        Err(error) if error.reason() == Some(ErrorReason::GroupNotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let partitions = group.partitions.iter();
    Ok(Some(Lag {
        records: partitions.clone().map(|it| it.lag_records).sum(),
        time: partitions.map(|it| it.lag).max().unwrap_or_default(),
    }))
}

/// Waits until a group has committed everything that there is, and tells on the way.
///
/// # Errors
///
/// What the broker says.
pub async fn caught_up(admin: &Admin, group: &str, mut tell: impl FnMut(Lag)) -> Result<(), Error> {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let Some(lag) = lag(admin, group).await? else {
            continue;
        };
        tell(lag);
        if lag.records == 0 {
            return Ok(());
        }
    }
}
