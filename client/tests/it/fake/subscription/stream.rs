//! One consumer's stream.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request as Step;
use towpath_proto::wire;
use towpath_proto::wire::receive_response::Response as Message;

use super::deliver;
use super::state::OnSettle;
use crate::fake::{OnFetch, Shared};

pub(super) struct ReceiveStream {
    shared: Arc<Shared>,
    name: String,
    consumer: Vec<u8>,
    /// Which of the streams of this consumer it is.
    number: usize,
    requests: Streaming<v1::ReceiveRequest>,
    messages: mpsc::Sender<Result<wire::ReceiveResponse, Status>>,
    credit: i64,
    has_drained: bool,
    has_stopped: bool,
}

/// The client is gone, or is to hear nothing more.
struct Over;

impl ReceiveStream {
    pub(super) fn open(
        shared: Arc<Shared>,
        open: v1::OpenReceive,
        requests: Streaming<v1::ReceiveRequest>,
        messages: mpsc::Sender<Result<wire::ReceiveResponse, Status>>,
    ) -> Result<Self, Problem> {
        let mut state = shared.state();
        if let Some(reason) = state.refuse_opening {
            return Err(Problem::new(reason, "not now"));
        }
        let name = open.subscription;
        let found = state.subscriptions.get_mut(&name);
        let found =
            found.filter(|it| [0, it.shown.subscription_id].contains(&open.subscription_id));
        let subscription = found.ok_or_else(|| super::not_found(&name))?;
        let consumer = open.consumer_id.to_vec();
        subscription.disconnect(&consumer);
        subscription.opened.push(consumer.clone());
        subscription.client_names.push(open.client_name);
        let number = subscription.opened.len();
        assert!(open.reports_start, "it says what it begins with");
        drop(state);
        Ok(Self {
            shared,
            name,
            consumer,
            number,
            requests,
            messages,
            credit: 0,
            has_drained: false,
            has_stopped: false,
        })
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let consumer = self.consumer.clone();
        let (name, number) = (self.name.clone(), self.number);
        let _over = self.serve().await;
        let mut state = shared.state();
        let subscription = state.subscriptions.get_mut(&name);
        if let Some(subscription) = subscription.filter(|it| it.opened.len() == number) {
            subscription.disconnect(&consumer);
        }
        drop(state);
        shared.changed();
    }

    async fn serve(&mut self) -> Result<(), Over> {
        let mut version = self.shared.version.subscribe();
        let mut draining = self.shared.is_draining.subscribe();
        let mut holding = self.shared.is_holding.subscribe();
        self.send(self.opened()?).await?;
        loop {
            version.mark_unchanged();
            self.pass_time().await?;
            let is_draining = *draining.borrow_and_update();
            if is_draining && !std::mem::replace(&mut self.has_drained, true) {
                self.send(Message::Draining(v1::Draining::default()))
                    .await?;
            }
            while !is_draining && let Some(delivered) = self.next_delivery() {
                self.send_records(delivered).await?;
            }
            while self.credit > 0
                && let Some(told) = self.with(|it| it.caught_up.pop_front())?
            {
                self.send(Message::CaughtUp(told)).await?;
            }
            let is_holding = *holding.borrow_and_update();
            let next_time = self.next_time();
            tokio::select! {
                request = self.requests.message(), if !is_holding => {
                    let request = request.map_err(|_broken| Over)?;
                    let step = request.and_then(|it| it.request).ok_or(Over)?;
                    self.take(step).await?;
                }
                _ = version.changed() => {}
                _ = draining.changed() => {}
                _ = holding.changed() => {}
                () = until(next_time) => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    self.send(Message::Heartbeat(v1::Heartbeat::default())).await?;
                }
            }
        }
    }

    fn opened(&self) -> Result<Message, Over> {
        let state = self.shared.state();
        let subscription = state.subscriptions.get(&self.name).ok_or(Over)?;
        let shown = &subscription.shown;
        Ok(Message::Opened(v1::ReceiveOpened {
            subscription_id: shown.subscription_id,
            topic: shown.topic.clone(),
            topic_id: shown.topic_id,
            partition_count: 1,
            mode: subscription.mode().into(),
            ack_deadline_ms: u64::try_from(subscription.ack_deadline().as_millis()).unwrap(),
            heartbeat_interval_ms: 5_000,
            session_timeout_ms: 15_000,
            dead_letter_topic: String::new(),
            broker_id: state.broker_id(),
        }))
    }

    /// Takes a step of the consumer.
    async fn take(&mut self, step: Step) -> Result<(), Over> {
        match step {
            Step::Credit(_) if self.has_stopped => {}
            Step::Credit(credit) => self.credit += i64::try_from(credit.records).unwrap(),
            Step::Settle(settle) => return self.settle(settle).await,
            Step::Heartbeat(_) => self.with(|it| it.heartbeat_count += 1)?,
            Step::Leave(_) => {
                let consumer = self.consumer.clone();
                self.with(|it| {
                    it.left_count += 1;
                    it.leave(&consumer);
                })?;
                return Err(Over);
            }
            Step::Stop(_) => {
                self.credit = 0;
                self.has_stopped = true;
                let consumer = self.consumer.clone();
                self.with(|it| it.disconnect(&consumer))?;
                self.shared.changed();
            }
            Step::Open(_) => return Err(Over),
        }
        Ok(())
    }

    async fn settle(&mut self, settle: v1::SettleDeliveries) -> Result<(), Over> {
        let has_outcome = settle.settlements.iter().any(|it| {
            use v1::settlement::Outcome::{Extend, Start};
            !matches!(it.outcome, Some(Start(_) | Extend(_)))
        });
        let on_settle = self.with(|it| it.on_settle.pop_front_if(|_| has_outcome))?;
        let on_settle = on_settle.unwrap_or(OnSettle::Answer);
        let mut results = Vec::new();
        if !matches!(on_settle, OnSettle::Cut) {
            let settlements = settle.settlements.iter();
            results = self.with(|it| settlements.map(|one| it.settle(one)).collect())?;
        }
        if !matches!(on_settle, OnSettle::Answer) {
            self.shared.cut();
            return Err(Over);
        }
        self.tell_lost().await?;
        self.shared.changed();
        self.send(Message::Settled(v1::Settled { results })).await
    }

    async fn pass_time(&mut self) -> Result<(), Over> {
        self.with(|it| it.pass_time(Instant::now()))?;
        self.tell_lost().await
    }

    async fn tell_lost(&mut self) -> Result<(), Over> {
        let consumer = self.consumer.clone();
        let lost: Vec<_> = self.with(|it| {
            let own = it.lost.extract_if(.., |(it, _)| *it == consumer);
            own.map(|(_, place)| place).collect()
        })?;
        for (partition, start) in lost {
            let ranges = vec![v1::OffsetRange {
                start,
                end: start + 1,
            }];
            let lost = v1::DeliveryLost {
                partition,
                ranges,
                is_dead_letter: false,
            };
            self.send(Message::Lost(lost)).await?;
        }
        Ok(())
    }

    fn next_time(&self) -> Option<Instant> {
        let state = self.shared.state();
        let subscription = state.subscriptions.get(&self.name)?;
        subscription.next_time()
    }

    fn next_delivery(&mut self) -> Option<wire::Delivered> {
        let mut state = self.shared.state();
        let next = deliver::next(&mut state, &self.name, &self.consumer, self.credit)?;
        self.credit -= i64::try_from(next.spans.len()).unwrap();
        Some(next)
    }

    async fn send_records(&self, delivered: wire::Delivered) -> Result<(), Over> {
        let on_fetch = self.shared.state().on_fetch.pop_front();
        match on_fetch.unwrap_or(OnFetch::Send) {
            OnFetch::Send => self.send(Message::Delivered(delivered)).await,
            OnFetch::Cut => {
                self.shared.cut();
                Err(Over)
            }
            OnFetch::FallSilent => pending().await,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut super::FakeSubscription) -> T) -> Result<T, Over> {
        let mut state = self.shared.state();
        let subscription = state.subscriptions.get_mut(&self.name);
        subscription.map(change).ok_or(Over)
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sent = self.messages.send(Ok(message.into())).await;
        sent.map_err(|_gone| Over)
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
