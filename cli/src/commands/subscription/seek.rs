//! `towpath subscription seek`.

use jiff::Timestamp;
use towpath_client::{
    Admin, Offset, PartitionId, SoughtSubscriptionPartition, Start, Subscription, SubscriptionSeek,
};

use super::Outcome;
use super::report::SeekReport;
use crate::args::{SeekSubscriptionArgs, SeekTo};
use crate::exit::Exit;
use crate::failure::Failure;

/// Moves a subscription, or tells what would happen.
pub(super) async fn run(args: &SeekSubscriptionArgs, admin: &Admin) -> Result<Outcome, Failure> {
    args.check()?;
    let sought = match args.to {
        SeekTo::Place(place) => {
            let seek = SubscriptionSeek::to(args.name.as_str(), place.to_start(Timestamp::now()));
            let seek = seek.partitions(args.partitions());
            send(seek, args, admin).await?
        }
        SeekTo::By(count) => by(count, args, admin).await?,
    };
    let report = SeekReport::new(args.name.as_str(), &sought, args.dry_run);
    Ok(Outcome::of(report))
}

/// Moves each partition from where it is. Each is a seek of its own: should one fail, those before it have
/// been moved, and `subscription get` shows where they are.
async fn by(
    count: i64,
    args: &SeekSubscriptionArgs,
    admin: &Admin,
) -> Result<Vec<SoughtSubscriptionPartition>, Failure> {
    let found = admin.subscription(args.name.as_str()).await?;
    let mut sought = Vec::new();
    for (partition, offset) in targets(&found, &args.partitions(), count)? {
        let seek = SubscriptionSeek::to(args.name.as_str(), Start::Offset(offset));
        sought.extend(send(seek.partitions([partition]), args, admin).await?);
    }
    Ok(sought)
}

/// Where the partitions are to go, of which none stands for all: no further than to what can be read.
fn targets(
    found: &Subscription,
    chosen: &[PartitionId],
    count: i64,
) -> Result<Vec<(PartitionId, Offset)>, Failure> {
    let is_there = |number: &PartitionId| found.partitions.iter().any(|it| it.partition == *number);
    if let Some(missing) = chosen.iter().find(|number| !is_there(number)) {
        let message = format!("topic {} has no partition {missing}", found.topic);
        return Err(Failure::new(Exit::NotFound, message));
    }
    let partitions = found.partitions.iter();
    let partitions = partitions.filter(|it| chosen.is_empty() || chosen.contains(&it.partition));
    let target = |floor: Offset, start: Offset, end: Offset| {
        let moved = floor.get().saturating_add_signed(count);
        Offset::new(moved.clamp(start.get(), end.get()))
    };
    Ok(partitions
        .map(|it| {
            (
                it.partition,
                target(it.floor_offset, it.log_start_offset, it.end_offset),
            )
        })
        .collect())
}

async fn send(
    seek: SubscriptionSeek,
    args: &SeekSubscriptionArgs,
    admin: &Admin,
) -> Result<Vec<SoughtSubscriptionPartition>, Failure> {
    let seek = match args.dry_run {
        true => seek.dry_run(),
        false => seek,
    };
    Ok(admin.seek_subscription(seek).await?)
}
