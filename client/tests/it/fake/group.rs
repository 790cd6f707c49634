//! `GroupService` of the fake broker: whoever joined last owns everything, in generation 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::group_service_server::GroupService;
use towpath_proto::v1::join_request::Request as Step;
use towpath_proto::wire;
use towpath_proto::wire::join_response::Response as Message;

use super::{OnFetch, Shared};

const GENERATION: u64 = 1;

/// What the group remembers, and what its members said.
#[derive(Debug, Default)]
pub(crate) struct FakeGroup {
    /// Committed offsets, by topic and partition.
    pub(crate) committed: BTreeMap<(String, u32), u64>,
    /// Which life of its name it is.
    pub(crate) id: u64,
    /// The ids of the members that joined, one for each stream.
    pub(crate) joined: Vec<Vec<u8>>,
    pub(crate) heartbeat_count: u32,
    pub(crate) commit_count: u32,
    pub(crate) left_count: u32,
    /// Batches that cannot be read, by partition and base offset.
    pub(crate) damaged: Vec<(u32, u64)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Groups(pub(crate) Arc<Shared>);

struct JoinStream {
    shared: Arc<Shared>,
    topics: Vec<String>,
    /// Of the topics that were deleted while the member was away, by handle.
    gone: BTreeMap<u32, u64>,
    requests: Streaming<v1::JoinRequest>,
    messages: mpsc::Sender<Result<wire::JoinResponse, Status>>,
    /// Where each partition goes on, by handle and number.
    next: BTreeMap<(u32, u32), u64>,
    credit: i64,
}

#[tonic::async_trait]
impl GroupService for Groups {
    type JoinStream = ReceiverStream<Result<wire::JoinResponse, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        self.0.called("join");
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|it| it.request);
        let Some(Step::Join(join)) = first else {
            return Err(Problem::invalid_field("request", "nobody has joined").into());
        };
        if let Some(reason) = self.0.state().refuse_opening {
            return Err(Problem::new(reason, "not now").into());
        }
        if let Some(rejoin) = &join.rejoin {
            let state = self.0.state();
            state.check_broker(Some(&rejoin.broker_id))?;
            if rejoin.group_id != state.group.id {
                return Err(Problem::new(ErrorReason::GroupNotFound, "it was deleted").into());
            }
        }
        self.0.state().group.joined.push(join.member_id.to_vec());
        let (messages, responses) = mpsc::channel(1);
        let stream = JoinStream {
            shared: Arc::clone(&self.0),
            gone: self.gone(&join),
            topics: join.topics,
            requests,
            messages,
            next: BTreeMap::new(),
            credit: 0,
        };
        tokio::spawn(stream.run());
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn get_group(
        &self,
        _request: Request<v1::GetGroupRequest>,
    ) -> Result<Response<v1::GetGroupResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_groups(
        &self,
        _request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn seek_group(
        &self,
        _request: Request<v1::SeekGroupRequest>,
    ) -> Result<Response<v1::SeekGroupResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn delete_group(
        &self,
        _request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

impl Groups {
    fn gone(&self, join: &v1::JoinGroup) -> BTreeMap<u32, u64> {
        let state = self.0.state();
        let known = join.rejoin.iter().flat_map(|it| &it.topic_ids);
        let known = (0..).zip(known.zip(&join.topics));
        let is_there = |topic: &str, id| {
            let stored = state.log.topics.get(topic);
            stored.is_some_and(|stored| stored.topic_id == id)
        };
        let gone = known.filter(|(_, (id, topic))| !is_there(topic, **id));
        gone.map(|(handle, (id, _))| (handle, *id)).collect()
    }
}

/// The client is gone, or is to hear nothing more.
struct Over;

impl JoinStream {
    async fn run(mut self) -> Option<Over> {
        let mut version = self.shared.version.subscribe();
        self.send(self.joined()).await.err();
        let assigned = self.assign();
        self.send(assigned).await.err();
        for handle in self.gone.clone().into_keys() {
            let topic = &self.topics[handle as usize];
            let problem = Problem::new(ErrorReason::TopicNotFound, "it was deleted");
            let problem = problem.with("topic", topic);
            let failed = v1::SourceFailed {
                handle,
                partition: None,
                error: Some(problem.into()),
            };
            self.send(Message::Failed(failed)).await.err();
        }
        loop {
            version.mark_unchanged();
            while let Some(batch) = self.next_batch() {
                let place = (batch.partition, batch.base_offset);
                let is_damaged = self.shared.state().group.damaged.contains(&place);
                let sent = match is_damaged {
                    true => self.send_damage(&batch).await,
                    false => self.send_batch(batch).await,
                };
                if let Err(over) = sent {
                    return Some(over);
                }
            }
            tokio::select! {
                request = self.requests.message() => {
                    let step = request.ok().flatten()?.request?;
                    match self.take(step) {
                        Ok(None) => {}
                        Ok(Some(answer)) => drop(self.send(answer).await),
                        Err(over) => return Some(over),
                    }
                }
                _ = version.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    let heartbeat = v1::Heartbeat::default();
                    self.send(Message::Heartbeat(heartbeat)).await.err();
                }
            }
        }
    }

    fn joined(&self) -> Message {
        let state = self.shared.state();
        let topics = (0..).zip(&self.topics).map(|(handle, topic)| {
            let (topic_id, partition_count) = match self.gone.get(&handle) {
                Some(id) => (*id, 0),
                None => {
                    let stored = &state.log.topics[topic];
                    (stored.topic_id, stored.partitions.len())
                }
            };
            v1::JoinedTopic {
                handle,
                topic: topic.clone(),
                topic_id,
                partition_count: u32::try_from(partition_count).unwrap(),
            }
        });
        Message::Joined(v1::Joined {
            topics: topics.collect(),
            heartbeat_interval_ms: 5_000,
            session_timeout_ms: 15_000,
            broker_id: state.broker_id(),
            group_id: state.group.id,
        })
    }

    fn assign(&mut self) -> Message {
        let state = self.shared.state();
        let mut partitions = Vec::new();
        let topics = (0..).zip(&self.topics);
        for (handle, topic) in topics.filter(|(handle, _)| !self.gone.contains_key(handle)) {
            for (partition, stored) in (0..).zip(&state.log.topics[topic].partitions) {
                let known = state.group.committed.get(&(topic.clone(), partition));
                let committed_offset = known.copied().unwrap_or(0);
                self.next.insert((handle, partition), committed_offset);
                partitions.push(v1::AssignedPartition {
                    handle,
                    partition,
                    committed_offset,
                    end_offset: stored.end_offset(),
                });
            }
        }
        Message::Assigned(v1::Assigned {
            generation: GENERATION,
            partitions,
        })
    }

    /// Takes a step of the member, and returns the answer to it.
    fn take(&mut self, step: Step) -> Result<Option<Message>, Over> {
        let mut state = self.shared.state();
        match step {
            Step::Credit(credit) => self.credit += i64::try_from(credit.records).unwrap(),
            Step::Heartbeat(_) => state.group.heartbeat_count += 1,
            Step::Leave(_) => {
                state.group.left_count += 1;
                return Err(Over);
            }
            Step::Commit(commit) => {
                state.group.commit_count += 1;
                let mut results = Vec::new();
                for it in commit.offsets {
                    let place = (self.topics[it.handle as usize].clone(), it.partition);
                    let known = state.group.committed.entry(place).or_default();
                    *known = it.offset.max(*known);
                    let stale = Problem::new(ErrorReason::GenerationStale, "stale");
                    results.push(v1::CommitResult {
                        handle: it.handle,
                        partition: it.partition,
                        committed_offset: *known,
                        error: (it.generation != GENERATION).then(|| stale.into()),
                    });
                }
                return Ok(Some(Message::Committed(v1::Committed { results })));
            }
            Step::Join(_) | Step::Return(_) => {}
        }
        Ok(None)
    }

    fn next_batch(&mut self) -> Option<wire::FetchedBatch> {
        if self.credit <= 0 {
            return None;
        }
        let state = self.shared.state();
        let found = self.next.iter().find_map(|((handle, partition), next)| {
            let stored = state
                .log
                .partition(&self.topics[*handle as usize], *partition);
            let mut batches = stored.batches.iter().map(|it| &it.fetched);
            let batch = batches.find(|it| it.next_offset().get() > *next)?;
            Some(wire::FetchedBatch {
                handle: *handle,
                partition: *partition,
                ..batch.clone()
            })
        })?;
        let place = (found.handle, found.partition);
        self.next.insert(place, found.next_offset().get());
        self.credit -= i64::from(found.record_count);
        Some(found)
    }

    async fn send_batch(&self, batch: wire::FetchedBatch) -> Result<(), Over> {
        let on_fetch = self.shared.state().on_fetch.pop_front();
        match on_fetch.unwrap_or(OnFetch::Send) {
            OnFetch::Send => self.send(Message::Batch(batch)).await,
            OnFetch::Cut => {
                self.shared.cut();
                Err(Over)
            }
            OnFetch::FallSilent => std::future::pending().await,
        }
    }

    /// The broker gives the partition up.
    async fn send_damage(&mut self, batch: &wire::FetchedBatch) -> Result<(), Over> {
        self.next.remove(&(batch.handle, batch.partition));
        self.send(Message::Gap(v1::Gap {
            handle: batch.handle,
            partition: batch.partition,
            range: Some(v1::OffsetRange {
                start: batch.base_offset,
                end: batch.next_offset().get(),
            }),
            reason: v1::GapReason::DataLoss.into(),
        }))
        .await?;
        self.send(Message::Failed(v1::SourceFailed {
            handle: batch.handle,
            partition: Some(batch.partition),
            error: Some(Problem::new(ErrorReason::LogCorrupt, "damaged").into()),
        }))
        .await
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sent = self.messages.send(Ok(message.into())).await;
        sent.map_err(|_gone| Over)
    }
}
