//! Moving a subscription.

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::PartitionLog;

use super::{Shared, show, status};
use crate::api::fetch::request;
use crate::api::group::bounds_of;
use crate::core::{SeekSubscription, SoughtSubscriptionPartition};
use crate::fetch::resolve;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::{SEEK_PARTITIONS_MAX, SubscriptionCommand};

/// Moves a subscription, or says what would happen.
pub(super) async fn seek(
    shared: &Shared,
    asked: &v1::SeekSubscriptionRequest,
) -> Result<v1::SeekSubscriptionResponse, Problem> {
    let (found, _) = show::find(shared, "name", &asked.name).await?;
    shared.refuse_when_draining()?;
    let topics = shared.published().topics();
    let topic = topics.with_id(found.topic);
    let topic = topic.ok_or_else(|| status::subscription_deleted(&found.name))?;
    let letters = found.dead_letter_topic.and_then(|id| topics.with_id(id));
    let start = asked.position.as_ref().and_then(request::start);
    let start = start.ok_or_else(|| status::subscription_start_unset(&found.name, topic))?;
    let chosen = request::partitions(topic, &asked.partitions, "partitions")?;
    let mut bounds = bounds_of(shared, topic);
    bounds.retain(|it| chosen.binary_search(&it.partition).is_ok());
    let offsets = resolve(&shared.reading, &bounds, start).await;
    let offsets = offsets.map_err(|error| status::position_refused(error, topic.name()))?;
    let numbers = bounds.iter().map(|it| it.partition);
    let positions: Vec<_> = numbers.zip(offsets).collect();
    let mut partitions = Vec::new();
    for positions in positions.chunks(SEEK_PARTITIONS_MAX) {
        let wish = SeekSubscription {
            name: found.name.clone(),
            positions: positions.to_vec(),
        };
        let sought = shared.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::Seek {
                wish,
                is_dry_run: asked.validate_only,
                answer,
            })
        });
        let sought = sought.await;
        let sought = sought
            .map_err(|error| status::command_failed(error, status::seek_subscription_refused))?;
        partitions.extend(sought.iter().filter_map(|it| {
            let log = topic.partition(it.partition)?.log();
            // A seek leaves them as they are.
            let known = found.partitions.get(it.partition as usize)?;
            Some(v1::SoughtSubscriptionPartition {
                dead_letters: letters.map_or(0, |letters| {
                    show::dead_letter_count(letters, it.partition, known)
                }),
                parked_keys: known.parked_count,
                ..describe(it, log)
            })
        }));
    }
    Ok(v1::SeekSubscriptionResponse { partitions })
}

fn describe(
    sought: &SoughtSubscriptionPartition,
    log: &PartitionLog,
) -> v1::SoughtSubscriptionPartition {
    v1::SoughtSubscriptionPartition {
        partition: sought.partition,
        from_offset: sought.from.get(),
        to_offset: sought.to.get(),
        lag_records: log.end().since(sought.to),
        in_flight_records: sought.in_flight_count,
        waiting_records: sought.waiting_count,
        ..v1::SoughtSubscriptionPartition::default()
    }
}
