//! A reader against a model of logs with holes and of connections that break anywhere: every
//! offset is accounted for exactly once, as a record or in a gap, in order.

use std::collections::BTreeMap;

use bytes::BytesMut;
use towpath_proto::batch::{self, NewRecord};
use towpath_proto::problem::Problem;

use super::*;
use crate::reader::{GapReason, Source, Start};
use crate::testing::for_seeds;

const PARTITIONS: u32 = 3;
const BROKER_ID: &str = "0f";

/// What a partition holds, in offset order and without holes.
#[derive(Debug, Clone)]
enum Piece {
    Batch(FetchedBatch),
    Gap(u64, u64),
}

impl Piece {
    fn end(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.next_offset().get(),
            Self::Gap(_, end) => *end,
        }
    }

    fn to_response(&self, handle: u32, partition: u32) -> Response {
        match self.clone() {
            Self::Batch(batch) => Response::Batch(FetchedBatch {
                handle,
                partition,
                ..batch
            }),
            Self::Gap(start, end) => Response::Gap(v1::Gap {
                handle,
                partition,
                range: Some(v1::OffsetRange { start, end }),
                reason: v1::GapReason::Compacted.into(),
            }),
        }
    }
}

/// A log of random batches and gaps.
fn log(random: &mut fastrand::Rng) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    for _ in 0..random.u32(0..12) {
        let count = random.u32(1..5);
        let piece = match random.u32(0..4) {
            0 => Piece::Gap(offset, offset + u64::from(count)),
            1 => Piece::Batch(batch(offset, count, 1 + random.u32(0..3))),
            _ => Piece::Batch(batch(offset, count, 1)),
        };
        offset = piece.end();
        pieces.push(piece);
    }
    pieces
}

/// A batch with every `step`-th offset.
fn batch(base_offset: u64, record_count: u32, step: u32) -> FetchedBatch {
    let mut bytes = BytesMut::new();
    for _ in 0..record_count {
        let record = NewRecord {
            key: None,
            value: Some(b"v".as_slice()),
            headers: std::iter::empty(),
            event_time_ms: None,
        };
        record.put(&mut bytes);
    }
    let deltas = (0..record_count).map(|index| index * step);
    FetchedBatch {
        base_offset,
        record_count,
        lsn: 1,
        crc: batch::crc(&bytes),
        batch: bytes.freeze(),
        offset_deltas: if step == 1 {
            Vec::new()
        } else {
            deltas.collect()
        },
        ..FetchedBatch::default()
    }
}

fn options(follow: bool, start: Start) -> ReaderOptions {
    ReaderOptions {
        sources: vec![Source::new("orders")],
        start,
        partitions: Vec::new(),
        follow,
        merged: false,
        skip_data_loss: false,
        give_up_after: None,
    }
}

/// What a broker sends for a request, partition by partition.
fn serve(logs: &[Vec<Piece>], request: &v1::FetchRequest) -> Vec<Response> {
    serve_from(logs, &[0; PARTITIONS as usize], request)
}

/// The same if the logs are trimmed up to `log_starts` just after it was opened.
fn serve_from(
    logs: &[Vec<Piece>],
    log_starts: &[u64],
    request: &v1::FetchRequest,
) -> Vec<Response> {
    let source = &request.sources[0];
    let all: Vec<u32> = (0..PARTITIONS).collect();
    let wanted = if source.partitions.is_empty() {
        &all
    } else {
        &source.partitions
    };
    let mut opened = v1::OpenedTopic {
        topic: "orders".to_owned(),
        topic_id: 7,
        ..v1::OpenedTopic::default()
    };
    let mut responses = Vec::new();
    for &partition in wanted {
        let log = &logs[partition as usize];
        let own = source
            .start_offsets
            .iter()
            .find(|it| it.partition == partition);
        let start = own.map_or(0, |it| it.offset);
        let end = log.last().map_or(0, Piece::end);
        opened.partitions.push(v1::OpenedPartition {
            partition,
            start_offset: start,
            log_start_offset: 0,
            end_offset: end,
        });
        let log_start = log_starts[partition as usize];
        responses.extend((start < log_start).then(|| trimmed(partition, start, log_start)));
        let start = start.max(log_start);
        let pieces = log.iter().filter(|piece| piece.end() > start);
        responses.extend(pieces.map(|piece| piece.to_response(0, partition)));
        responses.push(Response::CaughtUp(v1::CaughtUp {
            handle: 0,
            partition,
            end_offset: end,
            lsn: 1,
        }));
    }
    let opened = v1::FetchOpened {
        topics: vec![opened],
        lsn: 1,
        broker_id: BROKER_ID.to_owned(),
    };
    responses.insert(0, Response::Opened(opened));
    responses
}

fn trimmed(partition: u32, start: u64, end: u64) -> Response {
    Response::Gap(v1::Gap {
        handle: 0,
        partition,
        range: Some(v1::OffsetRange { start, end }),
        reason: v1::GapReason::Trimmed.into(),
    })
}

/// Why a broker does not begin to serve a request, if one of its offsets was trimmed.
fn refuse_from(log_starts: &[u64], request: &v1::FetchRequest) -> Option<Error> {
    let mut starts = request.sources[0].start_offsets.iter();
    let below = starts.find(|it| it.offset < log_starts[it.partition as usize])?;
    let log_start_offset = log_starts[below.partition as usize];
    let problem = Problem::new(ErrorReason::OffsetOutOfRange, "trimmed")
        .with("topic", "orders")
        .with("partition", below.partition)
        .with("log_start_offset", log_start_offset);
    Some(Error::from_problem(&problem))
}

/// What an offset was told to be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Record,
    Compacted,
    Trimmed,
}

/// What was delivered: each offset with what it was told to be, and ends, by partition.
#[derive(Debug, Default, PartialEq)]
struct Delivered {
    offsets: BTreeMap<u32, Vec<(u64, Told)>>,
    ends: BTreeMap<u32, Vec<u64>>,
}

impl Delivered {
    fn take(&mut self, item: ReaderItem) {
        match item {
            ReaderItem::Batch(batch) => {
                let offsets = self.offsets.entry(batch.partition().get()).or_default();
                let records = batch.records().map(|it| (it.offset().get(), Told::Record));
                offsets.extend(records);
            }
            ReaderItem::Gap(gap) => {
                let told = match gap.reason {
                    GapReason::Compacted => Told::Compacted,
                    GapReason::Trimmed => Told::Trimmed,
                    GapReason::DataLoss => panic!("{gap:?}"),
                };
                let offsets = self.offsets.entry(gap.partition.get()).or_default();
                let range = gap.range.start().get()..gap.range.end().get();
                offsets.extend(range.map(|it| (it, told)));
            }
            ReaderItem::CaughtUp(it) => {
                let ends = self.ends.entry(it.partition.get()).or_default();
                ends.push(it.end_offset.get());
            }
        }
    }
}

fn expected(logs: &[Vec<Piece>], starts: &[u64]) -> Delivered {
    let mut delivered = Delivered::default();
    for ((partition, log), start) in (0..).zip(logs).zip(starts) {
        let mut offsets = Vec::new();
        for piece in log {
            match piece {
                Piece::Batch(batch) => {
                    let records = (0..batch.record_count).filter_map(|it| batch.offset_of(it));
                    offsets.extend(records.map(|it| (it.get(), Told::Record)));
                }
                Piece::Gap(start, end) => {
                    offsets.extend((*start..*end).map(|it| (it, Told::Compacted)));
                }
            }
        }
        offsets.retain(|(offset, _)| start <= offset);
        if !offsets.is_empty() {
            delivered.offsets.insert(partition, offsets);
        }
        let end = log.last().map_or(0, Piece::end);
        delivered.ends.insert(partition, vec![end]);
    }
    delivered
}

#[test]
fn what_was_delivered_is_not_asked_for_again() {
    let mut progress = Progress::new(&options(false, Start::Beginning));
    let logs = vec![
        vec![Piece::Batch(batch(0, 3, 1)), Piece::Batch(batch(3, 2, 1))],
        Vec::new(),
        vec![Piece::Batch(batch(0, 3, 1))],
    ];
    let responses = serve(&logs, &progress.request());
    // The topic and the first batch.
    for response in responses.into_iter().take(2) {
        assert!(
            !matches!(progress.take(Some(response)), Heard::Broken(_)),
            "broken"
        );
    }
    let request = progress.request();
    let source = &request.sources[0];
    let starts = source
        .start_offsets
        .iter()
        .map(|it| (it.partition, it.offset));
    assert_eq!(starts.collect::<Vec<_>>(), [(0, 3), (2, 0)], "offsets");
    assert_eq!(
        source.partitions,
        [0, 2],
        "the empty partition was read to its end"
    );
    assert_eq!(
        (source.topic_id, source.start.is_none()),
        (Some(7), true),
        "the same topic"
    );
}

#[test]
fn every_offset_is_delivered_once_however_often_the_connection_breaks() {
    for_seeds(500, |mut random| {
        let mut logs: Vec<_> = (0..PARTITIONS).map(|_| log(&mut random)).collect();
        let starts = logs
            .iter()
            .map(|log| random.u64(0..=log.last().map_or(0, Piece::end)));
        let starts: Vec<_> = starts.collect();
        let offsets = (0..)
            .zip(&starts)
            .map(|(partition, start)| (PartitionId::new(partition), Offset::new(*start)));
        let follow = random.bool();
        let start = Start::Offsets(offsets.collect());
        let mut progress = Progress::new(&options(follow, start));
        let mut expected = expected(&logs, &starts);
        let mut delivered = Delivered::default();
        for round in 0..50 {
            let responses = serve(&logs, &progress.request());
            // A reader that follows and has caught up would wait for ever.
            let cut = random.usize(0..=responses.len());
            for response in responses
                .into_iter()
                .take(if round == 49 { usize::MAX } else { cut })
            {
                assert!(
                    !matches!(progress.take(Some(response)), Heard::Broken(_)),
                    "broken"
                );
                while let Some(item) = progress.take_delivery() {
                    delivered.take(item.unwrap());
                }
            }
            if progress.is_finished() {
                break;
            }
            if round == 0 && !follow && !progress.next_offsets().is_empty() {
                // Not read to the end, because it came after the end was found.
                logs[0].push(Piece::Batch(batch(expected.ends[&0][0], 2, 1)));
            }
        }
        assert_eq!(progress.is_finished(), !follow, "finished");
        expected.ends.retain(|_, ends| !ends.is_empty());
        assert_eq!(delivered, expected, "delivered");
    });
}

#[test]
fn every_offset_is_delivered_once_however_often_the_reader_is_overtaken() {
    for_seeds(500, |mut random| {
        let logs: Vec<_> = (0..PARTITIONS).map(|_| log(&mut random)).collect();
        let end_of = |partition: usize| logs[partition].last().map_or(0, Piece::end);
        let mut log_starts = [0; PARTITIONS as usize];
        let mut progress = Progress::new(&options(false, Start::Beginning));
        let mut delivered = Delivered::default();
        for round in 0..200 {
            let is_last = round == 199;
            let request = progress.request();
            let responses = match refuse_from(&log_starts, &request) {
                Some(refusal) => {
                    progress.refuse(refusal);
                    Vec::new()
                }
                None => {
                    trim_one(&mut log_starts, end_of, &mut random);
                    serve_from(&logs, &log_starts, &request)
                }
            };
            let cut = random.usize(0..=responses.len());
            for response in responses
                .into_iter()
                .take(if is_last { usize::MAX } else { cut })
            {
                let heard = progress.take(Some(response));
                assert!(!matches!(heard, Heard::Broken(_)), "{heard:?}");
            }
            while let Some(item) = progress.take_delivery() {
                delivered.take(item.unwrap());
            }
            if progress.is_finished() {
                break;
            }
            trim_one(&mut log_starts, end_of, &mut random);
        }
        assert!(progress.is_finished(), "read to the end");
        let expected = expected(&logs, &[0; PARTITIONS as usize]);
        assert_eq!(delivered.ends, expected.ends, "ends");
        for (partition, expected) in expected.offsets {
            let told = &delivered.offsets[&partition];
            assert!(told.is_sorted_by(|one, next| one.0 < next.0), "{told:?}");
            for offset in expected {
                let is_told = told.contains(&offset) || told.contains(&(offset.0, Told::Trimmed));
                assert!(is_told, "{offset:?} of {told:?}");
            }
            let log_start = log_starts[partition as usize];
            let mut trimmed = told.iter().filter(|it| it.1 == Told::Trimmed);
            assert!(trimmed.all(|it| it.0 < log_start), "{told:?}, {log_start}");
        }
    });
}

/// Perhaps moves one log start up.
fn trim_one(log_starts: &mut [u64], end_of: impl Fn(usize) -> u64, random: &mut fastrand::Rng) {
    let partition = random.usize(0..log_starts.len());
    if random.u32(0..4) == 0 {
        log_starts[partition] = random.u64(log_starts[partition]..=end_of(partition));
    }
}
