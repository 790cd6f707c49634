//! Receiving some records with one call.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use towpath_proto::problem::Problem;
use towpath_proto::{v1, wire};

use super::news::{News, NewsSink};
use super::receive::{Seat, connect, next_session};
use super::records::{Sending, Sent};
use super::{Shared, show, status, subscription_name};
use crate::core::{Connect, ConsumerDeparture, ConsumerId, Credit, Delivery, SubscriptionEvent};
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::{SubscriptionCommand, SubscriptionSink};

/// Most records of one call.
const RECORDS_MAX: u32 = 1_000;
/// Most bytes of them, about: the answer is one message.
const BYTES_MAX: u64 = 1024 * 1024;
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Receives what there is, or waits for the first record.
pub(super) async fn pull(
    shared: &Shared,
    request: &v1::PullRequest,
) -> Result<wire::PullResponse, Problem> {
    let name = subscription_name("subscription", &request.subscription)?;
    let wait = Duration::from_millis(request.wait_ms);
    if wait > WAIT_MAX {
        let message = format!("a call waits at most {} ms", WAIT_MAX.as_millis());
        return Err(Problem::invalid_field("wait_ms", message));
    }
    if request.records_max > RECORDS_MAX {
        let message = format!("a call receives at most {RECORDS_MAX} records");
        return Err(Problem::invalid_field("records_max", message));
    }
    shared.refuse_when_draining()?;
    let session = next_session(shared);
    let wish = Connect {
        consumer: consumer_of(session.0),
        session,
        client_name: "pull".to_owned(),
        credit: Credit::new(u64::from(request.records_max.max(1)), BYTES_MAX),
        reports_start: false,
        refuses_to_wait: false,
    };
    let (news_in, mut news) = mpsc::unbounded_channel();
    let sink: Arc<dyn SubscriptionSink> = Arc::new(NewsSink::new(news_in));
    let seat = connect(shared, name, None, wish, &sink).await?;
    let mut visit = Visit {
        shared,
        seat,
        departure: ConsumerDeparture::Left,
    };
    let mut deliveries = visit.hear(&mut news, Instant::now() + wait).await?;
    visit.stop().await?;
    deliveries.extend(visit.heard(&mut news)?);
    let mut response = wire::PullResponse {
        deliveries: Vec::new(),
        ack_deadline_ms: visit.seat.config.ack_deadline_ms,
        dead_letter_topic: visit.seat.topics.dead_letter_topic(shared),
    };
    for delivery in deliveries {
        visit.read(delivery, &mut response.deliveries).await?;
    }
    // From here on the records are the caller's.
    visit.departure = ConsumerDeparture::Detached;
    Ok(response)
}

/// Nobody comes back as the consumer of a call.
fn consumer_of(session: u64) -> ConsumerId {
    let mut id = [0xff; 16];
    id[8..].copy_from_slice(&session.to_le_bytes());
    ConsumerId::new(id)
}

/// A consumer for the time of a call.
struct Visit<'a> {
    shared: &'a Shared,
    seat: Seat,
    /// How it goes. What a call that fails or is given up was to have, others get at once.
    departure: ConsumerDeparture,
}

impl Visit<'_> {
    /// Waits for the first records until `deadline`.
    async fn hear(
        &self,
        news: &mut mpsc::UnboundedReceiver<News>,
        deadline: Instant,
    ) -> Result<Vec<Delivery>, Problem> {
        // What is ready now comes after it was inspected, which takes a moment.
        let patience = deadline.max(Instant::now() + Duration::from_millis(50));
        loop {
            let next = timeout_at(patience, news.recv()).await.ok().flatten();
            match next {
                Some(News::Event(SubscriptionEvent::Delivered(delivery))) => {
                    return Ok(vec![delivery]);
                }
                Some(News::Event(SubscriptionEvent::Deleted)) => {
                    return Err(status::subscription_deleted(&self.seat.name));
                }
                // There is nothing, and nobody wants to wait for more.
                Some(News::CaughtUp(_)) if Instant::now() >= deadline => return Ok(Vec::new()),
                Some(News::CaughtUp(_) | News::Event(_) | News::Settled(_) | News::Over(_)) => {}
                None => return Ok(Vec::new()),
            }
        }
    }

    /// Has nothing more delivered. What was delivered before was heard of when this returns.
    async fn stop(&self) -> Result<(), Problem> {
        let stop = ControlCommand::Subscription(SubscriptionCommand::Stop {
            subscription: self.seat.subscription,
            consumer: self.seat.consumer,
        });
        if let Err(stop) = self.shared.commands.push_control(stop) {
            stop.fail(false);
        }
        // Commands are carried out in order, and what follows from them is told before they are answered.
        let name = self.seat.name.as_str();
        show::find(self.shared, "subscription", name).await?;
        Ok(())
    }

    /// What was delivered and not taken yet.
    fn heard(&self, news: &mut mpsc::UnboundedReceiver<News>) -> Result<Vec<Delivery>, Problem> {
        let mut deliveries = Vec::new();
        while let Ok(next) = news.try_recv() {
            match next {
                News::Event(SubscriptionEvent::Delivered(delivery)) => deliveries.push(delivery),
                News::Event(SubscriptionEvent::Deleted) => {
                    return Err(status::subscription_deleted(&self.seat.name));
                }
                News::CaughtUp(_) | News::Event(_) | News::Settled(_) | News::Over(_) => {}
            }
        }
        Ok(deliveries)
    }

    async fn read(
        &self,
        delivery: Delivery,
        deliveries: &mut Vec<wire::Delivered>,
    ) -> Result<(), Problem> {
        let topics = &self.seat.topics;
        // Else its topic was deleted: they expire, and are looked for again.
        let Some(log) = topics.log_of(self.shared, delivery.partition) else {
            return Ok(());
        };
        let partition = delivery.partition;
        let mut sending = Sending::new(delivery, log);
        loop {
            let read = sending.next(&self.shared.reading).await;
            let read = read.map_err(|failure| {
                status::read_failed(&failure, topics.source.name(), partition)
            })?;
            match read {
                Sent::Records(records) => {
                    deliveries.push(sending.delivered(records, topics.partition_count()));
                }
                // They expire, and are looked for again.
                Sent::Gone(_) => {}
                Sent::All => return Ok(()),
            }
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let command = ControlCommand::Subscription(SubscriptionCommand::Disconnect {
            subscription: self.seat.subscription,
            consumer: self.seat.consumer,
            session: self.seat.session,
            departure: self.departure,
        });
        drop(self.shared.commands.push_control(command));
    }
}
