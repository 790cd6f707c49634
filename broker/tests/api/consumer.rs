//! A consumer of a subscription as the tests of subscriptions use it.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use towpath_proto::batch::Records;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::receive_request::Request;
use towpath_proto::v1::settlement::Outcome;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;
use towpath_proto::wire::receive_response::Response;
use towpath_proto::wire::{Delivered, ReceiveResponse};

use crate::harness::{TestBroker, position, record, soon};

/// Added to the number of a partition that is one of dead letters.
pub(crate) const DEAD: u32 = 1 << 31;

fn place(partition: u32, is_dead_letter: bool) -> u32 {
    match is_dead_letter {
        true => partition | DEAD,
        false => partition,
    }
}

pub(crate) fn client(broker: &TestBroker) -> SubscriptionServiceClient<Channel> {
    SubscriptionServiceClient::new(broker.channel.clone())
}

pub(crate) fn wish() -> v1::CreateSubscriptionRequest {
    v1::CreateSubscriptionRequest {
        name: "billing".to_owned(),
        topic: "orders".to_owned(),
        start: Some(position(Position::Beginning(v1::Beginning {}))),
        config: Some(v1::SubscriptionConfig {
            backoff_min_ms: Some(1),
            backoff_max_ms: Some(1),
            ..v1::SubscriptionConfig::default()
        }),
        validate_only: false,
    }
}

pub(crate) async fn create(broker: &TestBroker) -> v1::Subscription {
    create_as(broker, wish()).await.unwrap()
}

pub(crate) async fn create_as(
    broker: &TestBroker,
    wish: v1::CreateSubscriptionRequest,
) -> Result<v1::Subscription, Status> {
    let created = soon(client(broker).create_subscription(wish)).await?;
    Ok(created.into_inner().subscription.expect("a subscription"))
}

pub(crate) async fn get(broker: &TestBroker) -> v1::Subscription {
    let request = v1::GetSubscriptionRequest {
        name: "billing".to_owned(),
    };
    let shown = soon(client(broker).get_subscription(request)).await;
    shown.unwrap().into_inner().subscription.unwrap()
}

/// A record as a consumer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Had {
    pub(crate) value: String,
    pub(crate) delivery: u64,
    pub(crate) attempt: u32,
}

/// The client's end of a Receive stream.
pub(crate) struct Consumer {
    pub(crate) requests: mpsc::Sender<v1::ReceiveRequest>,
    pub(crate) responses: Streaming<ReceiveResponse>,
    /// By partition and offset; see [`DEAD`].
    pub(crate) has: BTreeMap<(u32, u64), Had>,
    /// What it was told of being caught up while it waited for something else.
    caught_up: VecDeque<v1::SubscriptionCaughtUp>,
}

impl Consumer {
    pub(crate) async fn open(broker: &TestBroker, id: u8) -> Self {
        let mut consumer = Self::try_open(broker, id).await.unwrap();
        consumer.credit(1_000).await;
        consumer
    }

    pub(crate) async fn try_open(broker: &TestBroker, id: u8) -> Result<Self, Status> {
        Self::open_over(broker.channel.clone(), id).await
    }

    /// Opens over a connection of its own.
    pub(crate) async fn open_over(channel: Channel, id: u8) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(100);
        let open = Request::Open(v1::OpenReceive {
            subscription: "billing".to_owned(),
            consumer_id: vec![id; 16].into(),
            client_name: format!("consumer {id}"),
            reports_start: true,
            refuse_to_wait: id == 99,
            subscription_id: 0,
        });
        let open = v1::ReceiveRequest {
            request: Some(open),
        };
        requests.send(open).await.unwrap();
        let mut client = SubscriptionServiceClient::new(channel);
        let responses = soon(client.receive(ReceiverStream::new(receiver))).await?;
        let mut consumer = Self {
            requests,
            responses: responses.into_inner(),
            has: BTreeMap::new(),
            caught_up: VecDeque::new(),
        };
        match consumer.next().await {
            Response::Opened(opened) => assert_eq!(opened.topic, "orders", "as it was created"),
            other => panic!("{other:?}"),
        }
        Ok(consumer)
    }

    pub(crate) async fn send(&self, request: Request) {
        let request = v1::ReceiveRequest {
            request: Some(request),
        };
        soon(self.requests.send(request)).await.unwrap();
    }

    pub(crate) async fn credit(&mut self, records: u64) {
        let bytes = 1 << 40;
        self.send(Request::Credit(v1::ReceiveCredit { records, bytes }))
            .await;
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Response>, Status> {
        loop {
            match self.try_next_of_all().await? {
                Some(Response::CaughtUp(told)) => self.caught_up.push_back(told),
                other => return Ok(other),
            }
        }
    }

    async fn try_next_of_all(&mut self) -> Result<Option<Response>, Status> {
        loop {
            let message = soon(self.responses.message()).await?;
            match message.map(|it| it.response.expect("a known message")) {
                Some(Response::Heartbeat(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// The next time that it is told that nothing can be handed out to it; takes what comes before.
    pub(crate) async fn next_caught_up(&mut self) -> v1::SubscriptionCaughtUp {
        if let Some(told) = self.caught_up.pop_front() {
            return told;
        }
        loop {
            let next = self.try_next_of_all().await.unwrap();
            match next.expect("the stream goes on") {
                Response::CaughtUp(told) => return told,
                other => drop(self.take(other)),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Response {
        self.try_next().await.unwrap().expect("the stream goes on")
    }

    pub(crate) fn take(&mut self, response: Response) -> Option<v1::Settled> {
        match response {
            Response::Delivered(delivered) => {
                let taken = records_of(&delivered);
                for ((partition, offset), had) in taken {
                    let place = (place(partition, delivered.is_dead_letter), offset);
                    assert_eq!(self.has.insert(place, had), None, "{place:?} came twice");
                }
            }
            Response::Lost(lost) => {
                for range in lost.ranges {
                    for offset in range.start..range.end {
                        let partition = place(lost.partition, lost.is_dead_letter);
                        self.has.remove(&(partition, offset));
                    }
                }
            }
            Response::Settled(settled) => return Some(settled),
            other => panic!("{other:?}"),
        }
        None
    }

    /// Receives until it has so many records.
    pub(crate) async fn receive(&mut self, count: usize) {
        while self.has.len() < count {
            let response = self.next().await;
            assert_eq!(self.take(response), None, "nothing is settled");
        }
        assert_eq!(self.has.len(), count, "{:?}", self.has);
    }

    /// Receives until it has these values.
    pub(crate) async fn receive_values(&mut self, expected: &[&str]) {
        while self.values() != expected {
            let response = self.next().await;
            assert_eq!(self.take(response), None, "nothing is settled");
        }
    }

    pub(crate) fn values(&self) -> Vec<&str> {
        self.has.values().map(|it| it.value.as_str()).collect()
    }

    /// Settles one record, and returns whether it was the consumer's.
    pub(crate) async fn settle(&mut self, place: (u32, u64), outcome: Outcome) -> bool {
        let had = self.has.remove(&place).expect("it has it");
        self.settle_of(place, had.delivery, outcome).await
    }

    pub(crate) async fn settle_of(
        &mut self,
        place: (u32, u64),
        delivery: u64,
        outcome: Outcome,
    ) -> bool {
        let settlements = vec![settlement(place, delivery, outcome)];
        self.send(Request::Settle(v1::SettleDeliveries { settlements }))
            .await;
        loop {
            let response = self.next().await;
            if let Some(settled) = self.take(response) {
                return settled.results[0].expired.is_empty();
            }
        }
    }

    pub(crate) async fn ack_all(&mut self) {
        for place in self.has.keys().copied().collect::<Vec<_>>() {
            assert!(self.settle(place, ack()).await, "{place:?}");
        }
    }
}

pub(crate) fn ack() -> Outcome {
    Outcome::Ack(v1::Ack {})
}

pub(crate) fn nack(reason: &str) -> Outcome {
    Outcome::Nack(v1::Nack {
        delay_ms: Some(0),
        reason: reason.to_owned(),
    })
}

pub(crate) fn settlement(
    (partition, offset): (u32, u64),
    delivery: u64,
    outcome: Outcome,
) -> v1::Settlement {
    v1::Settlement {
        delivery,
        partition: partition & !DEAD,
        ranges: vec![v1::OffsetRange {
            start: offset,
            end: offset + 1,
        }],
        outcome: Some(outcome),
        is_dead_letter: partition & DEAD != 0,
    }
}

pub(crate) fn records_of(delivered: &Delivered) -> Vec<((u32, u64), Had)> {
    assert_eq!(crc32fast::hash(&delivered.batch), delivered.crc, "checksum");
    let mut records = Records::new(&delivered.batch);
    let mut had = Vec::new();
    for span in &delivered.spans {
        for number in 0..u64::from(span.record_count) {
            let record = records.next().expect("a record for each offset").unwrap();
            let value = record.value().unwrap_or_default();
            let place = (delivered.partition, span.first_offset + number);
            let one = Had {
                value: String::from_utf8(value.to_vec()).unwrap(),
                delivery: delivered.delivery,
                attempt: span.attempt,
            };
            had.push((place, one));
        }
    }
    assert!(records.next().is_none(), "no record without an offset");
    had
}

pub(crate) async fn publish(broker: &TestBroker, records: &[(&str, &str)]) {
    let records = records.iter().map(|(key, value)| record(Some(key), value));
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: records.collect(),
        partition: None,
    };
    soon(broker.produce().publish(request)).await.unwrap();
}

pub(crate) fn dead(reason: &str) -> Outcome {
    Outcome::DeadLetter(v1::ToDeadLetters {
        reason: reason.to_owned(),
    })
}
