//! The sending half of a Receive stream: reads what the consumer is to have, and tells it what is decided.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tonic::Status;
use towpath_proto::v1;
use towpath_proto::wire::ReceiveResponse;
use towpath_proto::wire::receive_response::Response;
use towpath_storage::{Lsn, OffsetRange};

use super::news::News;
use super::place::Place;
use super::receive::Seat;
use super::records::{Sending, Sent};
use super::{Shared, convert, status};
use crate::api::fetch::events;
use crate::api::group::HEARTBEATS_PER_SESSION;
use crate::core::{DeliveryOutcome, Settlement, SubscriptionEvent};
use crate::memory::Unread;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::{SubscriptionCommand, SubscriptionSink};

/// Tells one consumer.
#[derive(Debug)]
pub(super) struct Teller {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    news: mpsc::UnboundedReceiver<News>,
    memory: Arc<Unread>,
    /// What is to be told, in the order in which it was decided: a consumer has heard of records before it
    /// hears that it lost them, or that what took them from it is settled.
    queue: VecDeque<Queued>,
    /// How the stream ends, when everything that waits was told.
    end: Option<Result<(), Status>>,
    is_draining: bool,
    /// Set while the broker stops: when the stream ends.
    closing: Option<Pin<Box<Sleep>>>,
    /// When it says that it is alive, unless something else is told before.
    beat_at: Instant,
    /// Bytes of records that were told since the connection was given something.
    told_bytes: usize,
}

/// Something that is to be told.
#[derive(Debug)]
enum Queued {
    /// A message.
    Response(Response),
    /// A delivery that was not sent to its end.
    Records(Sending),
}

enum Step {
    News(Option<News>),
    Silence,
    Draining,
    Closed,
}

impl Teller {
    pub(super) fn new(
        shared: Arc<Shared>,
        seat: Arc<Seat>,
        news: mpsc::UnboundedReceiver<News>,
        memory: Arc<Unread>,
    ) -> Self {
        let opened = Response::Opened(opened(&shared, &seat));
        let beat_at = Instant::now() + shared.heartbeat_interval;
        Self {
            shared,
            seat,
            news,
            memory,
            queue: VecDeque::from([Queued::Response(opened)]),
            end: None,
            is_draining: false,
            closing: None,
            beat_at,
            told_bytes: events::CHUNK_BYTES,
        }
    }

    /// The next message; none after the last.
    pub(super) async fn next(&mut self) -> Option<Result<ReceiveResponse, Status>> {
        loop {
            while let Ok(news) = self.news.try_recv() {
                self.take_news(news);
            }
            let is_response = |it: &mut Queued| matches!(it, Queued::Response(_));
            if let Some(Queued::Response(response)) = self.queue.pop_front_if(is_response) {
                return Some(Ok(self.told(response)));
            }
            match self.end.take() {
                Some(Ok(())) => return None,
                Some(Err(status)) => {
                    self.end = Some(Ok(()));
                    return Some(Err(status));
                }
                None => {}
            }
            if self.told_bytes >= events::CHUNK_BYTES {
                self.told_bytes = 0;
                events::end_turn().await;
            }
            if let Some(response) = self.send().await {
                return Some(Ok(self.told(response)));
            }
            if !self.queue.is_empty() || self.end.is_some() {
                continue;
            }
            match self.step().await {
                Step::News(Some(news)) => self.take_news(news),
                Step::News(None) => self.end = Some(Ok(())),
                Step::Silence => self.beat(),
                Step::Draining => self.drain(),
                Step::Closed => self.end = Some(Err(status::shutting_down().into())),
            }
        }
    }

    fn told(&mut self, response: Response) -> ReceiveResponse {
        self.beat_at = Instant::now() + self.shared.heartbeat_interval;
        response.into()
    }

    async fn step(&mut self) -> Step {
        if let Some(closing) = &mut self.closing {
            return tokio::select! {
                biased;
                news = self.news.recv() => Step::News(news),
                () = closing => Step::Closed,
            };
        }
        let drain = self.shared.drain.begun();
        tokio::select! {
            biased;
            news = timeout_at(self.beat_at, self.news.recv()) => match news {
                Ok(news) => Step::News(news),
                Err(_elapsed) => Step::Silence,
            },
            () = drain, if !self.is_draining => Step::Draining,
        }
    }

    /// Reads the next records that are to be sent.
    async fn send(&mut self) -> Option<Response> {
        let Some(Queued::Records(sending)) = self.queue.front_mut() else {
            return None;
        };
        self.memory.begin_turn().await;
        let read = {
            let _reading = self.memory.reading();
            sending.next(&self.shared.reading).await
        };
        match read {
            Ok(Sent::Records(records)) => {
                self.told_bytes += records.batch.len();
                let delivered = sending.delivered(records, self.seat.topics.partition_count());
                return Some(Response::Delivered(delivered));
            }
            Ok(Sent::Gone(range)) => {
                let (number, partition) = (sending.number(), sending.partition());
                self.pass_over(number, partition, range);
            }
            Ok(Sent::All) => drop(self.queue.pop_front()),
            Err(failure) => {
                let number = sending.partition();
                let place = self.place_of(number);
                let topic = self.seat.topics.topic_of(&self.shared, place);
                let topic = topic.unwrap_or_else(|| Arc::clone(&self.seat.topics.source));
                let problem = status::read_failed(&failure, topic.name(), place.partition);
                self.drop_records();
                self.end = Some(Err(problem.into()));
            }
        }
        None
    }

    /// Settles records that are gone: nobody can ever have them.
    fn pass_over(&self, delivery: u64, partition: u32, range: OffsetRange) {
        tracing::warn!(
            subscription = %self.seat.name,
            partition,
            %range,
            "records were gone before they were delivered"
        );
        let settlement = Settlement {
            delivery,
            partition,
            ranges: vec![range],
            outcome: DeliveryOutcome::Ack,
        };
        let command = ControlCommand::Subscription(SubscriptionCommand::Settle {
            subscription: self.seat.subscription,
            settlements: vec![settlement],
            sink: Arc::new(Nobody),
        });
        // A broker that stops forgets the lease, and finds them gone again.
        drop(self.shared.commands.push_control(command));
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Event(SubscriptionEvent::Delivered(delivery)) => {
                match self.seat.topics.log_of(&self.shared, delivery.partition) {
                    Some(log) => self
                        .queue
                        .push_back(Queued::Records(Sending::new(delivery, log))),
                    // Its topic was deleted.
                    None => {
                        for span in delivery.spans {
                            self.pass_over(delivery.number, delivery.partition, span.range);
                        }
                    }
                }
            }
            News::Event(SubscriptionEvent::Lost { partition, ranges }) => {
                let place = self.place_of(partition);
                self.tell(Response::Lost(v1::DeliveryLost {
                    partition: place.partition,
                    ranges: ranges.into_iter().map(convert::range).collect(),
                    is_dead_letter: place.is_dead_letter,
                }));
            }
            News::Event(SubscriptionEvent::Skipped(skipped)) => {
                self.tell(Response::Gap(v1::DeliveryGap {
                    partition: skipped.partition,
                    range: Some(convert::range(skipped.range)),
                    records: skipped.count,
                    reason: v1::GapReason::Trimmed.into(),
                }));
            }
            News::CaughtUp(latest) => {
                let told = latest.take().map(|(it, lsn)| convert::caught_up(&it, lsn));
                told.into_iter()
                    .for_each(|told| self.tell(Response::CaughtUp(told)));
            }
            // The sink makes news of its own of these.
            News::Event(SubscriptionEvent::CaughtUp(_)) => {}
            News::Event(SubscriptionEvent::Replaced) => {
                self.drop_records();
                self.end = Some(Err(status::consumer_replaced().into()));
            }
            News::Event(SubscriptionEvent::Deleted) => {
                self.drop_records();
                self.end = Some(Err(status::subscription_deleted(&self.seat.name).into()));
            }
            News::Settled(Ok(expired)) => {
                let answer = (!expired.is_empty()).then_some(expired);
                let mut settled = self.seat.pop_settled(answer);
                while let Some(results) = settled {
                    self.tell(Response::Settled(v1::Settled { results }));
                    settled = self.seat.pop_settled(None);
                }
            }
            News::Settled(Err(error)) => {
                let problem = status::command_failed(error, |never| match never {});
                self.end = Some(Err(problem.into()));
            }
            News::Over(end) => {
                self.drop_records();
                self.end = Some(end.map_err(|status| *status));
            }
        }
    }

    fn place_of(&self, number: u32) -> Place {
        Place::of_number(number, self.seat.topics.partition_count())
    }

    fn tell(&mut self, response: Response) {
        self.queue.push_back(Queued::Response(response));
    }

    fn drop_records(&mut self) {
        self.queue.retain(|it| matches!(it, Queued::Response(_)));
    }

    fn drain(&mut self) {
        let notice = self.shared.drain.notice();
        self.is_draining = true;
        self.closing = Some(Box::pin(sleep(notice)));
        self.tell(Response::Draining(v1::Draining {
            close_after_ms: millis(notice),
        }));
    }

    fn beat(&mut self) {
        self.tell(Response::Heartbeat(v1::Heartbeat {
            lsn: self.shared.published().durable().get(),
            broker_time_ms: self.shared.broker_time_ms(),
        }));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.seat.closed.cancel();
    }
}

/// Takes answers that nobody waits for.
#[derive(Debug)]
struct Nobody;

impl SubscriptionSink for Nobody {
    fn tell(&self, _event: SubscriptionEvent, _lsn: Lsn) {}

    fn answer(
        &self,
        _expired: Result<
            Vec<Vec<OffsetRange>>,
            crate::runtime::command::CommandError<std::convert::Infallible>,
        >,
    ) {
    }
}

fn opened(shared: &Shared, seat: &Seat) -> v1::ReceiveOpened {
    v1::ReceiveOpened {
        subscription_id: seat.subscription.get(),
        topic: seat.topics.source.name().to_string(),
        topic_id: seat.topics.source.id().get(),
        partition_count: seat.topics.partition_count(),
        mode: convert::mode(seat.config.mode).into(),
        ack_deadline_ms: seat.config.ack_deadline_ms,
        heartbeat_interval_ms: millis(shared.session_timeout / HEARTBEATS_PER_SESSION),
        session_timeout_ms: millis(shared.session_timeout),
        broker_id: shared.identity.broker_id.to_string(),
        dead_letter_topic: seat.topics.dead_letter_topic(shared),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
