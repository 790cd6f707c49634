//! Writing records: acknowledged means on disk, and a retry makes no duplicate.
//!
//! `partition` and `lane` are pure state machines that hold all rules about batches, sequences and
//! doubt; `driver` keeps a stream for each lane; `topic` places records and counts their bytes.

mod admission;
mod batch;
mod builder;
mod compression;
mod driver;
mod effects;
mod lane;
mod life;
mod partition;
mod receipt;
mod requests;
mod room;
mod shared_lane;
mod spread;
mod topic;
mod unwritten;

use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::client::{Repetition, Shared};
use crate::error::Effects;
use crate::shutdown::ShutdownHandle;
use crate::time::later;
use crate::{Admin, Error, Position, Record, SendError};
use builder::ProducerOptions;
use life::Life;
use room::{closed, no_room};
use topic::{Lifetime, OpenTopic, Placed};

pub use builder::ProducerBuilder;
pub use compression::{Compression, ParseCompressionError};
pub(crate) use life::Lives;
pub use receipt::Receipt;

/// Writes records to one topic. Cheap to clone; all clones are one producer.
///
/// Records of one key go to one partition and keep the order in which they were given, whatever
/// breaks on the way. A record without a key goes wherever a batch is being filled.
///
/// A batch is sent at once while nothing of its partition is under way; what comes meanwhile is the
/// next batch. So a single record does not wait, and many make large batches by themselves.
///
/// # When the outcome is unknown
///
/// After [`ProducerBuilder::give_up_after`] a record fails. If it was never sent, or if the broker
/// said that it took nothing, it is gone and [`Error::has_no_side_effects`] is true. If it was sent
/// and not answered, [`Error::may_have_happened`] is true, and it may even be written later: for up
/// to ten minutes the producer goes on to find out, before any later record of the partition, because
/// otherwise the order of a key could change. Later records of the partition wait for that, fail in
/// their turn as not sent, or follow in order.
///
/// A record that had waited for room and then joined others may be given up earlier than they are.
/// It cannot leave their batch any more, and so it, too, may be written later.
///
/// # A name
///
/// [`ProducerBuilder::name`] makes sure that of all programs with a name only the last one writes.
///
/// # A topic that is deleted
///
/// A producer writes to the topic that it found first. When that is deleted, also when another is
/// created under its name, everything fails with
/// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound), and a new producer is needed.
///
/// The same holds when another broker answers at the URL, or the old one with a new data folder:
/// nothing is sent to it, also no batch that the first one left unanswered, since that may have been
/// written there. Such a batch fails as one that may have happened. A broker that was put back to an
/// older copy of its data is still the same one; where the copy does not know what was acknowledged
/// before, batches without an answer fail as such too, and later ones follow.
#[derive(Debug, Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// What the clones of a producer share; its end is the producer's end.
#[derive(Debug)]
struct Handle {
    client: Arc<Shared>,
    options: ProducerOptions,
    /// That of its name.
    life: Option<Arc<Life>>,
    /// Looked up when the first record comes.
    topic: OnceCell<OpenTopic>,
    lifetime: Lifetime,
}

impl Producer {
    fn new(client: Arc<Shared>, options: ProducerOptions) -> Self {
        let lifetime = Lifetime {
            tasks: TaskTracker::new(),
            closing: client.closing.child_token(),
            abort: CancellationToken::new(),
        };
        let name = options.name.as_deref();
        let handle = Handle {
            life: name.map(|name| client.lives.of(name)),
            client,
            options,
            topic: OnceCell::new(),
            lifetime,
        };
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Writes a record and returns where it is once it is on disk.
    ///
    /// Dropping the future before it was taken gives the record up; later it is written all the same.
    ///
    /// # Errors
    ///
    /// The record comes back with the reason why it was not acknowledged; see [`Producer`] for what
    /// is known of it then. An event that its topic has already, within its
    /// [dedupe window](crate::NewTopic::dedupe_window), is no error: [`Position::is_repeated`] tells. A
    /// record whose entity has a version that is not smaller fails with
    /// [`ErrorReason::StaleEntityVersion`](crate::ErrorReason::StaleEntityVersion), and with
    /// `current_version` among the [`Error::metadata`], where such records are
    /// [refused](crate::StaleRecords::Refuse).
    pub async fn send(&self, record: impl Into<Record>) -> Result<Position, SendError> {
        let record = record.into();
        let sent = self.handle.send(&record).await;
        sent.map_err(|error| SendError::new(record, error))
    }

    /// Takes a record, waiting only for room, and returns what tells when it is on disk.
    ///
    /// The first call also waits until the topic was found. Dropping the future gives the record up.
    ///
    /// # Errors
    ///
    /// The record comes back, and was not taken: it is over a limit, its topic or partition does not
    /// exist, there was no room or no broker for [`ProducerBuilder::give_up_after`], or the producer
    /// is closed.
    pub async fn enqueue(&self, record: impl Into<Record>) -> Result<Receipt, SendError> {
        let record = record.into();
        let taken = self.handle.take(&record).await;
        let receipt = taken.map(|taken| taken.placed.receipt);
        receipt.map_err(|error| SendError::new(record, error))
    }

    /// Takes a record if there is room for it at once.
    ///
    /// # Errors
    ///
    /// The record comes back, and was not taken: as [`Producer::enqueue`], and also, with
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), if there is no room, or, with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), if the topic was not looked up yet:
    /// [`Producer::ready`] does that.
    pub fn try_enqueue(&self, record: impl Into<Record>) -> Result<Receipt, SendError> {
        let record = record.into();
        let enqueued = self.handle.try_enqueue(&record);
        enqueued.map_err(|error| SendError::new(record, error))
    }

    /// Looks the topic up, unless that was done. The first record does the same.
    ///
    /// Dropping the future is safe.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound), or those of reaching the
    /// broker.
    pub async fn ready(&self) -> Result<(), Error> {
        let deadline = self.handle.deadline();
        self.handle.topic(deadline).await.map(|_topic| ())
    }

    /// Sends what was taken without waiting for more, and returns when all of it is on disk or has
    /// failed. Dropping the future is safe.
    ///
    /// # Errors
    ///
    /// One of the failures among the records that had to be waited for; receipts tell which failed.
    pub async fn flush(&self) -> Result<(), Error> {
        let Some(topic) = self.handle.topic.get() else {
            return Ok(());
        };
        topic.hurry();
        let mut result = Ok(());
        for outcome in topic.unsettled() {
            if let Err(error) = Receipt::new(outcome, 0).await {
                result = Err(error);
            }
        }
        result
    }

    /// What closes the producer from somewhere else, as [`Producer::close`] does.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle::new(self.handle.lifetime.closing.clone())
    }

    /// Takes nothing more, does what [`Producer::flush`] does and ends, for all clones. Dropping the
    /// future leaves the producer closing.
    ///
    /// # Errors
    ///
    /// As [`Producer::flush`].
    pub async fn close(&self) -> Result<(), Error> {
        let handle = &*self.handle;
        handle.lifetime.closing.cancel();
        let result = self.flush().await;
        handle.lifetime.tasks.close();
        handle.lifetime.tasks.wait().await;
        result
    }
}

/// A record that was taken.
#[derive(Debug)]
struct Taken {
    placed: Placed,
    /// When its caller gives up, if it had to wait before: that is earlier than its batch does.
    deadline: Option<Instant>,
}

impl Handle {
    async fn send(&self, record: &Record) -> Result<Position, Error> {
        let Taken { placed, deadline } = self.take(record).await?;
        match deadline {
            None => placed.receipt.await,
            Some(deadline) => self.outcome_by(deadline, placed).await,
        }
    }

    async fn outcome_by(&self, deadline: Instant, mut placed: Placed) -> Result<Position, Error> {
        if let Ok(outcome) = timeout_at(deadline, &mut placed.receipt).await {
            return outcome;
        }
        let topic = self.topic.get();
        match topic.and_then(|topic| topic.give_up(&placed)) {
            Some(error) => Err(error),
            None => placed.receipt.await,
        }
    }

    /// Takes a record. The clock is looked at only if that has to wait.
    async fn take(&self, record: &Record) -> Result<Taken, Error> {
        let mut deadline = None;
        let topic = match self.topic.get() {
            Some(topic) => topic,
            None => self.topic(*deadline.insert(self.deadline())).await?,
        };
        self.check_life()?;
        let admitted = topic.admission.admit(record)?;
        let bytes = admitted.weighed.batch_len;
        if !topic.room.try_take(bytes) {
            // Whoever waits here would wait for batches that wait for more records.
            topic.hurry();
            let deadline = *deadline.get_or_insert_with(|| self.deadline());
            let room = topic.room.take(bytes, deadline).await;
            room.map_err(|error| self.explain(error))?;
        }
        let placed = topic.push(&admitted)?;
        Ok(Taken { placed, deadline })
    }

    fn try_enqueue(&self, record: &Record) -> Result<Receipt, Error> {
        let Some(topic) = self.topic.get() else {
            let text = "the topic was not looked up yet";
            let error = Error::unavailable(Effects::None, text);
            return Err(self.explain(error));
        };
        self.check_life()?;
        let admitted = topic.admission.admit(record)?;
        if !topic.room.try_take(admitted.weighed.batch_len) {
            return Err(self.explain(no_room()));
        }
        topic.push(&admitted).map(|placed| placed.receipt)
    }

    /// When somebody who calls now gives up.
    fn deadline(&self) -> Instant {
        later(Instant::now(), self.options.give_up_after)
    }

    async fn topic(&self, deadline: Instant) -> Result<&OpenTopic, Error> {
        self.check_open()?;
        let topic = self.topic.get_or_try_init(|| self.look_up(deadline));
        // Others may be looking it up meanwhile, one after the other.
        let topic = timeout_at(deadline, topic).await;
        topic.unwrap_or_else(|_elapsed| Err(self.not_found_in_time()))
    }

    async fn look_up(&self, deadline: Instant) -> Result<OpenTopic, Error> {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(self.not_found_in_time());
        }
        let admin = Admin::new(Arc::clone(&self.client), patience);
        let topic = admin.topic(&self.options.topic);
        let (topic, server) = tokio::try_join!(topic, admin.server_info())?;
        let life = match &self.life {
            Some(life) => {
                let patience = deadline.saturating_duration_since(Instant::now());
                Some(life.begin(&self.client, patience).await?)
            }
            None => None,
        };
        self.check_open()?;
        OpenTopic::start(
            &self.client,
            &self.options,
            (&topic, &server),
            life.as_ref(),
            &self.lifetime,
        )
    }

    fn not_found_in_time(&self) -> Error {
        let patience = self.options.give_up_after;
        let error = self.client.timed_out(patience, Repetition::Harmless);
        self.explain(error)
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.lifetime.closing.is_cancelled() {
            return Err(self.explain(closed()));
        }
        Ok(())
    }

    /// What one producer of a name was told holds for all.
    fn check_life(&self) -> Result<(), Error> {
        let checked = self.life.as_ref().map_or(Ok(()), |life| life.check());
        checked.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: Error) -> Error {
        error.with("topic", &self.options.topic)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let unsettled = self.topic.get().map_or(0, |topic| topic.unsettled().len());
        if unsettled > 0 {
            error!(
                topic = self.options.topic,
                batches = unsettled,
                "producer dropped before its records were acknowledged; close it first"
            );
        }
        self.lifetime.abort.cancel();
    }
}
