//! Deleting a subscription.

use towpath_proto::names::SubscriptionName;
use towpath_storage::TopicId;

use super::{SubscriptionDecision, SubscriptionEvent, SubscriptionId, SubscriptionNotice};
use crate::core::row::RowId;
use crate::core::{State, Topic, TopicInUse};

/// There is no subscription of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subscription \"{name}\" not found")]
pub struct SubscriptionNotFound {
    /// The name.
    pub name: SubscriptionName,
}

/// A wish to delete a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteSubscription {
    /// Which.
    pub name: SubscriptionName,
    /// The topic of its dead letters goes too.
    pub with_dead_letters: bool,
}

/// Why a subscription is not deleted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteSubscriptionRefusal {
    /// There is none of that name.
    #[error(transparent)]
    NotFound(#[from] SubscriptionNotFound),
    /// The topic of its dead letters has subscriptions of its own.
    #[error(transparent)]
    DeadLettersInUse(#[from] TopicInUse),
}

/// What deleting a subscription does.
#[derive(Debug, PartialEq, Eq)]
pub struct DeletedSubscription {
    /// Which it is.
    pub id: SubscriptionId,
    /// The topic that is deleted with it.
    pub topic: Option<TopicId>,
    /// What is journaled and told.
    pub decision: SubscriptionDecision,
}

impl State {
    /// Decides on deleting a subscription, with one entry.
    ///
    /// # Errors
    /// [`DeleteSubscriptionRefusal`].
    pub fn delete_subscription(
        &self,
        wish: &DeleteSubscription,
    ) -> Result<DeletedSubscription, DeleteSubscriptionRefusal> {
        let name = &wish.name;
        let subscription = self.subscription_named(name);
        let subscription =
            subscription.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let letters = self.topic(subscription.dead_letter_topic);
        let letters = letters.filter(|_| wish.with_dead_letters);
        let mut rows = vec![RowId::Subscription(subscription.id).gone()];
        if let Some(topic) = letters {
            Self::refuse_use(topic, self.subscriptions.of_topic(topic.id()))?;
            rows.extend(Self::delete_rows(topic));
        }
        let sessions = subscription.consumers.connected();
        let sessions = sessions.filter_map(|(_, consumer)| consumer.session);
        let notices = sessions.map(|session| SubscriptionNotice {
            session,
            event: SubscriptionEvent::Deleted,
        });
        let decision = SubscriptionDecision {
            rows,
            notices: notices.collect(),
            ..SubscriptionDecision::default()
        };
        Ok(DeletedSubscription {
            id: subscription.id,
            topic: letters.map(Topic::id),
            decision,
        })
    }
}
