//! The task behind a lane: keeps a stream while there is work, hears the answers, watches the clock.
//!
//! It decides nothing about records: it tells the lane what happened and carries out what the lane
//! wants.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use towpath_proto::ids::TopicId;
use towpath_proto::names::TopicName;
use towpath_proto::v1::ProduceResponse;
use tracing::debug;

use super::compression::Compression;
use super::lane::{Lane, Verdict};
use super::requests::Requests;
use super::shared_lane::SharedLane;
use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::Effects;
use crate::outage::PauseEnd;
use crate::{Error, ErrorKind};

/// How long the broker has to end a stream that this side has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Drives one lane until it is closed and has nothing left, or is aborted.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) client: Arc<Shared>,
    pub(super) lane: Arc<SharedLane>,
    /// Which of the client's data connections the lane uses.
    pub(super) connection: u32,
    pub(super) topic: TopicName,
    pub(super) topic_id: TopicId,
    /// The only broker that is written to: another one's topics have the same ids.
    pub(super) broker_id: Arc<str>,
    pub(super) compression: Compression,
    /// The producer takes nothing more and ends when everything has its outcome.
    pub(super) closing: CancellationToken,
    /// The producer is gone: end at once.
    pub(super) abort: CancellationToken,
}

/// Why the driver ends.
#[derive(Debug)]
enum Ending {
    /// Everything has its outcome.
    Finished,
    /// Nobody is left to tell.
    Aborted,
}

impl Driver {
    /// Runs to the end. Dropped before that, it fails what is left.
    pub(super) async fn run(self) {
        let guard = FailOnDrop(Arc::clone(&self.lane));
        let mut attendant = Attendant {
            lane: Arc::clone(&self.lane),
            closing: self.closing.clone(),
            abort: self.abort.clone(),
            is_closing: false,
            alarm: None,
        };
        let ending = self.drive(&mut attendant).await;
        debug!(topic = %self.topic, ?ending, "producer lane ended");
        drop(guard);
    }

    async fn drive(&self, attendant: &mut Attendant) -> Ending {
        let mut backoff = Backoff::new();
        loop {
            if let Err(ending) = attendant.wait_for_work().await {
                return ending;
            }
            let recovery = self.client.outage.recovery();
            let trouble = match self.use_stream(attendant, &mut backoff).await {
                Ok(trouble) => trouble,
                Err(ending) => return ending,
            };
            let wait = trouble.as_ref().and_then(Error::retry_after);
            let wait = wait.unwrap_or_else(|| backoff.next_wait());
            let pause = recovery.pause(trouble.as_ref(), wait);
            self.lane
                .with(|lane| lane.lose_stream(trouble, Instant::now()));
            attendant.look();
            match attendant.attend(pause).await {
                Ok(PauseEnd::BrokerBack) => backoff.reset(),
                Ok(PauseEnd::Elapsed) => {}
                Err(ending) => return ending,
            }
        }
    }

    /// Opens a stream and uses it until it is of no use any more; returns why, if it is a failure.
    async fn use_stream(
        &self,
        attendant: &mut Attendant,
        backoff: &mut Backoff,
    ) -> Result<Option<Error>, Ending> {
        let mut answers = match attendant.attend(self.open()).await? {
            Ok(answers) => answers,
            Err(error) => return Ok(Some(self.judge(error))),
        };
        loop {
            let answer = match attendant.attend_stream(answers.message()).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Some(self.unanswered())),
                Err(ending) => {
                    self.finish(answers).await;
                    return Err(ending);
                }
            };
            let verdict = match answer {
                Ok(Some(answer)) => self
                    .lane
                    .with(|lane| lane.take_answer(answer, Instant::now())),
                Ok(None) => return Ok(None),
                Err(status) => return Ok(Some(self.judge(self.client.error_of(status)))),
            };
            match verdict {
                Verdict::GoOn if self.lane.with(|lane| lane.is_drained()) => {
                    self.finish(answers).await;
                    return Ok(None);
                }
                Verdict::GoOn => {}
                Verdict::Opened => {
                    backoff.reset();
                    self.client.outage.end(&self.client.url);
                }
                Verdict::Abandon(error) => return Ok(Some(error)),
                Verdict::End(error) => {
                    self.lane.with(|lane| lane.end(error.clone()));
                    return Ok(Some(error));
                }
            }
        }
    }

    async fn open(&self) -> Result<Streaming<ProduceResponse>, Error> {
        let requests = Requests {
            lane: Arc::clone(&self.lane),
            epoch: self.lane.open_stream(Instant::now()),
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            broker_id: Arc::clone(&self.broker_id),
            compression: self.compression,
        };
        let opening = self.client.transport.produce(self.connection, requests);
        opening.await.map_err(|status| self.client.error_of(status))
    }

    /// Ends a stream on which nothing is awaited any more, so that the broker sees its end.
    async fn finish(&self, mut answers: Streaming<ProduceResponse>) {
        self.lane.with(Lane::drain);
        let hear_out = async { while let Ok(Some(_)) = answers.message().await {} };
        if timeout(FAREWELL, hear_out).await.is_err() {
            debug!(topic = %self.topic, "broker did not end the stream");
        }
    }

    /// A broker that refuses the call itself refuses everything that waits for it.
    fn judge(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Rejected {
            self.lane.with(|lane| lane.fail(&error));
        }
        error
    }

    fn unanswered(&self) -> Error {
        let text = "the broker does not answer any more";
        let error = Error::timeout(Effects::Possible, text).with("url", &self.client.url);
        self.client.outage.begin(&self.client.url, &error);
        error
    }
}

/// What the driver does beside whatever it waits for.
#[derive(Debug)]
struct Attendant {
    lane: Arc<SharedLane>,
    closing: CancellationToken,
    abort: CancellationToken,
    is_closing: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Attendant {
    async fn wait_for_work(&mut self) -> Result<(), Ending> {
        while !self.lane.with(|lane| lane.has_work()) {
            let event = self.next_event().await;
            self.handle(event)?;
        }
        Ok(())
    }

    /// Waits for something and sees to the lane meanwhile.
    async fn attend<F: Future>(&mut self, future: F) -> Result<F::Output, Ending> {
        let mut future = std::pin::pin!(future);
        loop {
            self.check_finished()?;
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                event = self.next_event() => self.handle(event)?,
            }
        }
    }

    /// The same while a stream is used; none if the broker has not answered for too long.
    async fn attend_stream<F: Future>(&mut self, future: F) -> Result<Option<F::Output>, Ending> {
        let mut future = std::pin::pin!(future);
        loop {
            self.check_finished()?;
            tokio::select! {
                biased;
                output = &mut future => return Ok(Some(output)),
                event = self.next_event() => self.handle(event)?,
            }
            if self.lane.with(|lane| lane.is_unanswered(Instant::now())) {
                return Ok(None);
            }
        }
    }

    /// Waits for a call, the alarm, or the end. Dropping the future loses nothing.
    async fn next_event(&mut self) -> Event {
        let alarm = async {
            match &mut self.alarm {
                Some(alarm) => alarm.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.abort.cancelled() => Event::Abort,
            () = self.closing.cancelled(), if !self.is_closing => Event::Close,
            () = self.lane.called() => Event::Look,
            () = alarm => Event::Look,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Ending> {
        match event {
            Event::Abort => return Err(Ending::Aborted),
            Event::Close => {
                self.is_closing = true;
                let end = Error::closed(Effects::None, "the producer is closed");
                self.lane.with(|lane| lane.close(end, Instant::now()));
            }
            Event::Look => {}
        }
        self.look();
        self.check_finished()
    }

    fn check_finished(&self) -> Result<(), Ending> {
        if self.is_closing && self.lane.with(|lane| lane.unsettled().is_empty()) {
            Err(Ending::Finished)
        } else {
            Ok(())
        }
    }

    /// Lets the lane see to what is due and sets the alarm to what is due next.
    fn look(&mut self) {
        let next = self.lane.with(|lane| lane.tick(Instant::now()));
        match (next, &mut self.alarm) {
            (None, alarm) => *alarm = None,
            (Some(next), Some(alarm)) => alarm.as_mut().reset(next),
            (Some(next), alarm) => *alarm = Some(Box::pin(sleep_until(next))),
        }
    }
}

#[derive(Debug)]
enum Event {
    Look,
    Close,
    Abort,
}

/// No receipt waits for ever, however the driver ends.
struct FailOnDrop(Arc<SharedLane>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        let end = Error::closed(Effects::None, "the producer is closed");
        self.0.with(|lane| lane.end(end));
    }
}
