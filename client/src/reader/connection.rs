//! The stream under a reader: made, made again, given up.
//!
//! Nothing runs beside the reader's owner: everything happens while the reader is polled, and
//! stops when it is dropped.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tonic::Streaming;
use tonic::transport::Channel;
use towpath_proto::v1;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::wire::FetchResponse;

use crate::backoff::Backoff;
use crate::client::Shared;
use crate::error::Effects;
use crate::outage::{PauseEnd, Recovery};
use crate::time::later;
use crate::{Error, ErrorKind, RetryAdvice};

/// A broker that has sent nothing for this long, not even a heartbeat, is taken for lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// A Fetch stream that is made again for as long as somebody polls it.
pub(super) struct Connection {
    client: Arc<Shared>,
    /// Made when it is first needed.
    stub: Option<FetchServiceClient<Channel>>,
    give_up_after: Option<Duration>,
    backoff: Backoff,
    /// Since when nothing good was heard, and what was.
    trouble: Option<(Instant, Error)>,
    /// Looked out for since the present try began.
    recovery: Option<Recovery>,
    state: State,
}

enum State {
    Absent,
    Opening(Opening),
    Open(Box<OpenStream>),
    Waiting(Pin<Box<dyn Future<Output = PauseEnd> + Send>>),
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<FetchResponse>, Error>> + Send>>;

struct OpenStream {
    responses: Streaming<FetchResponse>,
    heard_at: Instant,
    alarm: Pin<Box<Sleep>>,
}

/// What came of polling.
#[derive(Debug)]
pub(super) enum Event {
    /// A message.
    Response(FetchResponse),
    /// The broker refuses the request as it is.
    Refused(Error),
    /// There is no hope any more.
    GivenUp(Error),
}

impl Connection {
    pub(super) fn new(client: Arc<Shared>, give_up_after: Option<Duration>) -> Self {
        Self {
            client,
            stub: None,
            give_up_after,
            backoff: Backoff::new(),
            trouble: None,
            recovery: None,
            state: State::Absent,
        }
    }

    /// Waits for the next event. `request` says what to ask a new stream for.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        mut request: impl FnMut() -> v1::FetchRequest,
    ) -> Poll<Event> {
        loop {
            match &mut self.state {
                State::Absent => self.state = State::Opening(self.open(request())),
                State::Waiting(wait) => {
                    if ready!(wait.as_mut().poll(cx)) == PauseEnd::BrokerBack {
                        self.backoff.reset();
                    }
                    self.state = State::Absent;
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(responses) => self.state = State::Open(Box::new(OpenStream::new(responses))),
                    Err(error) => {
                        if let Some(event) = self.fail(error) {
                            return Poll::Ready(event);
                        }
                    }
                },
                State::Open(stream) => match ready!(stream.poll_response(cx)) {
                    Ok(Some(response)) => return Poll::Ready(Event::Response(response)),
                    // The broker ended what is not read to the end: it stops.
                    Ok(None) => self.wait(None, None),
                    Err(failure) => {
                        let error = self.describe(failure);
                        if let Some(event) = self.fail(error) {
                            return Poll::Ready(event);
                        }
                    }
                },
            }
        }
    }

    /// The broker is well.
    pub(super) fn succeed(&mut self) {
        self.backoff.reset();
        self.trouble = None;
        self.client.outage.end(&self.client.url);
    }

    /// What came over the stream is of no use: another is made, or all is given up.
    pub(super) fn fail(&mut self, error: Error) -> Option<Event> {
        self.state = State::Absent;
        if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Internal)
            && error.retry_advice() == RetryAdvice::Never
        {
            return Some(Event::Refused(error));
        }
        let now = Instant::now();
        let wait = error.retry_after();
        let (since, _) = self.trouble.get_or_insert((now, error.clone()));
        let deadline = self.give_up_after.map(|patience| later(*since, patience));
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Event::GivenUp(error));
        }
        self.wait(Some(&error), wait);
        None
    }

    fn wait(&mut self, trouble: Option<&Error>, wait: Option<Duration>) {
        let wait = wait.unwrap_or_else(|| self.backoff.next_wait());
        let recovery = self.recovery.take();
        let recovery = recovery.unwrap_or_else(|| self.client.outage.recovery());
        self.state = State::Waiting(Box::pin(recovery.pause(trouble, wait)));
    }

    fn open(&mut self, request: v1::FetchRequest) -> Opening {
        let client = Arc::clone(&self.client);
        self.recovery = Some(client.outage.recovery());
        let stub = self.stub.get_or_insert_with(|| client.transport.fetch());
        let mut stub = stub.clone();
        Box::pin(async move {
            match timeout(SILENCE_MAX, stub.fetch(request)).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(client.error_of(status)),
                Err(_elapsed) => Err(silence(&client)),
            }
        })
    }

    fn describe(&self, failure: Failure) -> Error {
        match failure {
            Failure::Status(status) => self.client.error_of(*status),
            Failure::Silence => silence(&self.client),
        }
    }
}

enum Failure {
    Status(Box<tonic::Status>),
    Silence,
}

impl OpenStream {
    fn new(responses: Streaming<FetchResponse>) -> Self {
        let now = Instant::now();
        Self {
            responses,
            heard_at: now,
            alarm: Box::pin(sleep_until(now + SILENCE_MAX)),
        }
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<FetchResponse>, Failure>> {
        if let Poll::Ready(item) = Pin::new(&mut self.responses).poll_next(cx) {
            self.heard_at = Instant::now();
            let item = item.transpose();
            return Poll::Ready(item.map_err(|status| Failure::Status(Box::new(status))));
        }
        // The alarm is set again when it goes off, not with every message.
        while self.alarm.as_mut().poll(cx).is_ready() {
            let deadline = self.heard_at + SILENCE_MAX;
            if deadline <= Instant::now() {
                return Poll::Ready(Err(Failure::Silence));
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

fn silence(client: &Shared) -> Error {
    let text = "the broker has not been heard of for too long";
    let error = Error::timeout(Effects::None, text).with("url", &client.url);
    client.outage.begin(&client.url, &error);
    error
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Absent => "absent",
            State::Opening(_) => "opening",
            State::Open(_) => "open",
            State::Waiting(_) => "waiting",
        };
        f.debug_struct("Connection")
            .field("state", &state)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}
