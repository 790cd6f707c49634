//! The calls about durable subscriptions.

use towpath_proto::v1;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;

use super::Admin;
use super::subscription::{
    CreatedSubscription, NewSubscription, SoughtSubscriptionPartition, Subscription,
    SubscriptionDeletion, SubscriptionSeek, SubscriptionUpdate,
};
use crate::Error;
use crate::client::Repetition;

/// Durable subscriptions.
impl Admin {
    /// Creates a subscription, unless there is one with the same settings; durable when this returns.
    /// May be repeated as often as wanted.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionExists`](crate::ErrorReason::SubscriptionExists) if there is one with
    /// other settings, which the text names,
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound),
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange),
    /// [`ErrorReason::LimitReached`](crate::ErrorReason::LimitReached), and
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for a name or a setting
    /// that is not allowed and for [`Start::Offsets`](crate::Start::Offsets).
    pub async fn create_subscription(
        &self,
        subscription: NewSubscription,
    ) -> Result<CreatedSubscription, Error> {
        let request = subscription.to_request()?;
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .create_subscription(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        CreatedSubscription::from_proto(response)
    }

    /// Shows a subscription with its consumers, and how far it is in each partition.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound).
    pub async fn subscription(&self, name: &str) -> Result<Subscription, Error> {
        let request = v1::GetSubscriptionRequest {
            name: name.to_owned(),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .get_subscription(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(Subscription::from_proto(response.subscription)?.at(response.lsn))
    }

    /// Lists the subscriptions whose names begin with `prefix`, in the order of their names, without
    /// their consumers and partitions; with `topic` only those of that topic. Subscriptions that are
    /// created or deleted meanwhile may be missing or present.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn subscriptions_with_prefix(
        &self,
        prefix: &str,
        topic: Option<&str>,
    ) -> Result<Vec<Subscription>, Error> {
        let mut request = v1::ListSubscriptionsRequest {
            page_size: towpath_proto::limits::PAGE_SIZE_MAX,
            page_token: String::new(),
            name_prefix: prefix.to_owned(),
            topic: topic.unwrap_or_default().to_owned(),
        };
        let mut subscriptions = Vec::new();
        loop {
            let call = |channel| {
                let request = request.clone();
                async move {
                    SubscriptionServiceClient::new(channel)
                        .list_subscriptions(request)
                        .await
                }
            };
            let page = self
                .client
                .call(self.patience, Repetition::Harmless, call)
                .await?;
            for subscription in page.subscriptions {
                subscriptions.push(Subscription::from_proto(Some(subscription))?);
            }
            if page.next_page_token.is_empty() {
                return Ok(subscriptions);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes settings of a subscription and returns it as it is then, without consumers and
    /// partitions; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::EtagMismatch`](crate::ErrorReason::EtagMismatch) if it is not any more what
    /// [`SubscriptionUpdate::if_unchanged`] asks for (also when the answer to an earlier call was
    /// lost), and [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for a value
    /// out of range.
    pub async fn update_subscription(
        &self,
        update: SubscriptionUpdate,
    ) -> Result<Subscription, Error> {
        let request = update.to_request();
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .update_subscription(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        Subscription::from_proto(response.subscription)
    }

    /// Delivers nothing more of a subscription until [`Admin::resume_subscription`]; durable when this
    /// returns. What consumers have, they keep. May be repeated as often as wanted.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound).
    pub async fn pause_subscription(&self, name: &str) -> Result<(), Error> {
        let request = v1::PauseSubscriptionRequest {
            name: name.to_owned(),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .pause_subscription(request)
                    .await
            }
        };
        self.client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(())
    }

    /// Goes on with a subscription that was paused; durable when this returns. May be repeated as often
    /// as wanted.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound).
    pub async fn resume_subscription(&self, name: &str) -> Result<(), Error> {
        let request = v1::ResumeSubscriptionRequest {
            name: name.to_owned(),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .resume_subscription(request)
                    .await
            }
        };
        self.client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(())
    }

    /// Moves a subscription to another place and returns what that means for each partition; durable
    /// when this returns. Consumers lose what they have, and attempts begin anew.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound),
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange), and
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for
    /// [`Start::Offsets`](crate::Start::Offsets).
    pub async fn seek_subscription(
        &self,
        seek: SubscriptionSeek,
    ) -> Result<Vec<SoughtSubscriptionPartition>, Error> {
        let request = seek.to_request()?;
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .seek_subscription(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        let partitions = response.partitions.iter();
        Ok(partitions
            .map(SoughtSubscriptionPartition::from_proto)
            .collect())
    }

    /// Deletes a subscription with what it remembers; durable when this returns. Its consumers end.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound), also when the
    /// answer to an earlier call was lost;
    /// [`ErrorReason::TopicInUse`](crate::ErrorReason::TopicInUse) if its dead letters were to go too and
    /// have subscriptions of their own.
    pub async fn delete_subscription(
        &self,
        subscription: impl Into<SubscriptionDeletion>,
    ) -> Result<(), Error> {
        let request = subscription.into().to_request();
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .delete_subscription(request)
                    .await
            }
        };
        self.client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        Ok(())
    }
}
