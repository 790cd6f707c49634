//! The beginning of a Receive stream.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use towpath_proto::names::SubscriptionName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;
use towpath_proto::wire::ReceiveResponse;
use towpath_storage::OffsetRange;

use super::listener::Listener;
use super::news::NewsSink;
use super::place::Topics;
use super::settle::Results;
use super::teller::Teller;
use super::{Shared, status, subscription_name, unreadable};
use crate::core::{Connect, ConsumerId, Credit, SessionId, SubscriptionConfig, SubscriptionId};
use crate::memory::Unread;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::{Connected, SubscriptionCommand, SubscriptionSink};
use crate::server::Messages;

/// How long a stream may take to say which subscription it is for.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// Longest name of a client.
const CLIENT_NAME_BYTES_MAX: usize = 200;

/// What both halves of a consumer's stream know.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) subscription: SubscriptionId,
    pub(super) name: SubscriptionName,
    pub(super) consumer: ConsumerId,
    pub(super) session: SessionId,
    pub(super) topics: Topics,
    pub(super) config: SubscriptionConfig,
    /// Set when nobody listens to the response stream any more.
    pub(super) closed: CancellationToken,
    /// Requests to settle that were not answered, oldest first.
    settling: Mutex<VecDeque<Results>>,
    /// Told when one was answered.
    answered: Notify,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Results>> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request that is on its way. Returns what can be told at once, if it is complete already.
    pub(super) fn push_settling(&self, results: Results) {
        self.lock().push_back(results);
    }

    /// Takes the answer to a command, or none, and returns the results of the oldest request if that is
    /// complete.
    pub(super) fn pop_settled(
        &self,
        answer: Option<Vec<Vec<OffsetRange>>>,
    ) -> Option<Vec<v1::SettleResult>> {
        let mut settling = self.lock();
        if let Some(answer) = answer {
            let open = settling.iter_mut().find(|it| !it.is_complete());
            if let Some(open) = open {
                open.take(answer);
            }
        }
        if !settling.front()?.is_complete() {
            return None;
        }
        let complete = settling.pop_front();
        drop(settling);
        self.answered.notify_one();
        complete.map(Results::told)
    }

    /// Waits until fewer requests than this were not answered. Safe to drop.
    pub(super) async fn has_answered(&self, below: usize) {
        while self.lock().len() >= below {
            self.answered.notified().await;
        }
    }
}

/// Takes a consumer in, and makes its stream.
pub(super) async fn receive(
    shared: &Arc<Shared>,
    mut requests: Streaming<v1::ReceiveRequest>,
    memory: &Arc<Unread>,
) -> Result<Messages<ReceiveResponse>, Status> {
    shared.refuse_when_draining()?;
    let first = timeout(OPEN_PATIENCE, requests.message()).await;
    let first =
        first.map_err(|_elapsed| Problem::invalid_field("request", "nothing was opened"))?;
    let first = first.map_err(unreadable::described)?;
    let Some(Request::Open(open)) = first.and_then(|first| first.request) else {
        let message = "the first request must open a subscription";
        return Err(Problem::invalid_field("request", message).into());
    };
    let consumer = <[u8; 16]>::try_from(open.consumer_id.as_ref());
    let consumer = consumer.map_err(|_length| {
        Problem::invalid_field("open.consumer_id", "a consumer id has 16 bytes")
    })?;
    if open.client_name.len() > CLIENT_NAME_BYTES_MAX {
        let message = format!("a client name has at most {CLIENT_NAME_BYTES_MAX} bytes");
        return Err(Problem::invalid_field("open.client_name", message).into());
    }
    let name = subscription_name("open.subscription", &open.subscription)?;
    let wish = Connect {
        consumer: ConsumerId::new(consumer),
        session: next_session(shared),
        client_name: open.client_name,
        credit: Credit::default(),
        reports_start: open.reports_start,
        refuses_to_wait: open.refuse_to_wait,
    };
    let id = (open.subscription_id != 0).then(|| SubscriptionId::new(open.subscription_id));
    let (news_in, news) = mpsc::unbounded_channel();
    let sink: Arc<dyn SubscriptionSink> = Arc::new(NewsSink::new(news_in.clone()));
    let seat = Arc::new(connect(shared, name, id, wish, &sink).await?);
    let listener = Listener::new(
        Arc::clone(shared),
        Arc::clone(&seat),
        sink,
        news_in,
        Arc::clone(memory),
    );
    shared.drain.tasks().spawn(listener.run(requests));
    let teller = Teller::new(Arc::clone(shared), seat, news, Arc::clone(memory));
    Ok(Box::pin(stream::unfold(
        Box::new(teller),
        |mut teller| async move {
            let response = teller.next().await?;
            Some((response.map(Into::into), teller))
        },
    )))
}

/// The number of another connection.
pub(super) fn next_session(shared: &Shared) -> SessionId {
    SessionId(shared.session.fetch_add(1, Ordering::Relaxed))
}

/// Has the subscription take a consumer in.
pub(super) async fn connect(
    shared: &Shared,
    name: SubscriptionName,
    id: Option<SubscriptionId>,
    wish: Connect,
    sink: &Arc<dyn SubscriptionSink>,
) -> Result<Seat, Problem> {
    let (consumer, session) = (wish.consumer, wish.session);
    let mut arrival = Arrival {
        shared,
        name: &name,
        consumer,
        session,
        is_over: false,
    };
    let connected = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::Connect {
            name: name.clone(),
            id,
            wish: Box::new(wish),
            sink: Arc::clone(sink),
            answer,
        })
    });
    let connected = connected.await;
    let Connected {
        subscription,
        topic,
        dead_letter_topic,
        config,
    } = connected.map_err(|error| {
        status::command_failed(error, |refusal| status::connect_refused(refusal, &name))
    })?;
    let topic = shared.published().topics().with_id(topic).map(Arc::clone);
    let topics = Topics {
        source: topic.ok_or_else(|| status::subscription_deleted(&name))?,
        dead_letters: dead_letter_topic,
    };
    arrival.is_over = true;
    drop(arrival);
    Ok(Seat {
        subscription,
        topics,
        name,
        consumer,
        session,
        config,
        closed: CancellationToken::new(),
        settling: Mutex::default(),
        answered: Notify::new(),
    })
}

/// A call that has asked to let a consumer in. If it is given up before it can go on, nobody else would say
/// that the consumer is not there.
struct Arrival<'a> {
    shared: &'a Shared,
    name: &'a SubscriptionName,
    consumer: ConsumerId,
    session: SessionId,
    is_over: bool,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let command = ControlCommand::Subscription(SubscriptionCommand::Abandon {
            name: self.name.clone(),
            consumer: self.consumer,
            session: self.session,
        });
        // A broker that stops forgets its consumers.
        drop(self.shared.commands.push_control(command));
    }
}
