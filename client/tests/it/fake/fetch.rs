//! `FetchService` of the fake broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::fetch_service_server::FetchService;
use towpath_proto::v1::position::Position;
use towpath_proto::wire;
use towpath_proto::wire::fetch_response::Response as Message;

use super::log::{Log, StoredPartition};
use super::{OnFetch, Shared};

#[derive(Debug, Clone)]
pub(crate) struct Fetch(pub(crate) Arc<Shared>);

/// One partition of a stream.
#[derive(Debug, Clone)]
struct Place {
    handle: u32,
    topic: String,
    topic_id: u64,
    partition: u32,
    start: u64,
    log_start: u64,
    next: u64,
    /// Where a stream that does not follow ends.
    end: u64,
    is_caught_up: bool,
}

impl Place {
    fn trimmed_up_to(&self, stored: &StoredPartition) -> v1::Gap {
        v1::Gap {
            handle: self.handle,
            partition: self.partition,
            range: Some(v1::OffsetRange {
                start: self.next,
                end: stored.log_start_offset,
            }),
            reason: v1::GapReason::Trimmed.into(),
        }
    }
}

struct FetchStream {
    shared: Arc<Shared>,
    request: v1::FetchRequest,
    places: Vec<Place>,
    messages: mpsc::Sender<Result<wire::FetchResponse, Status>>,
}

#[tonic::async_trait]
impl FetchService for Fetch {
    type FetchStream = ReceiverStream<Result<wire::FetchResponse, Status>>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        self.0.called("fetch");
        let request = request.into_inner();
        if let Some(reason) = self.0.state().refuse_opening {
            return Err(Problem::new(reason, "not now").into());
        }
        self.0.state().check_broker(request.broker_id.as_deref())?;
        let (messages, responses) = mpsc::channel(1);
        let mut stream = FetchStream {
            places: open(&self.0.state().log, &request)?,
            shared: Arc::clone(&self.0),
            request,
            messages,
        };
        tokio::spawn(async move { stream.run().await });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn lookup_offsets(
        &self,
        request: Request<v1::LookupOffsetsRequest>,
    ) -> Result<Response<v1::LookupOffsetsResponse>, Status> {
        self.0.called("lookup_offsets");
        let request = request.into_inner();
        let fetch = v1::FetchRequest {
            sources: vec![v1::FetchSource {
                topic: request.topic,
                partitions: request.partitions,
                start: request.position,
                ..v1::FetchSource::default()
            }],
            ..v1::FetchRequest::default()
        };
        let state = self.0.state();
        let places = open(&state.log, &fetch)?;
        let offsets = places.iter().map(|place| v1::LookedUpOffset {
            partition: place.partition,
            offset: place.start,
            log_start_offset: place.log_start,
            end_offset: place.end,
        });
        Ok(Response::new(v1::LookupOffsetsResponse {
            offsets: offsets.collect(),
            topic_id: places[0].topic_id,
            lsn: state.log.lsn,
        }))
    }
}

fn open(log: &Log, request: &v1::FetchRequest) -> Result<Vec<Place>, Problem> {
    let mut places = Vec::new();
    for (handle, source) in (0..).zip(&request.sources) {
        let topic = log.find(&source.topic, source.topic_id)?;
        let all = 0..u32::try_from(topic.partitions.len()).unwrap();
        let wanted = if source.partitions.is_empty() {
            all.collect()
        } else {
            source.partitions.clone()
        };
        let overtaken = source.start_offsets.iter().filter_map(|start| {
            let log_start = topic.partitions[start.partition as usize].log_start_offset;
            (start.offset < log_start).then(|| format!("{}:{log_start}", start.partition))
        });
        let overtaken = overtaken.collect::<Vec<_>>().join(" ");
        for partition in wanted {
            let stored = &topic.partitions[partition as usize];
            let start = start_of(source, partition, stored);
            let start = stored
                .check(partition, start)
                .map_err(|it| it.with("topic", &source.topic))
                .map_err(|it| it.with("log_start_offsets", &overtaken))?;
            places.push(Place {
                handle,
                topic: source.topic.clone(),
                topic_id: topic.topic_id,
                partition,
                start,
                log_start: stored.log_start_offset,
                next: start,
                end: stored.end_offset(),
                is_caught_up: false,
            });
        }
    }
    Ok(places)
}

pub(super) fn start_of(source: &v1::FetchSource, partition: u32, stored: &StoredPartition) -> u64 {
    let own = source
        .start_offsets
        .iter()
        .find(|it| it.partition == partition);
    let position = source.start.as_ref().and_then(|it| it.position.as_ref());
    let end = stored.end_offset();
    match (own, position) {
        (Some(own), _) => own.offset,
        (None, Some(Position::Offset(offset))) => *offset,
        (None, Some(Position::End(_))) => end,
        (None, Some(Position::LastRecords(count))) => end.saturating_sub(*count),
        (None, Some(Position::TimeMs(time_ms))) => {
            let later = |it: &&super::StoredBatch| it.fetched.append_time_ms >= *time_ms;
            stored
                .batches
                .iter()
                .find(later)
                .map_or(end, |it| it.fetched.base_offset)
        }
        (None, Some(Position::Beginning(_)) | None) => stored.log_start_offset,
    }
}

async fn true_of(value: &mut watch::Receiver<bool>) {
    // Dropped here, because the guard may not be held across an await.
    drop(value.wait_for(|it| *it).await);
}

/// The client is gone, or is to hear nothing more.
struct Over;

impl FetchStream {
    async fn run(&mut self) -> Option<Over> {
        let mut version = self.shared.version.subscribe();
        let mut is_draining = self.shared.is_draining.subscribe();
        self.send(self.opened()).await.err();
        loop {
            version.mark_unchanged();
            if let Err(over) = self.send_what_there_is().await {
                return Some(over);
            }
            let is_finished = self.places.iter().all(|place| place.is_caught_up);
            if is_finished && !self.request.follow {
                return None;
            }
            tokio::select! {
                _ = version.changed() => {}
                () = true_of(&mut is_draining) => {
                    let message = Message::Draining(v1::Draining::default());
                    return self.send(message).await.err();
                }
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    let lsn = self.shared.state().log.lsn;
                    let heartbeat = v1::Heartbeat { lsn, broker_time_ms: 1 };
                    self.send(Message::Heartbeat(heartbeat)).await.err();
                }
            }
        }
    }

    fn opened(&self) -> Message {
        let state = self.shared.state();
        let mut topics: Vec<v1::OpenedTopic> = Vec::new();
        for place in &self.places {
            if topics.last().is_none_or(|it| it.handle != place.handle) {
                topics.push(v1::OpenedTopic {
                    handle: place.handle,
                    topic: place.topic.clone(),
                    topic_id: place.topic_id,
                    partitions: Vec::new(),
                });
            }
            let stored = state.log.partition(&place.topic, place.partition);
            topics
                .last_mut()
                .unwrap()
                .partitions
                .push(v1::OpenedPartition {
                    partition: place.partition,
                    start_offset: place.start,
                    log_start_offset: stored.log_start_offset,
                    end_offset: stored.end_offset(),
                });
        }
        Message::Opened(v1::FetchOpened {
            topics,
            lsn: state.log.lsn,
            broker_id: state.broker_id(),
        })
    }

    async fn send_what_there_is(&mut self) -> Result<(), Over> {
        loop {
            let next = self.next_message();
            let Some((place, message)) = next else {
                break;
            };
            match message {
                Message::Batch(batch) => {
                    self.places[place].next = batch.next_offset().get();
                    self.send_batch(batch).await?;
                }
                Message::Gap(gap) => {
                    self.places[place].next = gap.range.unwrap().end;
                    self.send(Message::Gap(gap)).await?;
                }
                failed => {
                    self.places.remove(place);
                    self.send(failed).await?;
                }
            }
        }
        for place in 0..self.places.len() {
            if !self.places[place].is_caught_up {
                self.places[place].is_caught_up = true;
                let place = &self.places[place];
                let caught_up = v1::CaughtUp {
                    handle: place.handle,
                    partition: place.partition,
                    end_offset: place.next,
                    lsn: self.shared.state().log.lsn,
                };
                self.send(Message::CaughtUp(caught_up)).await?;
            }
        }
        Ok(())
    }

    /// The next batch over all partitions, by LSN if that is asked for, else by partition; before it
    /// what stands in the way of any.
    fn next_message(&self) -> Option<(usize, Message)> {
        let state = self.shared.state();
        let mut found: Option<(usize, wire::FetchedBatch)> = None;
        for (index, place) in self.places.iter().enumerate() {
            if state.log.find(&place.topic, Some(place.topic_id)).is_err() {
                let problem = Problem::new(ErrorReason::TopicNotFound, "deleted");
                let failed = v1::SourceFailed {
                    handle: place.handle,
                    partition: Some(place.partition),
                    error: Some(problem.into()),
                };
                return Some((index, Message::Failed(failed)));
            }
            let stored = state.log.partition(&place.topic, place.partition);
            if place.next < stored.log_start_offset {
                return Some((index, Message::Gap(place.trimmed_up_to(stored))));
            }
            let is_next = |batch: &&super::StoredBatch| {
                let batch = &batch.fetched;
                batch.next_offset().get() > place.next
                    && (self.request.follow || batch.base_offset < place.end)
            };
            let Some(batch) = stored.batches.iter().find(is_next) else {
                continue;
            };
            let is_earlier = found
                .as_ref()
                .is_none_or(|(_, it)| self.request.merge_by_lsn && batch.fetched.lsn < it.lsn);
            if is_earlier {
                let batch = wire::FetchedBatch {
                    handle: place.handle,
                    partition: place.partition,
                    ..batch.fetched.clone()
                };
                found = Some((index, batch));
            }
        }
        found.map(|(index, batch)| (index, Message::Batch(batch)))
    }

    async fn send_batch(&self, mut batch: wire::FetchedBatch) -> Result<(), Over> {
        let on_fetch = self.shared.state().on_fetch.pop_front();
        match on_fetch.unwrap_or(OnFetch::Send) {
            OnFetch::Send => {}
            OnFetch::Cut => {
                self.shared.cut();
                return Err(Over);
            }
            OnFetch::FallSilent => std::future::pending().await,
        }
        let key = (batch.partition, batch.base_offset);
        if let Some(left) = self.shared.state().damaged.get_mut(&key)
            && *left > 0
        {
            *left -= 1;
            batch.crc ^= 1;
        }
        self.send(Message::Batch(batch)).await
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sent = self.messages.send(Ok(message.into())).await;
        sent.map_err(|_gone| Over)
    }
}
