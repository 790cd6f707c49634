//! Creating, pausing and deleting subscriptions.

use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::{Shared, convert, show, status, subscription_name};
use crate::api::convert::topic_name;
use crate::api::fetch::request;
use crate::api::group::bounds_of;
use crate::core::{CreateSubscription, DeleteSubscription, HashKey};
use crate::fetch::resolve;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;

/// Longest name: that of its dead-letter topic has four more bytes.
const NAME_BYTES_MAX: usize = 196;

/// Creates a subscription, or answers what there is.
pub(super) async fn create(
    shared: &Shared,
    asked: v1::CreateSubscriptionRequest,
) -> Result<v1::CreateSubscriptionResponse, Problem> {
    let name = subscription_name("name", &asked.name)?;
    if asked.name.len() > NAME_BYTES_MAX {
        let message = format!("subscription name is too long: at most {NAME_BYTES_MAX} bytes");
        return Err(Problem::invalid_field("name", message));
    }
    let config = convert::config(&asked.config.unwrap_or_default())?;
    shared.refuse_when_draining()?;
    let topic = shared.topic(&topic_name("topic", &asked.topic)?)?;
    let start = asked.start.as_ref().and_then(request::start);
    let start = start.ok_or_else(|| status::subscription_start_unset(&name, &topic))?;
    let starts = resolve(&shared.reading, &bounds_of(shared, &topic), start).await;
    let starts = starts.map_err(|error| status::position_refused(error, topic.name()))?;
    let wish = CreateSubscription {
        name,
        topic: topic.id(),
        config,
        starts,
        hash_key: HashKey::default(),
        dead_letter_topic: topic_name("name", &format!("{}.dlq", asked.name))?,
    };
    let created = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::Create {
            wish: Box::new(wish),
            is_dry_run: asked.validate_only,
            answer,
        })
    });
    let created = created.await.map_err(|error| {
        let topics = shared.published().topics();
        status::command_failed(error, |refusal| {
            status::create_subscription_refused(refusal, &topic, &topics)
        })
    })?;
    Ok(v1::CreateSubscriptionResponse {
        subscription: Some(show::summary(shared, &created.subscription)),
        existed: created.existed,
    })
}

/// Pauses a subscription, or lets it go on.
pub(super) async fn pause(shared: &Shared, name: &str, is_paused: bool) -> Result<(), Problem> {
    let name = subscription_name("name", name)?;
    shared.refuse_when_draining()?;
    let changed = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::Pause {
            name,
            is_paused,
            answer,
        })
    });
    let changed = changed.await;
    changed.map_err(|error| status::command_failed(error, status::subscription_not_found))
}

/// Deletes a subscription.
pub(super) async fn delete(
    shared: &Shared,
    request: &v1::DeleteSubscriptionRequest,
) -> Result<(), Problem> {
    let name = subscription_name("name", &request.name)?;
    shared.refuse_when_draining()?;
    let deleted = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::Delete {
            wish: DeleteSubscription {
                name,
                with_dead_letters: request.with_dlq,
            },
            is_dry_run: request.validate_only,
            answer,
        })
    });
    let deleted = deleted.await;
    deleted.map_err(|error| status::command_failed(error, status::delete_subscription_refused))
}
