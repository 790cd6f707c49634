//! The calls about single records of durable subscriptions.

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;

use super::Admin;
use super::subscription::{PendingList, PendingPage, RecordExplanation};
use crate::Error;
use crate::client::Repetition;

/// Single records of durable subscriptions.
impl Admin {
    /// Lists records that are in flight, wait or are dying, one page for each call. What changes meanwhile
    /// may be missing or present.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound), and
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for a state that a list does
    /// not hold.
    pub async fn list_pending(&self, list: PendingList) -> Result<PendingPage, Error> {
        let call = |channel| {
            let request = list.request().clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .list_pending(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        Ok(list.page(response))
    }

    /// Explains where a record of a subscription's topic is, and why nothing happens to it.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound), and
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange) if there is no such record
    /// yet.
    pub async fn explain_record(
        &self,
        subscription: &str,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<RecordExplanation, Error> {
        let request = v1::ExplainRecordRequest {
            subscription: subscription.to_owned(),
            partition: partition.get(),
            offset: offset.get(),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                SubscriptionServiceClient::new(channel)
                    .explain_record(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        RecordExplanation::from_proto(response)
    }
}
