//! Calls that are given up while the broker lets their consumer or member in.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use towpath_proto::v1;
use towpath_proto::v1::group_service_client::GroupServiceClient;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;

use crate::consumer;
use crate::gated_disk::{GateKeeper, gated_broker};
use crate::group_member::{self, Member};
use crate::harness::{TestBroker, config, soon};

/// Holds the broker up in the middle of a round.
async fn hold_up(broker: &TestBroker, gate: &GateKeeper) {
    gate.close();
    let mut produce = broker.produce();
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![v1::Record::default()],
        partition: Some(0),
    };
    tokio::spawn(async move { produce.publish(request).await });
    gate.held().await;
}

/// Begins a call, gives it up once the broker knows of it, and returns once it knows of that.
async fn give_up<T>(channel: &Channel, call: impl Future<Output = T>) {
    let mut call = Box::pin(call);
    tokio::select! {
        biased;
        _ = &mut call => panic!("the broker is held up"),
        () = check_health(channel) => {}
    }
    drop(call);
    check_health(channel).await;
}

/// Makes calls on the same connection, which come behind what was sent before.
async fn check_health(channel: &Channel) {
    for _ in 0..3 {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let request = tonic_health::pb::HealthCheckRequest::default();
        soon(health.check(request)).await.unwrap();
    }
}

async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(crate::harness::PATIENCE, waited).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_consumer_whose_call_is_given_up_is_not_there() {
    let (broker, _disk, gate) = gated_broker(config()).await;
    broker.create("orders", 1).await;
    consumer::create(&broker).await;
    for _ in 0..5 {
        hold_up(&broker, &gate).await;
        let channel = crate::harness::connect(&broker.broker).await.unwrap();
        let mut client = SubscriptionServiceClient::new(channel.clone());
        let (requests, receiver) = mpsc::channel(10);
        let open = v1::receive_request::Request::Open(v1::OpenReceive {
            subscription: "billing".to_owned(),
            consumer_id: vec![7; 16].into(),
            ..v1::OpenReceive::default()
        });
        let request = Some(open);
        requests.send(v1::ReceiveRequest { request }).await.unwrap();
        give_up(&channel, client.receive(ReceiverStream::new(receiver))).await;
        gate.open();
        eventually("the consumer is gone", async || {
            consumer::get(&broker).await.consumers.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn a_member_whose_call_is_given_up_keeps_no_partition() {
    let mut config = config();
    config.session_timeout = std::time::Duration::from_millis(500);
    let (broker, _disk, gate) = gated_broker(config).await;
    broker.create("orders", 1).await;
    drop(Member::join(&broker, 1).await);
    hold_up(&broker, &gate).await;
    let channel = crate::harness::connect(&broker.broker).await.unwrap();
    let mut client = GroupServiceClient::new(channel.clone());
    let (requests, receiver) = mpsc::channel(10);
    let request = Some(v1::join_request::Request::Join(group_member::wish(7)));
    requests.send(v1::JoinRequest { request }).await.unwrap();
    give_up(&channel, client.join(ReceiverStream::new(receiver))).await;
    gate.open();
    eventually("the member is gone", async || {
        let group = group_member::get(&broker).await;
        group.members.iter().all(|it| !it.is_connected)
    })
    .await;
    let mut member = Member::join(&broker, 2).await;
    member.owns(1).await;
}
