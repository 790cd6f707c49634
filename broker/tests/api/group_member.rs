//! A member of a group as the tests of groups use it.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use towpath_broker::Config;
use towpath_proto::v1;
use towpath_proto::v1::group_service_client::GroupServiceClient;
use towpath_proto::v1::join_request::Request;
use towpath_proto::v1::position::Position;
use towpath_proto::wire::JoinResponse;
use towpath_proto::wire::join_response::Response;

use crate::harness::{TestBroker, config, soon, values};

pub(crate) const RECORDS: u64 = 1_000_000;

pub(crate) fn groups(broker: &TestBroker) -> GroupServiceClient<Channel> {
    GroupServiceClient::new(broker.channel.clone())
}

pub(crate) fn beginning() -> v1::Position {
    v1::Position {
        position: Some(Position::Beginning(v1::Beginning {})),
    }
}

pub(crate) fn heartbeat() -> v1::JoinRequest {
    v1::JoinRequest {
        request: Some(Request::Heartbeat(v1::MemberHeartbeat {})),
    }
}

pub(crate) fn wish(id: u8) -> v1::JoinGroup {
    v1::JoinGroup {
        group: "billing".to_owned(),
        member_id: vec![id; 16].into(),
        client_name: format!("member {id}"),
        topics: vec!["orders".to_owned()],
        start: Some(beginning()),
        skip_data_loss: false,
        rejoin: None,
        stop_at_trimmed: false,
        accepted_codecs: Vec::new(),
    }
}

/// The client's end of a Join stream.
pub(crate) struct Member {
    pub(crate) requests: mpsc::Sender<v1::JoinRequest>,
    responses: Streaming<JoinResponse>,
    pub(crate) joined: v1::Joined,
    /// What it owns, with the generation.
    pub(crate) owned: BTreeMap<u32, u64>,
}

impl Member {
    pub(crate) async fn try_join(broker: &TestBroker, wish: v1::JoinGroup) -> Result<Self, Status> {
        Self::join_over(broker.channel.clone(), wish).await
    }

    pub(crate) async fn join_over(channel: Channel, wish: v1::JoinGroup) -> Result<Self, Status> {
        let member = Self::join_without_credit(channel, wish).await?;
        member.credit(RECORDS, RECORDS).await;
        Ok(member)
    }

    pub(crate) async fn join_without_credit(
        channel: Channel,
        wish: v1::JoinGroup,
    ) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(100);
        let member = Request::Join(wish);
        requests
            .send(v1::JoinRequest {
                request: Some(member),
            })
            .await
            .unwrap();
        let mut groups = GroupServiceClient::new(channel);
        let responses = soon(groups.join(ReceiverStream::new(receiver))).await?;
        let mut member = Self {
            requests,
            responses: responses.into_inner(),
            joined: v1::Joined::default(),
            owned: BTreeMap::new(),
        };
        member.hear_joined().await;
        Ok(member)
    }

    pub(crate) async fn credit(&self, records: u64, bytes: u64) {
        let credit = v1::GroupCredit { records, bytes };
        self.send(Request::Credit(credit)).await;
    }

    async fn hear_joined(&mut self) {
        match self.next().await {
            Response::Joined(joined) => self.joined = joined,
            other => panic!("{other:?}"),
        }
    }

    /// What it says of itself when it joins again.
    pub(crate) fn rejoin(&self) -> v1::Rejoin {
        v1::Rejoin {
            broker_id: self.joined.broker_id.clone(),
            group_id: self.joined.group_id,
            topic_ids: self.joined.topics.iter().map(|it| it.topic_id).collect(),
        }
    }

    pub(crate) async fn join(broker: &TestBroker, id: u8) -> Self {
        Self::try_join(broker, wish(id)).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request) {
        let request = v1::JoinRequest {
            request: Some(request),
        };
        soon(self.requests.send(request)).await.unwrap();
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Response>, Status> {
        let message = soon(self.responses.message()).await?;
        Ok(message.map(|message| message.response.expect("a known message")))
    }

    /// The next message but for heartbeats; assignments are noted.
    pub(crate) async fn next(&mut self) -> Response {
        loop {
            let next = self.try_next().await.unwrap().expect("the stream goes on");
            match &next {
                Response::Heartbeat(_) => continue,
                Response::Assigned(assigned) => {
                    let generation = assigned.generation;
                    let partitions = assigned.partitions.iter();
                    self.owned
                        .extend(partitions.map(|it| (it.partition, generation)));
                }
                Response::Lost(lost) => {
                    for partition in &lost.partitions {
                        self.owned.remove(&partition.partition);
                    }
                }
                _ => {}
            }
            return next;
        }
    }

    /// Waits until it owns so many partitions.
    pub(crate) async fn owns(&mut self, count: usize) {
        while self.owned.len() < count {
            self.next().await;
        }
        assert_eq!(self.owned.len(), count, "{:?}", self.owned);
    }

    pub(crate) async fn batch(&mut self) -> (u32, Vec<String>) {
        loop {
            match self.next().await {
                Response::Batch(batch) => return (batch.partition, values(&batch)),
                Response::Assigned(_) | Response::CaughtUp(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a commit; its answer comes between other messages.
    pub(crate) async fn send_commit(&self, partition: u32, offset: u64) {
        let commit = v1::OffsetCommit {
            handle: 0,
            partition,
            generation: self.owned.get(&partition).copied().unwrap_or(0),
            offset,
        };
        let offsets = vec![commit];
        self.send(Request::Commit(v1::CommitOffsets { offsets }))
            .await;
    }

    pub(crate) async fn commit(&mut self, partition: u32, offset: u64) -> v1::CommitResult {
        self.send_commit(partition, offset).await;
        loop {
            if let Response::Committed(committed) = self.next().await {
                return committed.results[0].clone();
            }
        }
    }

    /// Gives back what it is asked for, and returns how much that was.
    pub(crate) async fn return_revoked(&mut self) -> usize {
        loop {
            if let Response::Revoking(revoking) = self.next().await {
                let partitions = revoking.partitions;
                for partition in &partitions {
                    self.owned.remove(&partition.partition);
                }
                let count = partitions.len();
                self.send(Request::Return(v1::ReturnPartitions { partitions }))
                    .await;
                return count;
            }
        }
    }
}

pub(crate) async fn get(broker: &TestBroker) -> v1::Group {
    let name = "billing".to_owned();
    let shown = soon(groups(broker).get_group(v1::GetGroupRequest { name })).await;
    shown.unwrap().into_inner().group.unwrap()
}

pub(crate) async fn with_records() -> TestBroker {
    with_records_and(config()).await
}

pub(crate) async fn with_records_and(config: Config) -> TestBroker {
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 4).await;
    for partition in 0..4 {
        for number in 0..3 {
            let value = format!("{partition}-{number}");
            broker.publish("orders", partition, &[&value]).await;
        }
    }
    broker
}
