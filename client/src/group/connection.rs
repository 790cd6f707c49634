//! The stream of a member: made, made again, kept alive by a task of its own, so that whoever handles
//! records may be as slow as it wants.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use towpath_proto::v1;
use towpath_proto::v1::group_service_client::GroupServiceClient;
use towpath_proto::v1::join_request::Request;
use towpath_proto::wire::JoinResponse;
use towpath_proto::wire::join_response::Response;

use super::COMMIT_INTERVAL;
use super::membership::{Heard, Membership};
use super::seat::Seat;
use crate::Error;
use crate::client::Shared;
use crate::perseverance::Perseverance;
use crate::time::Alarm;

/// A broker that has sent nothing for this long, not even a heartbeat, is taken for lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Before the broker has said how often it wants to hear of its members.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// How long a member that goes waits for the answers to what it said.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// Requests that wait for the connection; all others are merged where they wait.
const REQUESTS_MAX: usize = 16;

/// Keeps a member connected until it goes.
#[derive(Debug)]
pub(super) struct Connection {
    client: Arc<Shared>,
    seat: Arc<Seat>,
    perseverance: Perseverance,
}

/// Why a stream ended.
enum Ended {
    /// The member has gone, or has failed: there will be no other one.
    Left,
    /// Another one may do better; no error if the broker stops.
    Broken(Option<Error>),
}

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

    /// Connects again and again until the member goes or must.
    pub(super) async fn run(mut self) {
        let _end = FinishOnDrop(Arc::clone(&self.seat));
        if self.seat.look(Membership::is_ended) {
            return;
        }
        let mut stub = self.client.transport.group();
        loop {
            let recovery = self.client.outage.recovery();
            let ended = self.keep_stream(&mut stub).await;
            self.seat.with(Membership::disconnect);
            let trouble = match ended {
                Ended::Left => return,
                Ended::Broken(trouble) => trouble,
            };
            if let Some(error) = self.perseverance.give_up(trouble.as_ref()) {
                return self.seat.with(|it| it.fail(error));
            }
            let seat = Arc::clone(&self.seat);
            tokio::select! {
                () = seat.left() => return,
                () = self.perseverance.pause(recovery, trouble.as_ref()) => {}
            }
        }
    }

    async fn keep_stream(&mut self, stub: &mut GroupServiceClient<Channel>) -> Ended {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        self.seat.with(Membership::begin);
        if let Some(join) = self.seat.with(Membership::take_request) {
            // There is room for the first.
            drop(sender.try_send(join));
        }
        let joining = timeout(SILENCE_MAX, stub.join(ReceiverStream::new(requests)));
        let joined = tokio::select! {
            joined = joining => joined,
            () = self.seat.left() => return Ended::Left,
        };
        match joined {
            Ok(Ok(responses)) => self.serve(sender, responses.into_inner()).await,
            Ok(Err(status)) => Ended::Broken(Some(self.client.error_of(status))),
            Err(_elapsed) => Ended::Broken(Some(self.client.silence())),
        }
    }

    async fn serve(
        &mut self,
        sender: mpsc::Sender<v1::JoinRequest>,
        mut responses: Streaming<JoinResponse>,
    ) -> Ended {
        let ended = self.talk(&sender, &mut responses).await;
        let is_well = self.seat.look(Membership::is_open);
        if is_well {
            self.perseverance.reset();
        }
        if let Ended::Broken(trouble) = &ended
            && let Some(error) = self.perseverance.give_up(trouble.as_ref())
        {
            self.seat.with(|it| it.fail(error));
        }
        if self.seat.look(Membership::is_ended) {
            leave(sender, responses).await;
            return Ended::Left;
        }
        ended
    }

    /// Says what the member has to say and hears what it is told, until there is no more of it.
    async fn talk(
        &self,
        sender: &mpsc::Sender<v1::JoinRequest>,
        responses: &mut Streaming<JoinResponse>,
    ) -> Ended {
        let mut heartbeat_interval = HEARTBEAT_INTERVAL;
        let mut heard_at = Instant::now();
        let mut said_at = heard_at;
        let mut committed_at = heard_at;
        let mut silence_alarm = Alarm::new(heard_at + SILENCE_MAX);
        let mut heartbeat_alarm = Alarm::new(said_at + heartbeat_interval);
        let mut commit_alarm = Alarm::new(committed_at + COMMIT_INTERVAL);
        let leaving = async {
            self.seat.left().await;
            tokio::time::sleep(LEAVE_PATIENCE).await;
        };
        let mut leaving = std::pin::pin!(leaving);
        loop {
            let (has_request, has_idle_commit) = self
                .seat
                .look(|it| (it.has_request(), it.has_idle_commit()));
            tokio::select! {
                // A batch does not cost a look at everything below. That has its turn soon, since records
                // come only as far as credit goes.
                biased;
                permit = sender.reserve(), if has_request && !sender.is_closed() => {
                    // Without a receiver the responses tell why.
                    let Ok(permit) = permit else { continue };
                    if let Some(request) = self.seat.with(Membership::take_request) {
                        permit.send(request);
                        said_at = Instant::now();
                    }
                }
                response = responses.message() => {
                    heard_at = Instant::now();
                    match self.hear(response) {
                        Ok(Some(interval)) => heartbeat_interval = interval,
                        Ok(None) => {}
                        Err(ended) => break ended,
                    }
                    if self.seat.look(Membership::is_ended) {
                        break Ended::Left;
                    }
                }
                () = self.seat.requested() => {}
                () = commit_alarm.reached(committed_at + COMMIT_INTERVAL), if has_idle_commit => {
                    self.seat.with(Membership::hurry);
                    committed_at = Instant::now();
                }
                () = heartbeat_alarm.reached(said_at + heartbeat_interval) => {
                    drop(sender.try_send(heartbeat()));
                    said_at = Instant::now();
                }
                () = silence_alarm.reached(heard_at + SILENCE_MAX) => {
                    break Ended::Broken(Some(self.client.silence()));
                }
                () = &mut leaving => break Ended::Left,
            }
        }
    }

    /// Takes a message. Returns the interval of heartbeats if it says one.
    fn hear(
        &self,
        response: Result<Option<JoinResponse>, tonic::Status>,
    ) -> Result<Option<Duration>, Ended> {
        let response = match response {
            Ok(Some(response)) => response.response,
            Ok(None) if self.seat.look(Membership::is_leaving) => return Err(Ended::Left),
            // The broker stops.
            Ok(None) => return Err(Ended::Broken(None)),
            Err(status) => return Err(Ended::Broken(Some(self.client.error_of(status)))),
        };
        let interval_ms = match &response {
            Some(Response::Joined(joined)) => Some(joined.heartbeat_interval_ms.max(1)),
            _ => None,
        };
        match self.seat.with(|it| it.take(response)) {
            Heard::GoOn => {}
            Heard::Joined => self.client.outage.end(&self.client.url),
            Heard::Broken(error) => return Err(Ended::Broken(Some(error))),
            Heard::Over(error) => {
                self.seat.with(|it| it.fail(error));
                return Err(Ended::Left);
            }
        }
        Ok(interval_ms.map(Duration::from_millis))
    }
}

/// Lets others have the partitions of a member that has failed at once, if the stream still takes that.
async fn leave(sender: mpsc::Sender<v1::JoinRequest>, mut responses: Streaming<JoinResponse>) {
    let leaving = async {
        let leave = v1::JoinRequest {
            request: Some(Request::Leave(v1::LeaveGroup {})),
        };
        if sender.send(leave).await.is_ok() {
            while matches!(responses.message().await, Ok(Some(_))) {}
        }
    };
    // A broker that does not answer finds out by itself.
    drop(timeout(LEAVE_PATIENCE, leaving).await);
}

/// However the task ends, also with its runtime, nobody waits for it any more.
struct FinishOnDrop(Arc<Seat>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.with(Membership::finish);
    }
}

const fn heartbeat() -> v1::JoinRequest {
    v1::JoinRequest {
        request: Some(Request::Heartbeat(v1::MemberHeartbeat {})),
    }
}
