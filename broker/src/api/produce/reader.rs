//! The receiving half of a Produce stream: opens topics, checks batches, pushes them in order.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tonic::{Status, Streaming};
use towpath_proto::ids;
use towpath_proto::limits::{self, OPEN_TOPICS_PER_STREAM_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::produce_batch::Expectation;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::produce_request::Request;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};
use towpath_storage::{Offset, PartitionRef, ProducerId, ProducerStamp};

use super::super::facts::{self, AskedRecord, BatchToRead};
use super::check::{self, CheckedBatch, IntactBatch, Rejection};
use super::memory::StreamMemory;
use super::outbox::{Outbox, RejectionSink};
use super::unreadable::RecordsField;
use super::{Shared, convert, status, unreadable};
use crate::core::{AppendRequest, ProducerLife};
use crate::runtime::command::{
    AppendSink, CarriedFacts, ControlCommand, DataCommand, OpenTopicRefusal, OpenedTopic, Permits,
    Ticket,
};
use crate::runtime::published::TopicView;

/// Batches that may be larger than this when they are decompressed are decompressed by the read pool; of
/// smaller ones, as most are, the way there and back would be a part of the time.
const AT_ONCE_BYTES_MAX: usize = 256 * 1024;

/// Reads one Produce stream. Waits for memory and for the sequencer, never for the client to read
/// unless thousands of answers wait for it.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    memory: StreamMemory,
    open: BTreeMap<u32, OpenHandle>,
    /// Handles whose topic could not be opened, and why.
    refused: BTreeMap<u32, Problem>,
    is_draining: bool,
}

#[derive(Debug)]
struct OpenHandle {
    topic: Arc<TopicView>,
    producer: ProducerLife,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>) -> Self {
        let memory = StreamMemory::new(&shared);
        Self {
            shared,
            outbox,
            memory,
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            is_draining: false,
        }
    }

    /// Reads until the client is done, the stream is broken or nobody listens any more.
    pub(super) async fn run(mut self, mut requests: Streaming<ProduceRequest>) {
        let outbox = Arc::clone(&self.outbox);
        tokio::select! {
            end = self.read(&mut requests) => outbox.end(end.map_err(Box::new)),
            () = outbox.closed() => {}
        }
    }

    async fn read(&mut self, requests: &mut Streaming<ProduceRequest>) -> Result<(), Status> {
        let mut drain = pin!(self.shared.drain.begun());
        loop {
            tokio::select! {
                biased;
                () = &mut drain => return self.read_on_while_draining(requests).await,
                request = requests.message() => match request.map_err(describe_break)? {
                    Some(request) => self.take(request).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Refuses what comes after the drain has begun, until the client closes or its time is up.
    async fn read_on_while_draining(
        &mut self,
        requests: &mut Streaming<ProduceRequest>,
    ) -> Result<(), Status> {
        self.is_draining = true;
        let notice = self.shared.drain.notice();
        let close_after_ms = u64::try_from(notice.as_millis()).unwrap_or(u64::MAX);
        self.outbox
            .tell(Response::Draining(v1::Draining { close_after_ms }));
        let mut close = pin!(tokio::time::sleep(notice));
        loop {
            tokio::select! {
                biased;
                () = &mut close => return Err(status::shutting_down().into()),
                request = requests.message() => match request.map_err(describe_break)? {
                    Some(request) => self.take(request).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Takes one step of the stream.
    ///
    /// # Errors
    /// The status that ends a stream which breaks the rules.
    async fn take(&mut self, request: ProduceRequest) -> Result<(), Status> {
        self.outbox.has_room().await;
        match request.request {
            Some(Request::Open(open)) => self.open(open).await?,
            Some(Request::Produce(batch)) => self.produce(batch).await,
            None => {
                let message = "a request must open a topic or produce a batch";
                return Err(Problem::invalid_field("request", message).into());
            }
        }
        Ok(())
    }

    async fn open(&mut self, request: v1::OpenTopic) -> Result<(), Status> {
        let handle = request.handle;
        if self.open.contains_key(&handle) {
            // Which of the two topics later batches are meant for, nobody could tell.
            let message = format!("handle {handle} is in use on this stream");
            return Err(Problem::invalid_field("open.handle", message).into());
        }
        self.refused.remove(&handle);
        match self.try_open(request).await {
            Ok((opened, producer)) => self.note_opened(handle, opened, producer),
            Err(problem) => self.note_refused(handle, problem),
        }
        Ok(())
    }

    /// Asks the sequencer for the topic, since only it knows the producer's last sequences. What the
    /// client has sent under the handle meanwhile is read afterwards.
    async fn try_open(
        &self,
        request: v1::OpenTopic,
    ) -> Result<(OpenedTopic, ProducerLife), Problem> {
        if self.is_draining {
            return Err(status::shutting_down());
        }
        if self.open.len() >= OPEN_TOPICS_PER_STREAM_MAX as usize {
            return Err(status::too_many_open_topics());
        }
        let name = convert::topic_name("open.topic", &request.topic)?;
        let broker = self.shared.check_broker(request.broker_id.as_deref());
        broker.map_err(|problem| problem.with("topic", &name))?;
        let producer = ids::ProducerId::from_slice(&request.producer_id)
            .map_err(|error| Problem::invalid_field("open.producer_id", error.to_string()))?;
        let producer = ProducerLife {
            id: ProducerId::new(*producer.as_bytes()),
            epoch: request.producer_epoch,
        };
        let opened = self.shared.control(|answer| ControlCommand::OpenTopic {
            name,
            topic_id: convert::topic_id(request.topic_id),
            producer,
            answer,
        });
        match opened.await {
            Ok(opened) => Ok((opened, producer)),
            Err(error) => {
                let topics = self.shared.published().topics();
                let has_id = request.topic_id.is_some();
                Err(status::command_failed(error, |refusal| match refusal {
                    OpenTopicRefusal::NotFound(missing) => {
                        status::lookup_refused(missing, has_id, &topics)
                    }
                    OpenTopicRefusal::ProducerFenced(fenced) => {
                        status::producer_fenced(fenced).with("topic", &request.topic)
                    }
                }))
            }
        }
    }

    fn note_opened(&mut self, handle: u32, opened: OpenedTopic, producer: ProducerLife) {
        let OpenedTopic {
            topic,
            last_sequences,
        } = opened;
        let last_sequences = last_sequences.into_iter();
        self.outbox.name_handle(handle, topic.name());
        self.outbox.tell(Response::Opened(v1::TopicOpened {
            handle,
            topic_id: topic.id().get(),
            partition_count: convert::partition_count(&topic),
            last_sequences: last_sequences
                .map(|(partition, sequence)| v1::LastSequence {
                    partition,
                    sequence,
                })
                .collect(),
            limits: Some(limits::published()),
        }));
        self.open.insert(handle, OpenHandle { topic, producer });
    }

    fn note_refused(&mut self, handle: u32, problem: Problem) {
        let error = Some(problem.clone().into());
        self.outbox
            .tell(Response::OpenRefused(v1::OpenRefused { handle, error }));
        self.refused.insert(handle, problem);
        if self.refused.len() > OPEN_TOPICS_PER_STREAM_MAX as usize {
            self.refused.pop_first();
        }
    }

    async fn produce(&mut self, batch: ProduceBatch) {
        let ticket = Ticket {
            handle: batch.handle,
            partition: batch.partition,
            sequence: batch.sequence,
        };
        let place = match self.place(&batch) {
            Ok(place) => place,
            Err(problem) => {
                self.outbox.refuse(ticket, problem);
                return;
            }
        };
        let received = self.receive(&batch);
        // What it takes to decompress the batch is had together with the rest: who holds memory should wait
        // for no more of it. Only how many records are in a batch that does not say it, that tells.
        let batch_bytes = match &received {
            Ok(received) => {
                let told = match received.is_uncounted() {
                    true => 0,
                    false => received.record_count_max,
                };
                let facts_bytes = self.facts_bytes(batch.handle, told);
                received.payload.len() + received.plain_bytes_max + facts_bytes
            }
            Err(_) => batch.batch.len() + batch.compressed_batch.len(),
        };
        let Some(mut permits) = self.memory.take(batch_bytes).await else {
            return;
        };
        let checked = match received {
            Ok(received) => self.check(&place, &batch, received, &mut permits).await,
            Err(rejection) => Err(rejection),
        };
        let checked = checked.inspect(|(checked, facts)| {
            if checked.codec.is_some() {
                self.give_back(&mut permits, &batch, checked, facts.as_deref());
            }
            permits.tally = Some(self.shared.tally(checked.record_count.into()));
        });
        let Place { partition, stamp } = place;
        self.outbox.expect_answer();
        self.shared.push(match checked {
            Ok((checked, facts)) => DataCommand::Append {
                request: AppendRequest {
                    partition,
                    producer: Some(stamp),
                    payload_bytes: u32::try_from(checked.payload.len()).unwrap_or(u32::MAX),
                    payload_crc: checked.crc,
                    codec: checked.codec,
                    record_count: checked.record_count,
                    expected: expected_offset(&batch),
                },
                payload: checked.payload,
                facts,
                sink: Arc::clone(&self.outbox) as Arc<dyn AppendSink>,
                ticket,
                permits,
            },
            Err(Rejection { problem, is_final }) => {
                let reason = problem.reason().number();
                DataCommand::Reject {
                    partition,
                    spends: is_final.then_some((stamp, reason)),
                    sink: Arc::new(RejectionSink::new(&self.outbox, problem)),
                    ticket,
                    permits,
                }
            }
        });
    }

    /// Checks what a batch says of itself.
    fn receive(&self, batch: &ProduceBatch) -> Result<IntactBatch, Rejection> {
        match self.is_draining {
            true => Err(Rejection::for_now(status::shutting_down())),
            false => check::receive(batch),
        }
    }

    /// Checks a batch, and looks at its records if its topic does. What was decompressed for that is carried
    /// on only with what was found.
    async fn check(
        &self,
        place: &Place,
        batch: &ProduceBatch,
        received: IntactBatch,
        permits: &mut Permits,
    ) -> Result<(CheckedBatch, Option<Box<CarriedFacts>>), Rejection> {
        let is_uncounted = received.is_uncounted();
        let mut checked = self.check_records(received).await?;
        if let (Some(codec), Some(plain)) = (checked.codec, &checked.plain) {
            let compressions = &self.shared.metrics.engine.compressions;
            compressions.note_received(codec, checked.payload.len(), plain.len());
        }
        let facts_bytes = self.facts_bytes(batch.handle, checked.record_count);
        if is_uncounted && facts_bytes > 0 {
            let bytes = checked.payload.len() + checked.records().len();
            StreamMemory::give_back(permits, bytes);
            let taken = self.memory.take_more(permits, bytes + facts_bytes).await;
            taken.ok_or_else(|| Rejection::for_now(status::shutting_down()))?;
        }
        let mut facts = self.look_at(place, batch, checked.records()).await?;
        let plain = checked.plain.take();
        if let Some(facts) = &mut facts {
            facts.plain = plain;
        }
        Ok((checked, facts))
    }

    /// Checks the records of a batch. Decompressing a large one takes milliseconds, in which this thread
    /// would serve nobody else: the read pool does it.
    async fn check_records(&self, received: IntactBatch) -> Result<CheckedBatch, Rejection> {
        if received.plain_bytes_max <= AT_ONCE_BYTES_MAX {
            return check::check(received);
        }
        let pool = self.shared.reading.pool();
        let checked = pool.run(move || check::check(received)).await;
        checked.unwrap_or_else(|| Err(Rejection::for_now(status::shutting_down())))
    }

    /// Gives back the memory that it took to look into a compressed batch and that nothing holds any more.
    fn give_back(
        &self,
        permits: &mut Permits,
        batch: &ProduceBatch,
        checked: &CheckedBatch,
        facts: Option<&CarriedFacts>,
    ) {
        let kept = facts.map_or(0, |facts| {
            let plain_bytes = facts.plain.as_ref().map_or(0, Bytes::len);
            plain_bytes + self.facts_bytes(batch.handle, checked.record_count)
        });
        StreamMemory::give_back(permits, checked.payload.len() + kept);
    }

    /// Memory that is needed beside a batch if its topic looks at records.
    fn facts_bytes(&self, handle: u32, record_count: u32) -> usize {
        let open = self.open.get(&handle);
        open.map_or(0, |open| facts::memory_bytes(&open.topic, record_count))
    }

    /// Reads what the topic wants to know of a batch's records.
    async fn look_at(
        &self,
        place: &Place,
        batch: &ProduceBatch,
        records: &[u8],
    ) -> Result<Option<Box<CarriedFacts>>, Rejection> {
        let Some(OpenHandle { topic, .. }) = self.open.get(&batch.handle) else {
            return Ok(None);
        };
        let expected = match batch.expectation {
            Some(Expectation::ExpectedVersion(version)) => {
                check::check_version(&topic.settings().config, records)?;
                Some(version)
            }
            Some(Expectation::ExpectedOffset(_)) | None => None,
        };
        let to_read = BatchToRead {
            topic,
            payload: records,
            numbered: Some((place.partition, place.stamp)),
            is_redriven: false,
        };
        let asked = |_, number: u32| AskedRecord {
            origin: number,
            expected_version: expected.map(|version| version.saturating_add(number.into())),
        };
        let field = |_, number| format!("batch.records[{number}]");
        let facts = facts::read(&self.shared, &[to_read], asked, field).await;
        facts.map_err(Rejection::of_records)
    }

    /// Where a batch is to go, and who sends it.
    fn place(&self, batch: &ProduceBatch) -> Result<Place, Problem> {
        let Some(OpenHandle { topic, producer }) = self.open.get(&batch.handle) else {
            let refused = self.refused.get(&batch.handle).cloned();
            return Err(refused.unwrap_or_else(|| {
                let message = format!("handle {} is not open on this stream", batch.handle);
                Problem::invalid_field("produce.handle", message)
            }));
        };
        if topic.partition(batch.partition).is_none() {
            let partition_count = convert::partition_count(topic);
            let name = topic.name();
            return Err(status::partition_not_found(
                name,
                batch.partition,
                partition_count,
            ));
        }
        Ok(Place {
            partition: PartitionRef {
                topic: topic.id(),
                partition: batch.partition,
            },
            stamp: ProducerStamp {
                id: producer.id,
                epoch: producer.epoch,
                sequence: batch.sequence,
            },
        })
    }
}

/// The offset that the first record of a batch is to get, if that matters.
fn expected_offset(batch: &ProduceBatch) -> Option<Offset> {
    match batch.expectation? {
        Expectation::ExpectedOffset(offset) => Some(Offset::new(offset)),
        Expectation::ExpectedVersion(_) => None,
    }
}

/// Where a batch goes and who sends it.
struct Place {
    partition: PartitionRef,
    stamp: ProducerStamp,
}

/// What cannot be read ends the stream, since nobody knows what it was; the client is told why in our
/// own words.
fn describe_break(status: Status) -> Status {
    match unreadable::explain(&status, Some(RecordsField::of_batch("produce.batch"))) {
        Some(problem) => problem.into(),
        None => status,
    }
}
