//! Listing what is with consumers and what waits.

use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::Offset;

use super::{Shared, show, status};
use crate::api::fetch::request;
use crate::core::{ListPending, PendingPosition, PendingRecord, RecordPlace, SubscriptionId};
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;
use crate::runtime::subscription_question::SubscriptionQuestion;

/// Lists a page.
pub(super) async fn list(
    shared: &Shared,
    asked: &v1::ListPendingRequest,
) -> Result<v1::ListPendingResponse, Problem> {
    let place = place(asked.state)?;
    let (found, _) = show::find(shared, "subscription", &asked.subscription).await?;
    let id = found.id.unwrap_or(SubscriptionId::new(0));
    let topics = shared.published().topics();
    let topic = topics.with_id(found.topic);
    let topic = topic.ok_or_else(|| status::subscription_deleted(&found.name))?;
    let partitions = match asked.partitions.as_slice() {
        [] => Vec::new(),
        chosen => request::partitions(topic, chosen, "partitions")?,
    };
    let count_max = match asked.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let wish = ListPending {
        from: begin(&asked.page_token, id)?,
        partitions,
        place,
        count_max: count_max as usize,
    };
    let page = shared.control(|answer| {
        let name = found.name.clone();
        let question = SubscriptionQuestion::Pending { name, wish, answer };
        ControlCommand::Subscription(SubscriptionCommand::Ask(question))
    });
    let page = page.await;
    let page =
        page.map_err(|error| status::command_failed(error, status::subscription_not_found))?;
    let next = page
        .next
        .map(|(lane, offset)| format!("{id}-{lane}-{offset}"));
    Ok(v1::ListPendingResponse {
        records: page.records.into_iter().map(record).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn place(state: i32) -> Result<Option<RecordPlace>, Problem> {
    Ok(Some(match v1::RecordState::try_from(state) {
        Ok(v1::RecordState::Unspecified) => return Ok(None),
        Ok(v1::RecordState::InFlight) => RecordPlace::InFlight,
        Ok(v1::RecordState::Waiting) => RecordPlace::Waiting,
        Ok(v1::RecordState::Dying) => RecordPlace::Dying,
        Ok(_) | Err(_) => {
            let message = "a list holds records in flight, waiting or dying";
            return Err(Problem::invalid_field("state", message));
        }
    }))
}

/// Where a page begins.
fn begin(token: &str, id: SubscriptionId) -> Result<PendingPosition, Problem> {
    if token.is_empty() {
        return Ok((0, Offset::ZERO));
    }
    let parse = || {
        let mut parts = token.split('-');
        let of: u64 = parts.next()?.parse().ok()?;
        let lane = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        let is_ours = of == id.get() && parts.next().is_none();
        is_ours.then_some((lane, Offset::new(offset)))
    };
    let message = "page token is not one that this broker gave for this subscription";
    parse().ok_or_else(|| Problem::invalid_field("page_token", message))
}

/// A record as it is told.
pub(super) fn record(record: PendingRecord) -> v1::PendingRecord {
    let state = match record.place {
        RecordPlace::Ahead => v1::RecordState::Ahead,
        RecordPlace::Ready => v1::RecordState::Ready,
        RecordPlace::InFlight => v1::RecordState::InFlight,
        RecordPlace::Waiting => v1::RecordState::Waiting,
        RecordPlace::Dying => v1::RecordState::Dying,
        RecordPlace::Filtered => v1::RecordState::Filtered,
        RecordPlace::Settled => v1::RecordState::Settled,
    };
    let failures = record.failures.into_iter();
    let failures = failures.map(|failure| v1::FailedAttempt {
        time_ms: failure.time_ms,
        reason: failure.reason,
    });
    let told = v1::PendingRecord {
        partition: record.partition,
        offset: record.offset.get(),
        state: state.into(),
        attempt: record.attempt,
        next_attempt_ms: record.due_ms,
        failure_count: record.failure_count,
        failures: failures.collect(),
        behind_offset: record.behind.map(Offset::get),
        append_time_ms: record.append_time_ms,
        record_bytes: record.bytes,
        death_reason: record.death.unwrap_or_default(),
        is_redriven: record.is_redriven,
        is_suspect: record.is_suspect,
        ..v1::PendingRecord::default()
    };
    match record.holder {
        None => told,
        Some(holder) => v1::PendingRecord {
            consumer_id: holder.consumer.as_bytes().to_vec().into(),
            client_name: holder.client_name,
            delivery: holder.delivery,
            delivery_time_ms: holder.since_ms,
            deadline_ms: holder.deadline_ms,
            is_started: holder.is_started,
            ..told
        },
    }
}
