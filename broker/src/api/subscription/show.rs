//! Showing subscriptions: who receives, and how far behind they are.

use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::{Shared, convert, status, subscription_name};
use crate::core::{
    HOLD_WARNING_PERCENT, Halt, Hold, PartitionDescription, SubscriptionDescription,
};
use crate::fetch::Lag;
use crate::runtime::command::{CommandError, ControlCommand};
use crate::runtime::published::TopicView;
use crate::runtime::subscription_command::SubscriptionCommand;

/// Shows one subscription.
pub(super) async fn get(
    shared: &Shared,
    request: &v1::GetSubscriptionRequest,
) -> Result<v1::GetSubscriptionResponse, Problem> {
    let (found, hold) = find(shared, "name", &request.name).await?;
    let lsn = shared.published().durable();
    let topics = shared.published().topics();
    let mut partitions = Vec::new();
    if let Some(topic) = topics.with_id(found.topic) {
        for (number, known) in (0..).zip(&found.partitions) {
            let hold = hold.partitions.get(number as usize).copied();
            let letters = found.dead_letter_topic.and_then(|id| topics.with_id(id));
            let dead_letters = letters.map_or(0, |it| dead_letter_count(it, number, known));
            let shown = partition(shared, topic, number, known).await;
            partitions.extend(shown.map(|shown| {
                let hold = hold.unwrap_or_default();
                v1::SubscriptionPartition {
                    dead_letters,
                    held_bytes: hold.bytes,
                    held_ms: hold.past_ms,
                    ..shown
                }
            }));
        }
    }
    let consumers = found.consumers.iter();
    let consumers = consumers.map(|(id, consumer, is_active)| v1::SubscriptionConsumer {
        consumer_id: id.as_bytes().to_vec().into(),
        client_name: consumer.client_name.clone(),
        connect_time_ms: consumer.connected_at_ms,
        is_connected: consumer.session.is_some(),
        in_flight_records: consumer.in_flight,
        is_active: *is_active,
    });
    Ok(v1::GetSubscriptionResponse {
        subscription: Some(v1::Subscription {
            consumers: consumers.collect(),
            partitions,
            held_bytes: hold.bytes(),
            held_percent: u32::try_from(hold.percent).unwrap_or(u32::MAX),
            hold_warning: warning(&hold),
            ..summary(shared, &found)
        }),
        lsn: lsn.get(),
    })
}

/// The subscription of a name as it is now.
pub(in crate::api) async fn find(
    shared: &Shared,
    field: &str,
    name: &str,
) -> Result<(SubscriptionDescription, Hold), Problem> {
    let name = subscription_name(field, name)?;
    let found = shared.control(|answer| {
        let name = name.clone();
        ControlCommand::Subscription(SubscriptionCommand::Get { name, answer })
    });
    match found.await {
        Err(CommandError::Refused(_)) => {
            let others = shared.control(|answer| {
                ControlCommand::Subscription(SubscriptionCommand::List {
                    after: None,
                    prefix: String::new(),
                    topic: None,
                    count_max: PAGE_SIZE_MAX as usize,
                    answer,
                })
            });
            let others = others.await.map(|page| page.subscriptions);
            Err(status::subscription_not_among(
                &name,
                &others.unwrap_or_default(),
            ))
        }
        found => {
            found.map_err(|error| status::command_failed(error, status::subscription_not_found))
        }
    }
}

/// A page begins behind the name that is the token of the page before it.
pub(super) async fn list(
    shared: &Shared,
    request: v1::ListSubscriptionsRequest,
) -> Result<v1::ListSubscriptionsResponse, Problem> {
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(
            subscription_name("page_token", token).map_err(|_not_a_name| {
                let message = "page token is not one that this broker gave";
                Problem::invalid_field("page_token", message)
            })?,
        ),
    };
    let topic = match request.topic.as_str() {
        "" => None,
        topic => Some(
            shared
                .topic(&crate::api::convert::topic_name("topic", topic)?)?
                .id(),
        ),
    };
    let count_max = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let page = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::List {
            after,
            prefix: request.name_prefix,
            topic,
            count_max: count_max as usize,
            answer,
        })
    });
    let page = page
        .await
        .map_err(|error| status::command_failed(error, |never| match never {}))?;
    let last = page.subscriptions.last().map(|it| it.name.to_string());
    let subscriptions = page.subscriptions.iter();
    Ok(v1::ListSubscriptionsResponse {
        subscriptions: subscriptions.map(|it| summary(shared, it)).collect(),
        next_page_token: last.filter(|_| page.has_more).unwrap_or_default(),
    })
}

/// A subscription without its consumers and partitions.
pub(super) fn summary(shared: &Shared, known: &SubscriptionDescription) -> v1::Subscription {
    let topics = shared.published().topics();
    let topic = topics.with_id(known.topic);
    let etag = known.id.map(|id| format!("{id}-{}", known.revision));
    v1::Subscription {
        name: known.name.to_string(),
        subscription_id: known.id.map_or(0, |id| id.get()),
        topic: topic.map(|it| it.name().to_string()).unwrap_or_default(),
        topic_id: known.topic.get(),
        config: Some(convert::told_config(&known.config)),
        is_paused: known.is_paused,
        create_time_ms: known.create_time_ms,
        etag: etag.unwrap_or_default(),
        consumer_count: u32::try_from(known.consumer_count).unwrap_or(u32::MAX),
        consumers: Vec::new(),
        partitions: Vec::new(),
        dead_letter_topic: known
            .dead_letter_topic
            .and_then(|id| topics.with_id(id))
            .map(|it| it.name().to_string())
            .unwrap_or_default(),
        dead_letter_problem: known.dead_letter_problem.clone().unwrap_or_default(),
        ..v1::Subscription::default()
    }
}

async fn partition(
    shared: &Shared,
    topic: &TopicView,
    number: u32,
    known: &PartitionDescription,
) -> Option<v1::SubscriptionPartition> {
    let log = topic.partition(number)?.log();
    let beyond = Lag::of(log, known.floor);
    let oldest = Lag::of(log, known.first_needed);
    let since_ms = shared.reading.lagging_since_ms(log, oldest).await;
    let open_count = beyond.records().saturating_sub(known.beyond_floor_count);
    Some(v1::SubscriptionPartition {
        partition: number,
        floor_offset: known.floor.get(),
        log_start_offset: beyond.log_start.get(),
        end_offset: beyond.end.get(),
        lag_records: open_count + known.waiting_count,
        lag_ms: Lag::age_ms(since_ms, shared.broker_time_ms()),
        in_flight_records: known.in_flight_count,
        waiting_records: known.waiting_count,
        skipped_records: known.skipped_count,
        parked_keys: known.parked_count,
        redriven_records: known.redriven_count,
        filtered_records: known.filtered_count,
        unjudged_records: known.unjudged_count,
        halt_reason: known.halt.map(|halt| describe(&halt)).unwrap_or_default(),
        ..v1::SubscriptionPartition::default()
    })
}

/// Dead letters of a partition that are not settled.
pub(super) fn dead_letter_count(
    letters: &TopicView,
    number: u32,
    known: &PartitionDescription,
) -> u64 {
    let (Some(handle), Some(known)) = (letters.partition(number), known.letters) else {
        return 0;
    };
    let beyond = Lag::of(handle.log(), known.floor).records();
    beyond.saturating_sub(known.beyond_floor_count) + known.waiting_count
}

/// What an operator should know of what a subscription holds.
fn warning(hold: &Hold) -> String {
    match hold.percent {
        0..HOLD_WARNING_PERCENT => String::new(),
        100.. => {
            "it holds as much past retention as it may: records are let go of unsettled".to_owned()
        }
        percent => format!("it holds {percent} % of what it may past retention"),
    }
}

pub(super) fn describe(halt: &Halt) -> String {
    match halt {
        Halt::Lost(range) => format!("records {range} are damaged: seek behind them to go on"),
        Halt::Disk { .. } => "the disk could not be read: it is tried again".to_owned(),
    }
}
