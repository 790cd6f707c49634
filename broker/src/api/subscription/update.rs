//! Changing the settings of a subscription.

use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::{Shared, convert, show, status, subscription_name};
use crate::core::{SubscriptionId, SubscriptionRevision, UpdateSubscription};
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;

/// Settings that can be changed.
const SETTINGS: [&str; 7] = [
    "ack_deadline_ms",
    "backoff_min_ms",
    "backoff_max_ms",
    "attempts_max",
    "age_max_ms",
    "filter",
    "on_filter_error",
];

/// Changes the settings of a subscription.
pub(super) async fn update(
    shared: &Shared,
    request: v1::UpdateSubscriptionRequest,
) -> Result<v1::UpdateSubscriptionResponse, Problem> {
    let name = subscription_name("name", &request.name)?;
    let given = request.config.unwrap_or_default();
    let chosen = match &request.update_mask {
        Some(mask) => mask.paths.clone(),
        None => given_settings(&given),
    };
    if let Some(unknown) = chosen.iter().find(|it| !SETTINGS.contains(&it.as_str())) {
        let message = match unknown.as_str() {
            "mode" | "on_dead_letter" => {
                format!("{unknown} is fixed when a subscription is created")
            }
            unknown => format!("subscriptions have no setting \"{unknown}\""),
        };
        let problem = Problem::invalid_field("update_mask", message);
        return Err(problem.with_hint(format!("there are {}", SETTINGS.join(", "))));
    }
    // What is chosen and not given gets its default; what is given has to be in range.
    let is_chosen = |setting: &str| chosen.iter().any(|it| it == setting);
    let only = v1::SubscriptionConfig {
        ack_deadline_ms: given
            .ack_deadline_ms
            .filter(|_| is_chosen("ack_deadline_ms")),
        backoff_min_ms: None,
        backoff_max_ms: given.backoff_max_ms.filter(|_| is_chosen("backoff_max_ms")),
        attempts_max: given.attempts_max.filter(|_| is_chosen("attempts_max")),
        age_max_ms: given.age_max_ms.filter(|_| is_chosen("age_max_ms")),
        filter: match is_chosen("filter") {
            true => given.filter.clone(),
            false => String::new(),
        },
        on_filter_error: match is_chosen("on_filter_error") {
            true => given.on_filter_error,
            false => 0,
        },
        ..v1::SubscriptionConfig::default()
    };
    let read = convert::config(&only)?;
    let default = convert::config(&v1::SubscriptionConfig::default())?.retry;
    let backoff_ms_min = given.backoff_min_ms.unwrap_or(default.backoff_ms_min);
    shared.refuse_when_draining()?;
    let wish = UpdateSubscription {
        name,
        expected: parse_etag(&request.etag)?,
        ack_deadline_ms: is_chosen("ack_deadline_ms").then_some(read.ack_deadline_ms),
        backoff_ms_min: is_chosen("backoff_min_ms").then_some(backoff_ms_min),
        backoff_ms_max: is_chosen("backoff_max_ms").then_some(read.retry.backoff_ms_max),
        attempts_max: is_chosen("attempts_max").then_some(read.retry.attempts_max),
        age_ms_max: is_chosen("age_max_ms").then_some(read.retry.age_ms_max),
        filter: is_chosen("filter").then_some(read.filter),
        on_filter_error: is_chosen("on_filter_error").then_some(read.on_filter_error),
    };
    let updated = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::Update {
            wish: Box::new(wish),
            is_dry_run: request.validate_only,
            answer,
        })
    });
    let updated = updated.await;
    let updated = updated
        .map_err(|error| status::command_failed(error, status::update_subscription_refused))?;
    Ok(v1::UpdateSubscriptionResponse {
        subscription: Some(show::summary(shared, &updated)),
    })
}

/// Names of the settings that are given.
fn given_settings(given: &v1::SubscriptionConfig) -> Vec<String> {
    let settings = [
        ("mode", given.mode != 0),
        ("on_dead_letter", given.on_dead_letter != 0),
        ("ack_deadline_ms", given.ack_deadline_ms.is_some()),
        ("backoff_min_ms", given.backoff_min_ms.is_some()),
        ("backoff_max_ms", given.backoff_max_ms.is_some()),
        ("attempts_max", given.attempts_max.is_some()),
        ("age_max_ms", given.age_max_ms.is_some()),
        ("filter", !given.filter.is_empty()),
        ("on_filter_error", given.on_filter_error != 0),
    ];
    let given = settings.into_iter().filter(|(_, is_given)| *is_given);
    given.map(|(name, _)| name.to_owned()).collect()
}

fn parse_etag(etag: &str) -> Result<Option<SubscriptionRevision>, Problem> {
    if etag.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (id, revision) = etag.split_once('-')?;
        Some(SubscriptionRevision {
            id: SubscriptionId::new(id.parse().ok()?),
            revision: revision.parse().ok()?,
        })
    };
    let message = "the etag is not one that this broker gave";
    let problem = || Problem::invalid_field("etag", message);
    parse().map(Some).ok_or_else(problem)
}
