//! Where the history of a key comes from: a stream that is made again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::Streaming;
use towpath_proto::v1;

use super::KeyItem;
use super::latest::name_of;
use super::progress::{Progress, Wish};
use crate::client::{Repetition, Shared};
use crate::error::Effects;
use crate::outage::Recovery;
use crate::perseverance::Perseverance;
use crate::{Error, RetryAdvice};

/// A history on its way.
pub(super) struct History {
    client: Arc<Shared>,
    topic: String,
    progress: Progress,
    stream: Option<Streaming<v1::ReadKeyResponse>>,
    perseverance: Perseverance,
}

impl History {
    pub(super) fn new(client: Arc<Shared>, topic: String, wish: Wish) -> Self {
        Self {
            perseverance: Perseverance::new(Some(client.give_up_after)),
            client,
            topic,
            progress: Progress::new(wish),
            stream: None,
        }
    }

    pub(super) const fn current_version(&self) -> Option<u64> {
        self.progress.current_version()
    }

    /// Waits for what comes next; none behind the end. An error is the last that comes.
    pub(super) async fn next(&mut self) -> Option<Result<KeyItem, Error>> {
        loop {
            if let Some(item) = self.progress.take_item() {
                return Some(Ok(item));
            }
            if self.progress.is_over() {
                return None;
            }
            let recovery = self.client.outage.recovery();
            if let Err(error) = self.hear().await
                && let Some(error) = self.go_on(recovery, error).await
            {
                return Some(Err(error.with("topic", &self.topic)));
            }
        }
    }

    /// Waits before the next stream; returns the error if none is of use.
    async fn go_on(&mut self, recovery: Recovery, error: Error) -> Option<Error> {
        self.stream = None;
        // What the broker says for good of this key, which is more than streams are ended by.
        if error.reason().is_some() && error.retry_advice() != RetryAdvice::Same {
            return Some(error);
        }
        if let Some(error) = self.perseverance.give_up(Some(&error)) {
            return Some(error);
        }
        self.perseverance.pause(recovery, Some(&error)).await;
        None
    }

    /// Takes one response.
    async fn hear(&mut self) -> Result<(), Error> {
        let patience = self.client.give_up_after;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = self.open(patience).await?;
                self.stream.insert(stream)
            }
        };
        let Ok(heard) = timeout(patience, stream.message()).await else {
            return Err(self.client.timed_out(patience, Repetition::Harmless));
        };
        let Some(response) = heard.map_err(|status| self.client.error_of(status))? else {
            let text = "the broker ended the history of the key before its end";
            return Err(Error::unavailable(Effects::None, text));
        };
        self.client.outage.end(&self.client.url);
        if self.progress.take(&name_of(&self.topic)?, response)? {
            self.perseverance.reset();
        }
        Ok(())
    }

    async fn open(&mut self, patience: Duration) -> Result<Streaming<v1::ReadKeyResponse>, Error> {
        name_of(&self.topic)?;
        let request = self.progress.request(&self.topic);
        let mut stub = self.client.transport.keys();
        match timeout(patience, stub.read_key(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.client.error_of(status)),
            Err(_elapsed) => Err(self.client.timed_out(patience, Repetition::Harmless)),
        }
    }
}
