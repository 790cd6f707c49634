//! Setting up the reading of a key.

use std::sync::Arc;

use bytes::Bytes;

use super::KeyReader;
use super::progress::Wish;
use super::source::History;
use crate::Client;
use crate::client::Shared;

/// Settings of a [`KeyReader`]; ends in [`KeyReaderBuilder::build`].
#[derive(Clone)]
#[must_use = "does nothing before `build`"]
pub struct KeyReaderBuilder {
    client: Arc<Shared>,
    topic: String,
    wish: Wish,
}

impl Client {
    /// Starts to set up the reading of one key's history, on a topic with
    /// [key versions](crate::NewTopic::key_versions). The broker finds its records through an index, without
    /// going through the others.
    ///
    /// ```no_run
    /// use towpath_client::{Client, Event, KeyItem};
    ///
    /// # async fn example() -> Result<(), towpath_client::Error> {
    /// let client = Client::connect("http://127.0.0.1:7600")?;
    /// let mut history = client.read_key("accounts", "alice").build();
    /// let mut balance: i64 = 0;
    /// while let Some(item) = history.next_item().await {
    ///     match item? {
    ///         KeyItem::Record(it) => balance += it.record.json::<i64>()?,
    ///         gap => panic!("the history is not whole: {gap:?}"),
    ///     }
    /// }
    /// // Refused if the account has changed since.
    /// let version = history.current_version().unwrap_or(0);
    /// let withdrawn = Event::json("withdrawn", &-5)?.key("alice").expect_version(version);
    /// client.producer("accounts").build().send(withdrawn).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_key(&self, topic: impl Into<String>, key: impl Into<Bytes>) -> KeyReaderBuilder {
        KeyReaderBuilder {
            client: Arc::clone(self.shared()),
            topic: topic.into(),
            wish: Wish::all(key.into()),
        }
    }
}

impl KeyReaderBuilder {
    /// Sets the lowest version that is read; the first record of a key has version 1. Default: the first.
    #[expect(
        clippy::wrong_self_convention,
        reason = "it names where reading begins, as `ReaderBuilder::from` does"
    )]
    pub const fn from_version(mut self, version: u64) -> Self {
        self.wish.from_version = version;
        self
    }

    /// Begins with the newest record and goes back, down to [`KeyReaderBuilder::from_version`]. Default: in
    /// the order in which they were written.
    pub const fn newest_first(mut self) -> Self {
        self.wish.is_newest_first = true;
        self
    }

    /// Ends after so many records. Default: behind the last one.
    pub const fn limit(mut self, record_count: u64) -> Self {
        self.wish.record_count_max = Some(record_count);
        self
    }

    /// Makes the reader. Asks nothing before it is asked.
    pub fn build(self) -> KeyReader {
        KeyReader::new(History::new(self.client, self.topic, self.wish))
    }
}

/// Shows no key: keys belong in no log.
impl std::fmt::Debug for KeyReaderBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyReaderBuilder")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
