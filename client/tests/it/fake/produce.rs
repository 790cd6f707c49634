//! `ProduceService` of the fake broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response as Answer;
use towpath_proto::v1::produce_service_server::ProduceService;
use towpath_proto::wire::{self, ProduceBatch, produce_request};

use super::log::SPENT;
use super::{OnBatch, Shared};

#[derive(Debug, Clone)]
pub(crate) struct Produce(pub(crate) Arc<Shared>);

type Answers = mpsc::UnboundedSender<Result<v1::ProduceResponse, Status>>;

#[tonic::async_trait]
impl ProduceService for Produce {
    type ProduceStream = UnboundedReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn produce(
        &self,
        request: Request<Streaming<wire::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        self.0.called("produce");
        let (answers, responses) = mpsc::unbounded_channel();
        let stream = ProduceStream {
            shared: Arc::clone(&self.0),
            answers,
            opened: BTreeMap::new(),
        };
        tokio::spawn(stream.run(request.into_inner()));
        Ok(Response::new(UnboundedReceiverStream::new(responses)))
    }

    async fn open_producer(
        &self,
        request: Request<v1::OpenProducerRequest>,
    ) -> Result<Response<v1::OpenProducerResponse>, Status> {
        self.0.called("open_producer");
        let mut state = self.0.state();
        if let Some(reason) = state.on_call.pop_front() {
            return Err(Problem::new(reason, "as the test wants").into());
        }
        Ok(Response::new(state.open_producer(&request.get_ref().name)))
    }

    async fn list_producers(
        &self,
        _request: Request<v1::ListProducersRequest>,
    ) -> Result<Response<v1::ListProducersResponse>, Status> {
        let state = self.0.state();
        let producers = state
            .producers
            .iter()
            .map(|(name, epoch)| v1::NamedProducer {
                name: name.clone(),
                producer_epoch: *epoch,
                create_time_ms: 1000,
                open_time_ms: 2000,
                ..v1::NamedProducer::default()
            });
        Ok(Response::new(v1::ListProducersResponse {
            producers: producers.collect(),
            next_page_token: String::new(),
        }))
    }

    async fn delete_producer(
        &self,
        request: Request<v1::DeleteProducerRequest>,
    ) -> Result<Response<v1::DeleteProducerResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.0.state();
        let known = state.producers.iter();
        let place = known.clone().position(|(name, _)| *name == request.name);
        let Some(place) = place else {
            return Err(Problem::new(ErrorReason::ProducerNotFound, "not found").into());
        };
        let (name, producer_epoch) = state.producers[place].clone();
        if !request.validate_only {
            state.producers.remove(place);
        }
        Ok(Response::new(v1::DeleteProducerResponse {
            producer: Some(v1::NamedProducer {
                name,
                producer_epoch,
                ..v1::NamedProducer::default()
            }),
        }))
    }

    async fn publish(
        &self,
        request: Request<wire::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        self.0.called("publish");
        let request = request.into_inner();
        let mut state = self.0.state();
        if let Some(reason) = state.on_call.pop_front() {
            return Err(Problem::new(reason, "as the test wants").into());
        }
        let count = state.log.find(&request.topic, None)?.partitions.len();
        let count = u32::try_from(count).unwrap().try_into().unwrap();
        let mut positions = Vec::new();
        for record in &request.records {
            let record = v1::Record::decode(record.clone()).unwrap();
            let keyed = record
                .key
                .as_ref()
                .map_or(0, |key| partition_of(key, count).get());
            let partition = request.partition.unwrap_or(keyed);
            let position = state.log.append_one(&request.topic, partition, record);
            positions.push(position?);
        }
        Ok(Response::new(v1::PublishResponse {
            positions,
            lsn: state.log.lsn,
            append_time_ms: 1000,
        }))
    }
}

struct ProduceStream {
    shared: Arc<Shared>,
    answers: Answers,
    /// Topic, producer and its life by handle.
    opened: BTreeMap<u32, (String, Bytes, u32)>,
}

impl ProduceStream {
    async fn run(mut self, mut requests: Streaming<wire::ProduceRequest>) {
        let mut is_draining = self.shared.is_draining.subscribe();
        if *is_draining.borrow() {
            self.tell(Answer::Draining(v1::Draining::default()));
        }
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                _ = is_draining.wait_for(|it| *it), if !*self.shared.is_draining.borrow() => {
                    self.tell(Answer::Draining(v1::Draining::default()));
                    continue;
                }
            };
            match request.ok().flatten().and_then(|request| request.request) {
                None => return,
                Some(produce_request::Request::Open(open)) => self.open(open),
                Some(produce_request::Request::Produce(batch)) => self.take(batch).await,
            }
        }
    }

    fn open(&mut self, open: v1::OpenTopic) {
        let state = self.shared.state();
        let refused = state
            .refuse_opening
            .map(|reason| Problem::new(reason, "not now"));
        let allowed = refused.map_or(Ok(()), Err);
        let allowed = allowed.and_then(|()| state.check_broker(open.broker_id.as_deref()));
        let (id, epoch) = (&open.producer_id, open.producer_epoch);
        let allowed = allowed.and_then(|()| state.check_life(id, epoch));
        let found = allowed.and_then(|()| state.log.find(&open.topic, open.topic_id));
        let found = found.map(|it| (it.topic_id, it.partitions.len()));
        drop(state);
        match found {
            Ok((topic_id, partition_count)) => {
                // Each life counts its batches for itself.
                let life = [&open.producer_id[..], &epoch.to_le_bytes()].concat();
                let opened = (open.topic, life.into(), epoch);
                self.opened.insert(open.handle, opened);
                self.tell(Answer::Opened(v1::TopicOpened {
                    handle: open.handle,
                    topic_id,
                    partition_count: u32::try_from(partition_count).unwrap(),
                    last_sequences: Vec::new(),
                    limits: Some(towpath_proto::limits::published()),
                }));
            }
            Err(problem) => self.tell(Answer::OpenRefused(v1::OpenRefused {
                handle: open.handle,
                error: Some(problem.into()),
            })),
        }
    }

    async fn take(&self, batch: ProduceBatch) {
        let on_batch = self.shared.state().on_batch.pop_front();
        let on_batch = on_batch.unwrap_or(OnBatch::Append);
        match on_batch {
            OnBatch::Append | OnBatch::AppendAndSay(_) => {
                let mut answer = self.append(&batch);
                if let (OnBatch::AppendAndSay(change), Answer::Accepted(accepted)) =
                    (on_batch, &mut answer)
                {
                    accepted.batches.iter_mut().for_each(change);
                }
                let mut is_holding = self.shared.is_holding.subscribe();
                is_holding.wait_for(|it| !*it).await.unwrap();
                self.tell(answer);
            }
            OnBatch::AppendAndCut => {
                self.append(&batch);
                self.shared.cut();
            }
            OnBatch::Cut => self.shared.cut(),
            OnBatch::AppendInSilence => {
                self.append(&batch);
            }
            OnBatch::Refuse(reason) => {
                self.tell(refused(&batch, &Problem::new(reason, "no"), false));
            }
            OnBatch::Spend(reason) => {
                let (topic, producer_id, _) = &self.opened[&batch.handle];
                let mut state = self.shared.state();
                let partition = state.log.partition_mut(topic, batch.partition);
                let known = partition.producers.entry(producer_id.clone()).or_default();
                known.push(SPENT);
                drop(state);
                self.tell(refused(&batch, &Problem::new(reason, "never"), true));
            }
        }
    }

    fn append(&self, batch: &ProduceBatch) -> Answer {
        let (topic, producer_id, epoch) = &self.opened[&batch.handle];
        let mut state = self.shared.state();
        if let Some(problem) = state.log.refuse_expectation(topic, producer_id, batch) {
            return refused(batch, &problem, true);
        }
        let allowed = state.check_life(producer_id, *epoch);
        let outcome = match allowed.and_then(|()| state.log.find(topic, None).map(drop)) {
            Ok(()) => state.log.produce(topic, producer_id, batch),
            Err(problem) => Err(problem),
        };
        drop(state);
        self.shared.changed();
        match outcome {
            Ok(accepted) => Answer::Accepted(v1::Accepted {
                batches: vec![accepted],
            }),
            Err(problem) => refused(batch, &problem, false),
        }
    }

    fn tell(&self, answer: Answer) {
        let response = v1::ProduceResponse {
            response: Some(answer),
        };
        // A client that is gone hears nothing.
        let _gone = self.answers.send(Ok(response));
    }
}

fn refused(batch: &ProduceBatch, problem: &Problem, is_sequence_spent: bool) -> Answer {
    Answer::Refused(v1::Refused {
        handle: batch.handle,
        partition: batch.partition,
        sequence: batch.sequence,
        error: Some(problem.clone().into()),
        is_sequence_spent,
    })
}
