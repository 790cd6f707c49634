//! The events of a fetch as messages of its stream.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use prost::Message;
use tonic::Status;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response;
use towpath_proto::wire::{FetchResponse, FetchedBatch};
use towpath_storage::{Frame, Lsn, Offset, OffsetRange};

use super::request::Opened;
use super::{Shared, status};
use crate::fetch::{Fetch, FetchEvent, GapCause, Place, ReadFailure};
use crate::memory::Unread;
use crate::server::Told;

/// What is told at once, about: a stream is given to the connection in chunks of this size, or of what
/// was read at once if that is more.
pub(in crate::api) const CHUNK_BYTES: usize = 64 * 1024;

/// What is told beside records takes no turn up to this size: a stream costs more than that in any case.
pub(in crate::api) const FREE_BYTES: usize = 4 * 1024;

/// Tells a client what a fetch finds.
#[derive(Debug)]
pub(super) struct Telling {
    shared: Arc<Shared>,
    fetch: Fetch,
    /// Names of the sources.
    topics: Vec<TopicName>,
    /// Told first.
    opened: Option<v1::FetchOpened>,
    /// Told last.
    end: Option<Status>,
    memory: Arc<Unread>,
    /// Bytes of batches that were told since the connection was given something; a chunk at the beginning.
    told_bytes: usize,
}

impl Telling {
    pub(super) fn new(
        shared: Arc<Shared>,
        opened: Opened,
        fetch: Fetch,
        memory: Arc<Unread>,
    ) -> Self {
        let topics = opened.sources.iter();
        Self {
            shared,
            fetch,
            topics: topics.map(|source| source.topic.name().clone()).collect(),
            opened: Some(opened.response),
            end: None,
            memory,
            told_bytes: 0,
        }
    }

    /// The next message; none after the last. Dropping the future loses nothing that was read.
    pub(super) async fn next(&mut self) -> Option<Result<Told<FetchResponse>, Status>> {
        if let Some(opened) = &self.opened
            && opened.encoded_len() > FREE_BYTES
        {
            self.memory.begin_turn().await;
        }
        if let Some(opened) = self.opened.take() {
            // The connection is given it before anything is read, so that a client which takes not even
            // this holds no turn.
            self.told_bytes = CHUNK_BYTES;
            let response = FetchResponse::from(Response::Opened(opened));
            return Some(Ok(response.into()));
        }
        if let Some(status) = self.end.take() {
            return Some(Err(status));
        }
        if self.told_bytes >= CHUNK_BYTES && !self.fetch.has_events() {
            self.told_bytes = 0;
            end_turn().await;
        }
        let event = self.fetch.next().await?;
        let pinned = match &event {
            FetchEvent::Frame(_, frame) => self.memory.pin(frame.backing, frame.payload.len()),
            _ => None,
        };
        let message = self.describe(event).into();
        Some(Ok(Told { message, pinned }))
    }

    fn describe(&mut self, event: FetchEvent) -> Response {
        match event {
            FetchEvent::Frame(place, frame) => {
                self.told_bytes += frame.payload.len();
                Response::Batch(batch(place, frame))
            }
            FetchEvent::CaughtUp { place, end, lsn } => {
                Response::CaughtUp(caught_up(place, end, lsn))
            }
            FetchEvent::Gap {
                place,
                range,
                cause,
            } => Response::Gap(gap(place, range, cause)),
            FetchEvent::Failed {
                source,
                partition,
                failure,
            } => Response::Failed(source_failed(&self.topics, source, partition, &failure)),
            FetchEvent::Heartbeat(lsn) => Response::Heartbeat(v1::Heartbeat {
                lsn: lsn.get(),
                broker_time_ms: self.shared.broker_time_ms(),
            }),
            FetchEvent::Draining => {
                self.end = Some(status::shutting_down().into());
                // A reader loses nothing, so there is nothing to wait for.
                Response::Draining(v1::Draining { close_after_ms: 0 })
            }
        }
    }
}

/// Gives the connection what was told, by having nothing for once. All that was read is then encoded or
/// pinned, and no slice of a larger buffer waits with the client that was not counted.
pub(in crate::api) async fn end_turn() {
    let mut is_over = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub(in crate::api) fn batch(place: Place, frame: Frame) -> FetchedBatch {
    let Frame {
        header,
        payload,
        deltas,
        backing: _,
    } = frame;
    let (batch, compressed_batch) = match header.codec {
        0 => (payload, Bytes::new()),
        _ => (Bytes::new(), payload),
    };
    FetchedBatch {
        handle: handle(place.source),
        partition: place.partition,
        base_offset: header.base_offset.get(),
        record_count: header.record_count,
        lsn: header.lsn.get(),
        append_time_ms: header.append_time_ms,
        crc: header.payload_crc,
        offset_deltas: deltas.iter().collect(),
        codec: header.codec.into(),
        batch,
        compressed_batch,
        is_batch_repeated: false,
    }
}

pub(in crate::api) fn caught_up(place: Place, end: Offset, lsn: Lsn) -> v1::CaughtUp {
    v1::CaughtUp {
        handle: handle(place.source),
        partition: place.partition,
        end_offset: end.get(),
        lsn: lsn.get(),
    }
}

pub(in crate::api) fn gap(place: Place, range: OffsetRange, cause: GapCause) -> v1::Gap {
    v1::Gap {
        handle: handle(place.source),
        partition: place.partition,
        range: Some(v1::OffsetRange {
            start: range.start.get(),
            end: range.end.get(),
        }),
        reason: reason(cause).into(),
    }
}

/// What a client is told of a topic or partition that cannot be read on.
pub(in crate::api) fn source_failed(
    topics: &[TopicName],
    source: usize,
    partition: Option<u32>,
    failure: &ReadFailure,
) -> v1::SourceFailed {
    let problem = topics
        .get(source)
        .map(|topic| status::read_failed(failure, topic, partition.unwrap_or_default()));
    v1::SourceFailed {
        handle: handle(source),
        partition,
        error: problem.map(Into::into),
    }
}

/// The handle of a topic is its place among the sources.
pub(in crate::api) fn handle(source: usize) -> u32 {
    u32::try_from(source).unwrap_or(u32::MAX)
}

fn reason(cause: GapCause) -> v1::GapReason {
    match cause {
        GapCause::Trimmed => v1::GapReason::Trimmed,
        GapCause::Compacted => v1::GapReason::Compacted,
        GapCause::Lost => v1::GapReason::DataLoss,
    }
}
