//! The events of a fetch as messages of its stream.

use std::sync::Arc;

use tonic::Status;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response;
use towpath_proto::wire::{FetchResponse, FetchedBatch};
use towpath_storage::Frame;

use super::request::Opened;
use super::{Shared, status};
use crate::fetch::{Fetch, FetchEvent, GapCause, Place, ReadFailure};

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
}

impl Telling {
    pub(super) fn new(shared: Arc<Shared>, opened: Opened, fetch: Fetch) -> Self {
        let topics = opened.sources.iter();
        Self {
            shared,
            fetch,
            topics: topics.map(|source| source.topic.name().clone()).collect(),
            opened: Some(opened.response),
            end: None,
        }
    }

    /// The next message; none after the last. Dropping the future loses nothing that was read.
    pub(super) async fn next(&mut self) -> Option<Result<FetchResponse, Status>> {
        if let Some(opened) = self.opened.take() {
            return Some(Ok(Response::Opened(opened).into()));
        }
        if let Some(status) = self.end.take() {
            return Some(Err(status));
        }
        let event = self.fetch.next().await?;
        Some(Ok(self.describe(event).into()))
    }

    fn describe(&mut self, event: FetchEvent) -> Response {
        match event {
            FetchEvent::Frame(place, frame) => Response::Batch(batch(place, frame)),
            FetchEvent::CaughtUp { place, end, lsn } => Response::CaughtUp(v1::CaughtUp {
                handle: handle(place.source),
                partition: place.partition,
                end_offset: end.get(),
                lsn: lsn.get(),
            }),
            FetchEvent::Gap {
                place,
                range,
                cause,
            } => Response::Gap(v1::Gap {
                handle: handle(place.source),
                partition: place.partition,
                range: Some(v1::OffsetRange {
                    start: range.start.get(),
                    end: range.end.get(),
                }),
                reason: reason(cause).into(),
            }),
            FetchEvent::Failed {
                source,
                partition,
                failure,
            } => Response::Failed(self.failed(source, partition, &failure)),
            FetchEvent::Heartbeat(lsn) => Response::Heartbeat(v1::Heartbeat {
                lsn: lsn.get(),
                broker_time_ms: self.broker_time_ms(),
            }),
            FetchEvent::Draining => {
                self.end = Some(status::shutting_down().into());
                // A reader loses nothing, so there is nothing to wait for.
                Response::Draining(v1::Draining { close_after_ms: 0 })
            }
        }
    }

    fn failed(
        &self,
        source: usize,
        partition: Option<u32>,
        failure: &ReadFailure,
    ) -> v1::SourceFailed {
        let problem = self
            .topics
            .get(source)
            .map(|topic| status::read_failed(failure, topic, partition.unwrap_or_default()));
        v1::SourceFailed {
            handle: handle(source),
            partition,
            error: problem.map(Into::into),
        }
    }

    /// Broker time as near as it can be told between two rounds.
    fn broker_time_ms(&self) -> i64 {
        let last_round_ms = self.shared.published().time_ms();
        last_round_ms.max(self.shared.clock.wall_ms())
    }
}

fn batch(place: Place, frame: Frame) -> FetchedBatch {
    let Frame { header, payload } = frame;
    FetchedBatch {
        handle: handle(place.source),
        partition: place.partition,
        base_offset: header.base_offset.get(),
        record_count: header.record_count,
        lsn: header.lsn.get(),
        append_time_ms: header.append_time_ms,
        crc: header.payload_crc,
        offset_deltas: Vec::new(),
        batch: payload,
        is_batch_repeated: false,
    }
}

/// The handle of a topic is its place among the sources.
fn handle(source: usize) -> u32 {
    u32::try_from(source).unwrap_or(u32::MAX)
}

fn reason(cause: GapCause) -> v1::GapReason {
    match cause {
        GapCause::Trimmed => v1::GapReason::Trimmed,
        GapCause::Lost => v1::GapReason::DataLoss,
    }
}
