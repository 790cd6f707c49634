//! Segments: their headers, every frame that somebody may read, and their indexes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::journal::Journaled;
use super::{Effect, Finding, Flow, Verification};
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::usize_of;
use crate::ids::{Lsn, Offset, OffsetRange, PartitionRef, SegmentRef};
use crate::index;
use crate::log_reader::LogReader;
use crate::partition_log::{PartitionBounds, PartitionLog, ReadLimit};
use crate::segment_files::SegmentFiles;
use crate::vfs::read_full_at;

/// Segment files that are open at once.
const OPEN_FILE_COUNT_MAX: usize = 8;
/// Read at once.
const READ_BYTES: usize = 1024 * 1024;

const HEADER_ONLY: &str =
    "its records are read all the same, and the partition goes on in a new segment";
const INDEX_ONLY: &str = "an index only makes searches shorter";

impl Verification<'_> {
    /// Checks what readers may ask of each partition: what the checkpoint covers in its segments, what came
    /// later and is not in the journal at its place.
    pub(super) fn partitions(
        &mut self,
        settled: &[(PartitionRef, PartitionBounds)],
        present: &[(PartitionRef, PartitionBounds)],
        journaled: &[Journaled],
    ) -> Flow {
        let opened = SegmentFiles::open_read_only(
            self.environment.clone(),
            self.broker_id,
            OPEN_FILE_COUNT_MAX,
        );
        let Some(files) = self.attempt(opened, Effect::Refused)? else {
            return Flow::Continue(());
        };
        let files = Arc::new(files);
        let reader = LogReader::new(Arc::clone(&files));
        let settled: BTreeMap<_, _> = settled
            .iter()
            .map(|(it, bounds)| (*it, bounds.end))
            .collect();
        let mut log_starts = BTreeMap::new();
        for (partition, bounds) in present {
            log_starts.insert(*partition, bounds.log_start);
            let end = settled.get(partition).copied().unwrap_or_default();
            for segment in &bounds.segments {
                self.segment(&files, *segment)?;
            }
            let log = PartitionLog::new(*partition, bounds.clone());
            self.frames(&reader, &log, end.min(bounds.end))?;
        }
        for appended in journaled {
            let partition = appended.line.place.segment.partition;
            let Some(log_start) = log_starts.get(&partition) else {
                continue;
            };
            if appended.line.frame.next_offset() > *log_start {
                self.append(&files, appended, *log_start)?;
            }
        }
        Flow::Continue(())
    }

    /// Checks the header of a segment and its index. That the file is missing matters only if it holds
    /// records, which is found by reading them.
    fn segment(&mut self, files: &SegmentFiles, segment: SegmentRef) -> Flow {
        let header = read_header(files, segment);
        let Some(header) = self.attempt(header, Effect::Refused)? else {
            return Flow::Continue(());
        };
        let is_own = |header: SegmentHeader| {
            header.segment == segment && header.broker_id == files.broker_id()
        };
        match header {
            FoundHeader::Missing => return Flow::Continue(()),
            FoundHeader::Header(header) if is_own(header) => {}
            _ => {
                let what = "the segment header is damaged or that of another segment";
                let why = HEADER_ONLY;
                let path = files.log_path(segment);
                self.find(Finding::at(&path, 0, what, Effect::Harmless { why }))?;
            }
        }
        self.note_file(SEGMENT_HEADER_BYTES)?;
        let faults = index::find_faults(files, segment);
        let why = INDEX_ONLY;
        let faults = self.attempt(faults, Effect::Harmless { why })?;
        for (position, what) in faults.unwrap_or_default() {
            let path = files.index_path(segment);
            self.find(Finding::at(&path, position, what, Effect::Harmless { why }))?;
        }
        Flow::Continue(())
    }

    /// Reads a partition from its start to an end, as its readers do.
    fn frames(&mut self, reader: &LogReader, log: &PartitionLog, end: Offset) -> Flow {
        let limit = ReadLimit {
            bytes_max: READ_BYTES,
            lsn_max: Lsn::new(u64::MAX),
        };
        let (mut offset, mut cursor) = (log.log_start(), None);
        while offset < end {
            let read = reader.read(log, cursor, offset, end, limit);
            let read = self.attempt(read, Effect::Refused)?;
            let Some(read) = read else {
                return Flow::Continue(());
            };
            cursor = read.cursor;
            let (mut bytes, mut record_count) = (0, 0);
            for frame in &read.frames {
                let next = frame.header.next_offset();
                record_count += u64::from(frame.header.record_count);
                bytes += frame.header.padded_bytes();
                offset = next;
            }
            self.note_records(bytes, record_count)?;
            if let Some(range) = read.loss {
                offset = range.end;
                let effect = Effect::Lost {
                    partition: log.partition(),
                    range,
                };
                let finding = match read.damage {
                    Some(damage) => Finding {
                        positions: (damage.positions.end > 0).then_some(damage.positions),
                        ..Finding::new(&damage.path, damage.what, effect)
                    },
                    None => Finding::new(folder::TOPICS.as_ref(), "records are missing", effect),
                };
                self.find(finding)?;
            }
        }
        Flow::Continue(())
    }

    /// Checks an append behind the checkpoint in its segment.
    fn append(&mut self, files: &SegmentFiles, appended: &Journaled, log_start: Offset) -> Flow {
        let line = &appended.line;
        let held = holds(files, appended);
        let Some(held) = self.attempt(held, Effect::Refused)? else {
            return Flow::Continue(());
        };
        let start = line.place.position;
        let in_segment = || Finding {
            positions: Some(start..start + line.frame.frame_bytes()),
            ..Finding::new(&files.log_path(line.place.segment), "", Effect::Refused)
        };
        let lost = Effect::Lost {
            partition: line.place.segment.partition,
            range: OffsetRange {
                start: line.frame.base_offset.max(log_start),
                end: line.frame.next_offset(),
            },
        };
        let finding = match (held, appended.damaged_at) {
            (Held::Whole, None) => {
                let record_count = u64::from(line.frame.record_count);
                return self.note_records(line.frame.padded_bytes(), record_count);
            }
            (Held::WithoutHeader, None) => Finding {
                what: "the frame header is damaged".to_owned(),
                effect: Effect::Harmless {
                    why: "the journal has what it needs to be made again",
                },
                ..in_segment()
            },
            (Held::Whole | Held::WithoutHeader, Some(at)) => {
                let why = "the segment holds them";
                let path = folder::journal_file(at.file);
                let what = "records do not match their checksum";
                Finding::at(&path, at.position, what, Effect::Harmless { why })
            }
            (Held::Not, _) => Finding {
                what: "records do not match their checksum, and the journal does not hold them"
                    .to_owned(),
                effect: lost,
                ..in_segment()
            },
        };
        self.find(finding)
    }
}

enum FoundHeader {
    Missing,
    Damaged,
    Header(SegmentHeader),
}

fn read_header(files: &SegmentFiles, segment: SegmentRef) -> Result<FoundHeader, StorageError> {
    let file = match files.log(segment) {
        Err(error) if error.is_not_found() => return Ok(FoundHeader::Missing),
        opened => opened?,
    };
    let mut block = vec![0; usize_of(SEGMENT_HEADER_BYTES)];
    let count = read_full_at(&*file, &mut block, 0)
        .map_err(io_error(Operation::Read, files.log_path(segment)))?;
    let header = SegmentHeader::decode(block.get(..count).unwrap_or_default());
    Ok(header.map_or(FoundHeader::Damaged, FoundHeader::Header))
}

/// What a segment holds of an append.
enum Held {
    Whole,
    WithoutHeader,
    Not,
}

fn holds(files: &SegmentFiles, appended: &Journaled) -> Result<Held, StorageError> {
    let line = &appended.line;
    let segment = line.place.segment;
    let file = match files.log(segment) {
        Err(error) if error.is_not_found() => return Ok(Held::Not),
        opened => opened?,
    };
    let mut bytes = vec![0; usize_of(line.frame.frame_bytes())];
    let count = read_full_at(&*file, &mut bytes, line.place.position)
        .map_err(io_error(Operation::Read, files.log_path(segment)))?;
    bytes.truncate(count);
    let (header, payload) = bytes.split_at(FRAME_HEADER_BYTES.min(bytes.len()));
    if !line.frame.matches(payload) {
        return Ok(Held::Not);
    }
    match FrameHeader::decode(header, &line.place) == Ok(line.frame) {
        true => Ok(Held::Whole),
        false => Ok(Held::WithoutHeader),
    }
}
