//! The entry to the SDK: one client for each broker, shared by everything that talks to it.

mod builder;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::backoff::Backoff;
use crate::error::Effects;
use crate::group::GroupConsumerBuilder;
use crate::outage::{Outage, PauseEnd};
use crate::producer::{Lives, ProducerBuilder};
use crate::reader::{ReaderBuilder, Source};
use crate::subscriber::SubscriberBuilder;
use crate::time::later;
use crate::transport::Transport;
use crate::{Admin, Commit, Error, ErrorKind, Limits, Record, RetryAdvice, ScheduleCall};

pub use builder::ClientBuilder;

/// A connection to a broker. Cheap to clone; all clones share the same connections.
///
/// Nothing is connected before it is needed, and what breaks is connected again for as long as
/// somebody wants it. A client belongs to the tokio runtime in which it is first used.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Shared>,
}

/// What all parts of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) url: String,
    pub(crate) transport: Transport,
    pub(crate) outage: Outage,
    /// Where events come from that do not say so themselves.
    pub(crate) source: String,
    pub(crate) give_up_after: Duration,
    /// What the broker accepts, once that was asked.
    pub(crate) limits: OnceCell<Limits>,
    /// Every task of every producer.
    pub(crate) tasks: TaskTracker,
    /// Asks every task to finish what it has and to end.
    pub(crate) closing: CancellationToken,
    /// Lives of named producers.
    pub(crate) lives: Lives,
}

/// With less patience than this left, a call is not made again.
const LAST_TRY: Duration = Duration::from_millis(20);

/// Whether a call may be made again when it is not known what became of the last try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It changes nothing: as often as it takes.
    Harmless,
    /// The broker knows it again and does it once: as often as it takes.
    KnownAgain,
    /// Only after a try that certainly changed nothing.
    AfterNoEffect,
}

impl Client {
    /// A client for the broker at this URL, such as `http://127.0.0.1:7600`. Connects nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`] if `url` is not the URL of a broker.
    pub fn connect(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder().url(url).build()
    }

    /// A client for the broker that the environment names: `TOWPATH_URL`, by default
    /// `http://127.0.0.1:7600`, and `TOWPATH_SOURCE` for [`ClientBuilder::source`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`] if `TOWPATH_URL` is not the URL of a broker.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().from_env().build()
    }

    /// Starts to set up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Starts to set up a producer for a topic.
    pub fn producer(&self, topic: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.inner), topic.into())
    }

    /// Starts to set up a reader of one or more topics.
    pub fn reader<S: Into<Source>>(&self, sources: impl IntoIterator<Item = S>) -> ReaderBuilder {
        let sources = sources.into_iter().map(Into::into).collect();
        ReaderBuilder::new(Arc::clone(&self.inner), sources)
    }

    /// Starts to set up a consumer of a group.
    pub fn group(&self, name: impl Into<String>) -> GroupConsumerBuilder {
        GroupConsumerBuilder::new(Arc::clone(&self.inner), name.into())
    }

    /// Starts to set up a consumer of a durable subscription.
    pub fn subscriber(&self, subscription: impl Into<String>) -> SubscriberBuilder {
        SubscriberBuilder::new(Arc::clone(&self.inner), subscription.into())
    }

    /// Starts to put together what is to happen at once: records that are written, deliveries that are
    /// settled, offsets that are committed.
    pub fn commit(&self) -> Commit {
        Commit::new(Arc::clone(&self.inner))
    }

    /// Starts to schedule a record: it is written to the topic when it is due.
    pub fn schedule(&self, topic: impl Into<String>, record: impl Into<Record>) -> ScheduleCall {
        ScheduleCall::new(Arc::clone(&self.inner), topic.into(), record.into())
    }

    /// Topics, groups, subscriptions, offsets and the broker itself.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.inner), self.inner.give_up_after)
    }

    /// The URL of the broker.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Closes every producer of this client as [`Producer::close`](crate::Producer::close) does
    /// and returns when all of them have ended; their receipts tell what became of the records.
    /// Readers, consumers and calls are not affected.
    ///
    /// Dropping the future leaves the producers closing.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner
    }
}

impl Shared {
    /// Makes a call on the connection for short calls, again and again until it succeeds, cannot
    /// succeed or `patience` has run out.
    pub(crate) async fn call<T, F>(
        &self,
        patience: Duration,
        repetition: Repetition,
        mut call: impl FnMut(Channel) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = later(Instant::now(), patience);
        let mut backoff = Backoff::new();
        let mut last_error = None;
        let mut is_in_doubt = false;
        loop {
            let recovery = self.outage.recovery();
            let Ok(outcome) = timeout_at(deadline, call(self.transport.control())).await else {
                // What an earlier try was answered with says nothing about the one that is under way.
                let error = last_error.unwrap_or_else(|| self.timed_out(patience, repetition));
                return Err(match repetition {
                    Repetition::Harmless => error,
                    Repetition::KnownAgain | Repetition::AfterNoEffect => error.in_doubt(),
                });
            };
            let error = match outcome {
                Ok(response) => {
                    self.outage.end(&self.url);
                    return Ok(response.into_inner());
                }
                Err(status) => self.error_of(status),
            };
            let is_repeatable = match repetition {
                Repetition::Harmless | Repetition::KnownAgain => {
                    error.retry_advice() == RetryAdvice::Same
                }
                Repetition::AfterNoEffect => error.is_worth_repeating(),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // Towards the end the waits become shorter again, so that the patience is used up.
            let wait = error.retry_after();
            let wait = wait.unwrap_or_else(|| backoff.next_wait().min(left / 2));
            is_in_doubt |= repetition == Repetition::KnownAgain && error.may_have_happened();
            if !is_repeatable || left < LAST_TRY || left <= wait {
                // An earlier try may have taken effect, unless this one would have been answered alike.
                let says_so = error.reason().is_some() && !is_repeatable;
                return Err(match is_in_doubt && !says_so {
                    true => error.in_doubt(),
                    false => error,
                });
            }
            if recovery.pause(Some(&error), wait).await == PauseEnd::BrokerBack {
                backoff.reset();
            }
            last_error = Some(error);
        }
    }

    /// What the broker accepts, as it said when it was asked first.
    pub(crate) async fn limits(self: &Arc<Self>, patience: Duration) -> Result<&Limits, Error> {
        let ask = || async {
            let admin = Admin::new(Arc::clone(self), patience);
            Ok(admin.server_info().await?.limits)
        };
        self.limits.get_or_try_init(ask).await
    }

    /// Takes over a status; one that says that the broker is out of reach is also logged, once.
    pub(crate) fn error_of(&self, status: Status) -> Error {
        let error = Error::from_status(status);
        match error.kind() {
            ErrorKind::Connect | ErrorKind::Unavailable => {
                let error = error.with("url", &self.url);
                self.outage.begin(&self.url, &error);
                error
            }
            _ => error,
        }
    }

    /// A stream was silent for longer than a broker ever is; also logged, once.
    pub(crate) fn silence(&self) -> Error {
        let text = "the broker has not been heard of for too long";
        let error = Error::timeout(Effects::None, text).with("url", &self.url);
        self.outage.begin(&self.url, &error);
        error
    }

    /// No answer came in time; the outage, if there is one, tells why.
    pub(crate) fn timed_out(&self, patience: Duration, repetition: Repetition) -> Error {
        let effects = match repetition {
            Repetition::Harmless => Effects::None,
            Repetition::KnownAgain | Repetition::AfterNoEffect => Effects::Possible,
        };
        let error = Error::timeout(effects, "the broker did not answer in time")
            .with("url", &self.url)
            .with("waited", format_args!("{patience:?}"));
        match self.outage.cause() {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}
