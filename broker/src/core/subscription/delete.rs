//! Deleting a subscription.

use towpath_proto::names::SubscriptionName;

use super::{SubscriptionDecision, SubscriptionEvent, SubscriptionId, SubscriptionNotice};
use crate::core::State;
use crate::core::row::RowId;

/// There is no subscription of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subscription \"{name}\" not found")]
pub struct SubscriptionNotFound {
    /// The name.
    pub name: SubscriptionName,
}

impl State {
    /// Decides on deleting a subscription.
    ///
    /// # Errors
    /// [`SubscriptionNotFound`].
    pub fn delete_subscription(
        &self,
        name: &SubscriptionName,
    ) -> Result<(SubscriptionId, SubscriptionDecision), SubscriptionNotFound> {
        let subscription = self.subscription_named(name);
        let subscription =
            subscription.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let sessions = subscription.consumers.connected();
        let sessions = sessions.filter_map(|(_, consumer)| consumer.session);
        let notices = sessions.map(|session| SubscriptionNotice {
            session,
            event: SubscriptionEvent::Deleted,
        });
        let decision = SubscriptionDecision {
            rows: vec![RowId::Subscription(subscription.id).gone()],
            notices: notices.collect(),
            ..SubscriptionDecision::default()
        };
        Ok((subscription.id, decision))
    }
}
