//! The stream of a consumer: made, made again, kept alive by a task of its own, so that whoever handles
//! records may be as slow as it wants.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;
use towpath_proto::wire::ReceiveResponse;

use super::receiving::{Heard, Receiving};
use super::seat::Seat;
use crate::client::Shared;
use crate::perseverance::Perseverance;
use crate::time::later;
use crate::{Error, ErrorReason};

/// A broker that has sent nothing for this long, not even a heartbeat, is taken for lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Before the broker has said how often it wants to hear of its consumers.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a consumer that goes waits for the confirmation of what it said.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// Requests that wait for the connection; all others are merged where they wait.
const REQUESTS_MAX: usize = 2;

/// Keeps a consumer connected until it goes.
#[derive(Debug)]
pub(super) struct Connection {
    client: Arc<Shared>,
    seat: Arc<Seat>,
    perseverance: Perseverance,
}

/// Why a stream ended.
enum Ended {
    /// The consumer has gone.
    Left,
    /// Another one may do better; no error if the broker stops.
    Broken(Option<Error>),
    /// Another one would end like this one.
    Over(Error),
}

/// Comes to its end when a consumer that goes has waited for long enough.
type Patience<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

impl Connection {
    pub(super) fn new(
        client: Arc<Shared>,
        seat: Arc<Seat>,
        give_up_after: Option<Duration>,
    ) -> Self {
        Self {
            client,
            seat,
            perseverance: Perseverance::new(give_up_after),
        }
    }

    /// Connects again and again until the consumer goes or must.
    pub(super) async fn run(self) {
        let _end = FinishOnDrop(Arc::clone(&self.seat));
        let seat = Arc::clone(&self.seat);
        tokio::select! {
            () = self.keep_streams() => {}
            never = seat.end_drains() => match never {},
        }
    }

    async fn keep_streams(mut self) {
        let seat = Arc::clone(&self.seat);
        let patience = async {
            seat.left().await;
            sleep(LEAVE_PATIENCE).await;
        };
        let mut patience = std::pin::pin!(patience);
        let mut stub = self.client.transport.subscription();
        loop {
            let recovery = self.client.outage.recovery();
            let ended = self.keep_stream(&mut stub, patience.as_mut()).await;
            self.seat.with(Receiving::disconnect);
            let trouble = match ended {
                Ended::Left => return,
                Ended::Over(error) => return self.seat.with(|it| it.fail(error)),
                Ended::Broken(trouble) => trouble,
            };
            if let Some(error) = self.perseverance.give_up(trouble.as_ref()) {
                return self.seat.with(|it| it.fail(error));
            }
            tokio::select! {
                () = &mut patience => return,
                () = gone(&seat) => return,
                () = self.perseverance.pause(recovery, trouble.as_ref()) => {}
            }
        }
    }

    async fn keep_stream(
        &mut self,
        stub: &mut SubscriptionServiceClient<Channel>,
        mut patience: Patience<'_>,
    ) -> Ended {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        self.seat.with(Receiving::begin);
        if let Some(open) = self.seat.with(Receiving::take_request) {
            // There is room for the first.
            drop(sender.try_send(open));
        }
        let opening = timeout(SILENCE_MAX, stub.receive(ReceiverStream::new(requests)));
        let opened = tokio::select! {
            opened = opening => opened,
            () = patience.as_mut() => return Ended::Left,
            () = gone(&self.seat) => return Ended::Left,
        };
        match opened {
            Ok(Ok(responses)) => self.serve(sender, responses.into_inner(), patience).await,
            Ok(Err(status)) => self.judge(status),
            Err(_elapsed) => Ended::Broken(Some(self.client.silence())),
        }
    }

    async fn serve(
        &mut self,
        sender: mpsc::Sender<v1::ReceiveRequest>,
        mut responses: Streaming<ReceiveResponse>,
        mut patience: Patience<'_>,
    ) -> Ended {
        let mut heartbeat_interval = HEARTBEAT_INTERVAL;
        let mut heard_at = Instant::now();
        let mut said_at = heard_at;
        let ended = loop {
            let (has_request, next_time) = self.seat.look(|it| (it.has_request(), it.next_time()));
            tokio::select! {
                response = responses.message() => {
                    heard_at = Instant::now();
                    match self.hear(response, heard_at) {
                        Ok(interval) => heartbeat_interval = interval.unwrap_or(heartbeat_interval),
                        Err(ended) => break ended,
                    }
                    if self.seat.look(Receiving::is_ended) {
                        break Ended::Left;
                    }
                }
                permit = sender.reserve(), if has_request => {
                    // Without a receiver the responses tell why.
                    let Ok(permit) = permit else { continue };
                    if let Some(request) = self.seat.with(Receiving::take_request) {
                        permit.send(request);
                        said_at = Instant::now();
                    }
                }
                () = self.seat.requested() => {}
                () = until(next_time) => self.seat.with(|it| it.pass_time(Instant::now())),
                () = sleep_until(later(said_at, heartbeat_interval)) => {
                    drop(sender.try_send(heartbeat()));
                    said_at = Instant::now();
                }
                () = sleep_until(heard_at + SILENCE_MAX) => {
                    break Ended::Broken(Some(self.client.silence()));
                }
                () = patience.as_mut() => break Ended::Left,
            }
        };
        if self.seat.look(Receiving::is_open) {
            self.perseverance.reset();
        }
        ended
    }

    /// Takes a message. Returns the interval of heartbeats if it says one.
    fn hear(
        &self,
        response: Result<Option<ReceiveResponse>, tonic::Status>,
        now: Instant,
    ) -> Result<Option<Duration>, Ended> {
        let response = match response {
            Ok(Some(response)) => response.response,
            Ok(None) if self.seat.look(Receiving::has_left) => return Err(Ended::Left),
            // The broker stops.
            Ok(None) => return Err(Ended::Broken(None)),
            Err(status) => return Err(self.judge(status)),
        };
        match self.seat.with(|it| it.hear(response, now)) {
            Heard::GoOn => Ok(None),
            Heard::Opened(interval) => {
                self.client.outage.end(&self.client.url);
                Ok(Some(interval))
            }
            Heard::Broken(error) => Err(Ended::Broken(Some(error))),
            Heard::Over(error) => Err(Ended::Over(error)),
        }
    }

    fn judge(&self, status: tonic::Status) -> Ended {
        let error = self.client.error_of(status);
        // It is sent only to those who do not want to wait.
        if error.reason() == Some(ErrorReason::SubscriptionBusy) {
            return Ended::Over(error);
        }
        Ended::Broken(Some(error))
    }
}

/// However the task ends, also with its runtime, nobody waits for it any more.
struct FinishOnDrop(Arc<Seat>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.with(Receiving::finish);
    }
}

const fn heartbeat() -> v1::ReceiveRequest {
    v1::ReceiveRequest {
        request: Some(Request::Heartbeat(v1::ReceiveHeartbeat {})),
    }
}

/// Waits until the consumer goes, if it has nothing to say for which to connect.
async fn gone(seat: &Seat) {
    seat.left().await;
    if seat.look(Receiving::has_more_to_say) {
        pending::<()>().await;
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
