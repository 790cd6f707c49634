//! Producers that have a name.

use std::time::SystemTime;

use towpath_proto::names::ProducerName;
use towpath_proto::v1;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;

use super::Admin;
use crate::Error;
use crate::client::Repetition;
use crate::time::from_ms;

/// The name of a producer, and which of its lives may write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedProducer {
    /// The name.
    pub name: ProducerName,
    /// Number of the present life, from 1; older ones are fenced.
    pub epoch: u32,
    /// When the name was opened first, by the broker's clock.
    pub create_time: SystemTime,
    /// When the present life began, by the broker's clock.
    pub open_time: SystemTime,
}

impl NamedProducer {
    fn from_proto(producer: &v1::NamedProducer) -> Result<Self, Error> {
        let name = ProducerName::new(&producer.name).map_err(|error| {
            Error::protocol("the broker sent a bad producer name").because(error)
        })?;
        Ok(Self {
            name,
            epoch: producer.producer_epoch,
            create_time: from_ms(producer.create_time_ms),
            open_time: from_ms(producer.open_time_ms),
        })
    }
}

/// A name of a producer to be deleted.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::delete_producer`"]
pub struct ProducerDeletion {
    name: String,
    is_dry_run: bool,
}

impl ProducerDeletion {
    /// This name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_dry_run: false,
        }
    }

    /// Only asks whether it would succeed.
    pub const fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }
}

impl<T: Into<String>> From<T> for ProducerDeletion {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// Names of producers.
impl Admin {
    /// Lists the producers whose names begin with `prefix`, in the order of their names. Those that are
    /// opened first or deleted meanwhile may be missing or present.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn producers_with_prefix(&self, prefix: &str) -> Result<Vec<NamedProducer>, Error> {
        let mut request = v1::ListProducersRequest {
            page_size: towpath_proto::limits::PAGE_SIZE_MAX,
            page_token: String::new(),
            name_prefix: prefix.to_owned(),
        };
        let mut producers = Vec::new();
        loop {
            let call = |channel| {
                let request = request.clone();
                async move {
                    ProduceServiceClient::new(channel)
                        .list_producers(request)
                        .await
                }
            };
            let page = self
                .client
                .call(self.patience, Repetition::Harmless, call)
                .await?;
            for producer in &page.producers {
                producers.push(NamedProducer::from_proto(producer)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(producers);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Deletes the name of a producer and returns what it was; durable when this returns. All its lives
    /// are fenced, and stay so when the name is opened again.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::ProducerNotFound`](crate::ErrorReason::ProducerNotFound), also when the answer to
    /// an earlier call was lost.
    pub async fn delete_producer(
        &self,
        producer: impl Into<ProducerDeletion>,
    ) -> Result<NamedProducer, Error> {
        let ProducerDeletion { name, is_dry_run } = producer.into();
        let request = v1::DeleteProducerRequest {
            name,
            validate_only: is_dry_run,
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                ProduceServiceClient::new(channel)
                    .delete_producer(request)
                    .await
            }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        let producer = response.producer;
        let producer = producer.ok_or_else(|| Error::protocol("the answer holds no producer"))?;
        NamedProducer::from_proto(&producer)
    }
}
