//! Going through dead letters page by page.

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_client::DeadLetterServiceClient;

use super::{DeadLetter, DeadLetterFilter};
use crate::client::Repetition;
use crate::{Admin, Error};

/// Dead letters, by partition and offset.
#[derive(Debug)]
pub struct DeadLetterList {
    admin: Admin,
    /// None behind the last page.
    next: Option<v1::ListDeadLettersRequest>,
}

impl DeadLetterList {
    /// The next ones; some pages are short, and none comes behind the last.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound) if the topic of the dead letters
    /// was deleted, [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound), and
    /// [`ErrorReason::LogCorrupt`](crate::ErrorReason::LogCorrupt).
    pub async fn next_page(&mut self) -> Result<Option<Vec<DeadLetter>>, Error> {
        let Some(request) = self.next.take() else {
            return Ok(None);
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                DeadLetterServiceClient::new(channel)
                    .list_dead_letters(request)
                    .await
            }
        };
        let (client, patience) = (&self.admin.client, self.admin.patience);
        let page = client.call(patience, Repetition::Harmless, call).await?;
        let letters = page.dead_letters.into_iter().map(DeadLetter::from_proto);
        let letters = letters.collect::<Result<_, _>>()?;
        self.next = (!page.next_page_token.is_empty()).then_some(v1::ListDeadLettersRequest {
            page_token: page.next_page_token,
            ..request
        });
        Ok(Some(letters))
    }
}

/// Dead letters.
impl Admin {
    /// Goes through the dead letters of a subscription that are not settled. Of each value there are at
    /// most `value_bytes_max` bytes; with 0 values are left out.
    pub fn dead_letters(
        &self,
        subscription: &str,
        filter: &DeadLetterFilter,
        value_bytes_max: u32,
    ) -> DeadLetterList {
        DeadLetterList {
            admin: self.clone(),
            next: Some(v1::ListDeadLettersRequest {
                subscription: subscription.to_owned(),
                filter: Some(filter.to_proto()),
                value_bytes_max,
                ..v1::ListDeadLettersRequest::default()
            }),
        }
    }

    /// Shows one dead letter whole.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::DeadLetterNotFound`](crate::ErrorReason::DeadLetterNotFound), also when it is
    /// settled, [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound),
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound), and
    /// [`ErrorReason::LogCorrupt`](crate::ErrorReason::LogCorrupt).
    pub async fn dead_letter(
        &self,
        subscription: &str,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<DeadLetter, Error> {
        let request = v1::GetDeadLetterRequest {
            subscription: subscription.to_owned(),
            letter: Some(v1::DeadLetterRef {
                partition: partition.get(),
                offset: offset.get(),
            }),
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                DeadLetterServiceClient::new(channel)
                    .get_dead_letter(request)
                    .await
            }
        };
        let shown = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        let letter = shown.dead_letter;
        let text = "the broker sent no dead letter";
        DeadLetter::from_proto(letter.ok_or_else(|| Error::protocol(text))?)
    }
}
