//! The sending half of a Join stream: reads what the member owns, and tells it what is decided.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep, timeout};
use tonic::Status;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::JoinResponse;
use towpath_proto::wire::join_response::Response;
use towpath_storage::PartitionRef;

use super::mailbox::{Mailbox, News, Verdicts};
use super::seat::Seat;
use super::{Shared, convert, status};
use crate::api::fetch::events;
use crate::core::{AssignedPartition, CommitVerdict, Generation};
use crate::fetch::{Fetch, FetchEvent, GapCause, Place};
use crate::memory::{Pinned, Unread};
use crate::server::Told;

/// How often a member has to say that it is there, within the time after which it is taken for dead.
pub(in crate::api) const HEARTBEATS_PER_SESSION: u32 = 3;

/// Tells one member.
#[derive(Debug)]
pub(super) struct Teller {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    fetch: Fetch,
    mailbox: Arc<Mailbox>,
    memory: Arc<Unread>,
    /// Names of the topics, by handle.
    names: Vec<TopicName>,
    /// What the member owns, with the generation that it was told.
    owned: BTreeMap<PartitionRef, Generation>,
    /// Told before anything else.
    waiting: VecDeque<(Response, Option<Arc<Pinned>>)>,
    /// How the stream ends, when everything that waits was told.
    end: Option<Result<(), Status>>,
    /// Set while the broker stops: when the stream ends.
    closing: Option<Pin<Box<Sleep>>>,
    /// Bytes of batches that were told since the connection was given something; a chunk at the
    /// beginning, so that a member which takes not even that holds no turn.
    told_bytes: usize,
}

enum Step {
    News(Vec<News>),
    Event(Option<FetchEvent>),
    Credited,
    Silence,
    Closed,
}

impl Teller {
    pub(super) fn new(
        shared: Arc<Shared>,
        seat: Arc<Seat>,
        fetch: Fetch,
        mailbox: Arc<Mailbox>,
        memory: Arc<Unread>,
    ) -> Self {
        let names: Vec<_> = seat.topics.iter().map(|it| it.name().clone()).collect();
        let joined = Response::Joined(joined(&shared, &seat));
        Self {
            shared,
            seat,
            fetch,
            mailbox,
            memory,
            names,
            owned: BTreeMap::new(),
            waiting: VecDeque::from([(joined, None)]),
            end: None,
            closing: None,
            told_bytes: events::CHUNK_BYTES,
        }
    }

    /// The next message; none after the last. Dropping the future loses nothing that was read.
    pub(super) async fn next(&mut self) -> Option<Result<Told<JoinResponse>, Status>> {
        loop {
            if let Some((response, _)) = self.waiting.front() {
                if response.encoded_len() > events::FREE_BYTES {
                    self.memory.begin_turn().await;
                }
                let (response, pinned) = self.waiting.pop_front()?;
                let message = response.into();
                return Some(Ok(Told { message, pinned }));
            }
            match self.end.take() {
                Some(Ok(())) => return None,
                Some(Err(status)) => {
                    self.end = Some(Ok(()));
                    return Some(Err(status));
                }
                None => {}
            }
            if self.told_bytes >= events::CHUNK_BYTES && !self.fetch.has_events() {
                self.told_bytes = 0;
                events::end_turn().await;
            }
            match self.step().await {
                Step::News(news) => news.into_iter().for_each(|it| self.take_news(it)),
                Step::Event(Some(event)) => self.take_event(event),
                Step::Credited => {}
                Step::Silence => self.beat(),
                Step::Event(None) => self.end = Some(Ok(())),
                Step::Closed => self.end = Some(Err(status::shutting_down().into())),
            }
        }
    }

    /// What happens next. What the sequencer has decided goes before records.
    async fn step(&mut self) -> Step {
        if let Some(closing) = &mut self.closing {
            return tokio::select! {
                biased;
                news = self.mailbox.take() => Step::News(news),
                () = closing => Step::Closed,
            };
        }
        if !self.seat.has_credit() {
            let wait = async {
                let interval = self.shared.heartbeat_interval;
                match timeout(interval, self.seat.credited()).await {
                    Ok(()) => Step::Credited,
                    Err(_elapsed) => Step::Silence,
                }
            };
            let drain = self.shared.drain.begun();
            return tokio::select! {
                biased;
                news = self.mailbox.take() => Step::News(news),
                step = wait => step,
                () = drain => Step::Event(Some(FetchEvent::Draining)),
            };
        }
        tokio::select! {
            biased;
            news = self.mailbox.take() => Step::News(news),
            event = self.fetch.next() => Step::Event(event),
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Assigned(partitions) => self.assign(&partitions),
            News::Revoking {
                partitions,
                deadline_ms,
            } => {
                let left_ms = deadline_ms.saturating_sub(self.shared.broker_time_ms());
                let partitions = self.stop_reading(&partitions);
                self.tell(Response::Revoking(v1::Revoking {
                    partitions,
                    grace_ms: u64::try_from(left_ms).unwrap_or_default(),
                }));
            }
            News::Lost(partitions) => {
                let lost = self.stop_reading(&partitions);
                for partition in &partitions {
                    self.owned.remove(partition);
                    self.seat.forget(*partition);
                }
                self.tell(Response::Lost(v1::Lost { partitions: lost }));
            }
            News::Replaced => self.end = Some(Err(status::member_replaced().into())),
            News::Deleted => {
                let problem = status::group_deleted(&self.seat.identity.name);
                self.end = Some(Err(problem.into()));
            }
            News::Committed(verdicts) => self.answer(verdicts),
            News::Over(end) => self.end = Some(end.map_err(|status| *status)),
        }
    }

    fn assign(&mut self, partitions: &[AssignedPartition]) {
        // One message for each generation: a member that comes back may have got its partitions one
        // after the other.
        let mut by_generation: BTreeMap<Generation, Vec<v1::AssignedPartition>> = BTreeMap::new();
        for it in partitions {
            let Some(place) = self.seat.place(it.partition) else {
                continue;
            };
            self.owned.insert(it.partition, it.generation);
            self.fetch.begin(place, it.committed);
            self.seat.begin(it.partition, it.committed);
            let topic = self.seat.topics.get(place.source);
            let handle = topic.and_then(|topic| topic.partition(place.partition));
            let assigned = v1::AssignedPartition {
                handle: events::handle(place.source),
                partition: place.partition,
                committed_offset: it.committed.get(),
                end_offset: handle.map_or(0, |handle| handle.log().end().get()),
            };
            by_generation
                .entry(it.generation)
                .or_default()
                .push(assigned);
        }
        for (generation, partitions) in by_generation {
            self.tell(Response::Assigned(v1::Assigned {
                generation: generation.0,
                partitions,
            }));
        }
    }

    /// Sends no more records of these, and names them as the member knows them.
    fn stop_reading(&mut self, partitions: &[PartitionRef]) -> Vec<v1::AssignmentRef> {
        let mut named = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (Some(place), Some(generation)) =
                (self.seat.place(*partition), self.owned.get(partition))
            else {
                continue;
            };
            named.push(v1::AssignmentRef {
                handle: events::handle(place.source),
                partition: place.partition,
                generation: generation.0,
            });
            self.fetch.stop(place);
        }
        named
    }

    fn answer(&mut self, verdicts: Verdicts) {
        let places = self.seat.pop_commit();
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                let problem = status::command_failed(error, |never| match never {});
                self.end = Some(Err(problem.into()));
                return;
            }
        };
        let results = places.into_iter().zip(verdicts);
        let results = results.map(|((handle, partition), verdict)| {
            let (committed_offset, error) = match verdict {
                CommitVerdict::Committed(offset) => {
                    if let Some(place) = self.seat.partition(handle, partition) {
                        self.seat.note_committed(place, offset);
                    }
                    (offset.get(), None)
                }
                CommitVerdict::Refused(refusal) => {
                    let topic = self.names.get(handle as usize);
                    let problem = status::commit_refused(refusal, topic, partition);
                    (0, Some(problem.into()))
                }
            };
            v1::CommitResult {
                handle,
                partition,
                committed_offset,
                error,
            }
        });
        let committed = v1::Committed {
            results: results.collect(),
        };
        self.tell(Response::Committed(committed));
    }

    fn take_event(&mut self, event: FetchEvent) {
        let response = match event {
            FetchEvent::Frame(place, frame) => {
                self.told_bytes += frame.payload.len();
                self.seat.send(self.partition(place), &frame);
                let pinned = self.memory.pin(frame.backing, frame.payload.len());
                let batch = Response::Batch(events::batch(place, frame));
                return self.waiting.push_back((batch, pinned));
            }
            FetchEvent::CaughtUp { place, end, lsn } => {
                Response::CaughtUp(events::caught_up(place, end, lsn))
            }
            FetchEvent::Gap {
                place,
                range,
                cause,
            } => {
                // What compaction let go of was not left out: it was passed over by newer records.
                let is_skipped = cause != GapCause::Compacted;
                if let Some(partition) = self.partition(place).filter(|_| is_skipped) {
                    self.seat.add_gap(partition, range);
                }
                Response::Gap(events::gap(place, range, cause))
            }
            FetchEvent::Failed {
                source,
                partition,
                failure,
            } => Response::Failed(events::source_failed(
                &self.names,
                source,
                partition,
                &failure,
            )),
            FetchEvent::Heartbeat(_) => return self.beat(),
            FetchEvent::Draining => {
                let notice = self.shared.drain.notice();
                self.closing = Some(Box::pin(sleep(notice)));
                Response::Draining(v1::Draining {
                    close_after_ms: millis(notice),
                })
            }
        };
        self.tell(response);
    }

    fn tell(&mut self, response: Response) {
        self.waiting.push_back((response, None));
    }

    fn beat(&mut self) {
        self.tell(Response::Heartbeat(v1::Heartbeat {
            lsn: self.shared.published().durable().get(),
            broker_time_ms: self.shared.broker_time_ms(),
        }));
    }

    fn partition(&self, place: Place) -> Option<PartitionRef> {
        self.seat
            .partition(events::handle(place.source), place.partition)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.seat.closed.cancel();
    }
}

fn joined(shared: &Shared, seat: &Seat) -> v1::Joined {
    let topics = (0..)
        .zip(&seat.topics)
        .map(|(handle, topic)| v1::JoinedTopic {
            handle,
            topic: topic.name().as_str().to_owned(),
            topic_id: topic.id().get(),
            partition_count: convert::partition_count(topic),
        });
    v1::Joined {
        topics: topics.collect(),
        heartbeat_interval_ms: millis(shared.session_timeout / HEARTBEATS_PER_SESSION),
        session_timeout_ms: millis(shared.session_timeout),
        broker_id: shared.identity.broker_id.to_string(),
        group_id: seat.identity.group.get(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
