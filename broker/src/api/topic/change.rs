//! Changing a topic's settings, and trimming it.

use std::sync::Arc;

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::position::Position as WirePosition;
use towpath_storage::{Offset, OffsetRange, PartitionRef};

use super::super::fetch::request;
use super::super::{Shared, convert, status};
use crate::core::{
    CompactTopic, SettingChange, StaleRecords, TopicConfig, TopicConfigChange, TopicRevision,
    TrimTopic, UpdateTopic,
};
use crate::runtime::command::{ControlCommand, TRIM_PARTITIONS_MAX};
use crate::runtime::published::TopicView;

/// What is said of settings that are fixed.
const FIXED: &str = "key_versions, stale_records and compact are fixed when a topic is created";
/// What may be changed.
const CHANGEABLE: &str =
    "retention_age_ms, retention_bytes, dedupe_window_ms and tombstone_grace_ms can be changed";

/// Changes the settings of a topic.
pub(super) async fn update(
    shared: &Shared,
    request: v1::UpdateTopicRequest,
) -> Result<v1::Topic, Problem> {
    let name = convert::topic_name("name", &request.name)?;
    shared.refuse_when_draining()?;
    let wish = UpdateTopic {
        name,
        expected: parse_etag(&request.etag)?,
        change: change(&request)?,
    };
    let updated = shared.control(|answer| ControlCommand::UpdateTopic {
        wish,
        is_dry_run: request.validate_only,
        answer,
    });
    let updated = updated.await.map_err(|error| {
        let topics = shared.published().topics();
        status::command_failed(error, |refusal| status::update_refused(refusal, &topics))
    })?;
    Ok(convert::topic_with(&updated.topic, updated.settings))
}

fn change(request: &v1::UpdateTopicRequest) -> Result<TopicConfigChange, Problem> {
    let config = request.config.unwrap_or_default();
    // Without a mask everything that is given is meant.
    let is_fixed = config.key_versions || config.stale_records != 0 || config.compact;
    if request.update_mask.is_none() && is_fixed {
        let problem = Problem::invalid_field("config", FIXED);
        return Err(problem.with_hint(CHANGEABLE));
    }
    let Some(mask) = &request.update_mask else {
        let given = |value: Option<u64>| match value {
            None => SettingChange::Keep,
            value => SettingChange::Become(value),
        };
        return Ok(TopicConfigChange {
            retention_age_ms: given(config.retention_age_ms),
            retention_bytes: given(config.retention_bytes),
            dedupe_window_ms: given(config.dedupe_window_ms),
            tombstone_grace_ms: given(config.tombstone_grace_ms),
        });
    };
    let mut change = TopicConfigChange::default();
    for path in &mask.paths {
        match path.as_str() {
            "retention_age_ms" => {
                change.retention_age_ms = SettingChange::Become(config.retention_age_ms);
            }
            "retention_bytes" => {
                change.retention_bytes = SettingChange::Become(config.retention_bytes);
            }
            "dedupe_window_ms" => {
                change.dedupe_window_ms = SettingChange::Become(config.dedupe_window_ms);
            }
            "tombstone_grace_ms" => {
                change.tombstone_grace_ms = SettingChange::Become(config.tombstone_grace_ms);
            }
            "key_versions" | "stale_records" | "compact" => {
                let problem = Problem::invalid_field("update_mask", FIXED);
                return Err(problem.with_hint(CHANGEABLE));
            }
            unknown => {
                let message = format!("topics have no setting \"{unknown}\"");
                let problem = Problem::invalid_field("update_mask", message);
                return Err(problem.with_hint(CHANGEABLE));
            }
        }
    }
    Ok(change)
}

fn parse_etag(etag: &str) -> Result<Option<TopicRevision>, Problem> {
    if etag.is_empty() {
        return Ok(None);
    }
    convert::parse_etag(etag)
        .map(Some)
        .ok_or_else(|| Problem::invalid_field("etag", "the etag is not one that this broker gave"))
}

/// Moves log starts of a topic up.
pub(super) async fn trim(
    shared: &Shared,
    request: v1::TrimTopicRequest,
) -> Result<v1::TrimTopicResponse, Problem> {
    let name = convert::topic_name("name", &request.name)?;
    shared.refuse_when_draining()?;
    let topic = shared.topic(&name)?;
    if request.topic_id.is_some_and(|id| id != topic.id().get()) {
        return Err(status::topic_gone(&name));
    }
    let log_starts = log_starts(shared, &topic, &request).await?;
    let is_split = log_starts.len() > TRIM_PARTITIONS_MAX;
    if is_split && !request.validate_only {
        // A refusal says that nothing happened, so none may come after the first command: what is in
        // range now stays so.
        trim_all(shared, &topic, &log_starts, true).await?;
    }
    Ok(v1::TrimTopicResponse {
        partitions: trim_all(shared, &topic, &log_starts, request.validate_only).await?,
        topic_id: topic.id().get(),
    })
}

/// Trims any number of partitions, with as many commands as it takes.
async fn trim_all(
    shared: &Shared,
    topic: &TopicView,
    log_starts: &[(u32, Offset)],
    is_dry_run: bool,
) -> Result<Vec<v1::TrimmedPartition>, Problem> {
    let chunks = log_starts.chunks(TRIM_PARTITIONS_MAX).enumerate();
    let commands = chunks.map(|(index, log_starts)| {
        let wish = TrimTopic {
            name: topic.name().clone(),
            topic_id: Some(topic.id()),
            log_starts: log_starts.to_vec(),
        };
        move |answer| ControlCommand::TrimTopic {
            wish,
            is_dry_run,
            is_continuation: index > 0 && !is_dry_run,
            answer,
        }
    });
    let mut partitions = Vec::new();
    for trimmed in shared.control_all(commands).await {
        let trimmed = trimmed.map_err(|error| {
            let refused = |refusal| status::trim_refused(refusal, topic.name());
            status::command_failed(error, refused)
        })?;
        partitions.extend(trimmed.trimmed.into_iter().map(trimmed_partition));
    }
    Ok(partitions)
}

fn trimmed_partition((partition, range): (PartitionRef, OffsetRange)) -> v1::TrimmedPartition {
    v1::TrimmedPartition {
        partition: partition.partition,
        trimmed: Some(v1::OffsetRange {
            start: range.start.get(),
            end: range.end.get(),
        }),
    }
}

/// The offset in each partition below which records go.
async fn log_starts(
    shared: &Shared,
    topic: &Arc<TopicView>,
    request: &v1::TrimTopicRequest,
) -> Result<Vec<(u32, Offset)>, Problem> {
    let position = request.before.as_ref().and_then(|before| before.position);
    match position {
        None => {
            let problem = Problem::invalid_field("before", "it is not said what is to go");
            Err(problem.with_hint("give an offset, a time, or the end for everything"))
        }
        // The core says which offsets can be; one below the log start changes nothing.
        Some(WirePosition::Offset(offset)) => {
            let numbers = request::partitions(topic, &request.partitions, "partitions")?;
            let offset = Offset::new(offset);
            Ok(numbers.into_iter().map(|number| (number, offset)).collect())
        }
        Some(_) => {
            let lookup = v1::LookupOffsetsRequest {
                topic: request.name.clone(),
                partitions: request.partitions.clone(),
                position: request.before,
            };
            let found = request::look_up(shared, &lookup).await?;
            if found.topic_id != topic.id().get() {
                return Err(status::topic_gone(topic.name()));
            }
            let offsets = found.offsets.into_iter();
            Ok(offsets
                .map(|it| (it.partition, Offset::new(it.offset)))
                .collect())
        }
    }
}

/// Asks for a topic to be compacted.
pub(super) async fn compact(
    shared: &Shared,
    request: v1::CompactTopicRequest,
) -> Result<v1::CompactTopicResponse, Problem> {
    let name = convert::topic_name("name", &request.name)?;
    shared.refuse_when_draining()?;
    let wish = CompactTopic {
        name,
        topic_id: convert::topic_id(request.topic_id),
    };
    let asked = shared.control(|answer| ControlCommand::CompactTopic { wish, answer });
    let (topic, uncompacted_bytes) = asked.await.map_err(|error| {
        let topics = shared.published().topics();
        status::command_failed(error, |refusal| status::compact_refused(refusal, &topics))
    })?;
    Ok(v1::CompactTopicResponse {
        topic_id: topic.id().get(),
        uncompacted_bytes,
    })
}

/// The settings that a request gives.
///
/// # Errors
/// One has a value that nobody here knows.
pub(super) fn config(given: Option<&v1::TopicConfig>) -> Result<TopicConfig, Problem> {
    let given = given.copied().unwrap_or_default();
    let stale_records = match v1::StaleRecords::try_from(given.stale_records) {
        Ok(v1::StaleRecords::Unspecified) => None,
        Ok(v1::StaleRecords::Refuse) => Some(StaleRecords::Refuse),
        Ok(v1::StaleRecords::Mark) => Some(StaleRecords::Mark),
        Err(unknown) => {
            let message = format!("{unknown}");
            return Err(Problem::invalid_field("config.stale_records", message)
                .with_hint("stale records are refused (1) or marked (2)"));
        }
    };
    Ok(TopicConfig {
        retention_age_ms: given.retention_age_ms,
        retention_bytes: given.retention_bytes,
        dedupe_window_ms: given.dedupe_window_ms,
        has_key_versions: given.key_versions,
        stale_records,
        compact: given.compact,
        tombstone_grace_ms: given.tombstone_grace_ms,
    })
}
