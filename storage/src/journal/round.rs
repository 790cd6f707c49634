//! A round: the entries that share one sync, from decisions to bytes.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::buffer::BufferPool;
use crate::error::{Operation, StorageError, io_error_of};
use crate::format::entry::{
    DirectoryLine, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, EntryPlace, FrameForm, LINE_BYTES,
};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FramePlace};
use crate::format::row::Row;
use crate::format::{align_block, crc_of, usize_of};
use crate::frame::Backing;
use crate::ids::{Lsn, SegmentRef};
use crate::segment_files::SegmentFiles;
use crate::vfs::write_all_at;

/// One batch to be appended: where it goes and the bytes as they came.
#[derive(Debug, Clone)]
pub struct Append {
    /// Place, header, form and producer.
    pub line: DirectoryLine,
    /// The records, as in field 15 or 16 of the wire.
    pub payload: Bytes,
}

#[derive(Debug)]
struct EntryDraft {
    kind: EntryKind,
    lsn: Lsn,
    time_ms: i64,
    appends: Range<usize>,
    rows: Vec<Row>,
}

impl EntryDraft {
    fn change_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.encoded_bytes() as u64).sum()
    }
}

/// Entries that will be made durable together, in order.
#[derive(Debug, Default)]
pub struct Round {
    entries: Vec<EntryDraft>,
    appends: Vec<Append>,
    entries_bytes: u64,
    reference: Option<ReferenceRun>,
}

/// The one run of a round that is written to its segment first.
#[derive(Debug, Clone, Copy)]
struct ReferenceRun {
    segment: SegmentRef,
    start: u64,
    end: u64,
}

impl Round {
    /// Adds an entry that carries a decision.
    ///
    /// # Panics
    /// If the LSN does not follow the previous entry's, or if appends by reference do not form one
    /// contiguous run in one segment that starts on a block boundary.
    pub fn push(&mut self, lsn: Lsn, time_ms: i64, appends: Vec<Append>, rows: Vec<Row>) {
        self.push_draft(EntryKind::Decision, lsn, time_ms, appends, rows);
    }

    /// Adds an entry that only says that what came before it is durable.
    ///
    /// # Panics
    /// If the LSN does not follow the previous entry's.
    pub fn push_mark(&mut self, lsn: Lsn, time_ms: i64) {
        self.push_draft(EntryKind::Mark, lsn, time_ms, Vec::new(), Vec::new());
    }

    fn push_draft(
        &mut self,
        kind: EntryKind,
        lsn: Lsn,
        time_ms: i64,
        appends: Vec<Append>,
        rows: Vec<Row>,
    ) {
        if let Some(last) = self.entries.last() {
            assert_eq!(lsn, last.lsn.next(), "INVARIANT: LSNs are dense");
        }
        for append in appends
            .iter()
            .filter(|append| append.line.form == FrameForm::Reference)
        {
            self.extend_reference_run(&append.line);
        }
        let start = self.appends.len();
        self.appends.extend(appends);
        let draft = EntryDraft {
            kind,
            lsn,
            time_ms,
            appends: start..self.appends.len(),
            rows,
        };
        self.entries_bytes += self.header_of(&draft).entry_bytes();
        self.entries.push(draft);
    }

    fn extend_reference_run(&mut self, line: &DirectoryLine) {
        let FramePlace { segment, position } = line.place;
        let run = self.reference.get_or_insert(ReferenceRun {
            segment,
            start: position,
            end: position,
        });
        assert!(
            run.segment == segment && run.end == position && align_block(run.start) == run.start,
            "INVARIANT: appends by reference form one run from a block boundary"
        );
        run.end = position + line.frame.padded_bytes();
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// LSN of the first entry.
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.entries.first().map(|entry| entry.lsn)
    }

    /// Bytes that the round takes in the journal: whole blocks.
    pub fn journal_bytes(&self) -> u64 {
        align_block(self.entries_bytes)
    }

    fn appends_of(&self, draft: &EntryDraft) -> &[Append] {
        self.appends.get(draft.appends.clone()).unwrap_or_default()
    }

    /// The header without its checksums and evidence, which are known when it is encoded.
    fn header_of(&self, draft: &EntryDraft) -> EntryHeader {
        let appends = self.appends_of(draft);
        EntryHeader {
            kind: draft.kind,
            append_count: u32::try_from(appends.len()).unwrap_or(u32::MAX),
            lsn: draft.lsn,
            time_ms: draft.time_ms,
            previous_durable: Lsn::ZERO,
            inline_bytes: appends
                .iter()
                .map(|append| append.line.inline_bytes())
                .sum(),
            directory_crc: 0,
            change_crc: 0,
            change_bytes: u32::try_from(draft.change_bytes()).unwrap_or(u32::MAX),
        }
    }

    /// Writes and syncs the run that goes by reference, if there is one.
    pub(super) fn write_reference_run(
        &self,
        pool: &Arc<BufferPool>,
        segments: &SegmentFiles,
    ) -> Result<Option<EncodedRun>, StorageError> {
        let Some(run) = self.reference else {
            return Ok(None);
        };
        let mut buffer = pool.take(usize_of(align_block(run.end - run.start)));
        let mut out = Filler::new(buffer.as_mut_slice());
        for append in self
            .appends
            .iter()
            .filter(|it| it.line.form == FrameForm::Reference)
        {
            out.put_frame(&append.line, &append.payload);
        }
        out.fill_rest();
        let backing = buffer.backing();
        let bytes = buffer.freeze();
        let file = segments.direct(run.segment)?;
        let path = || segments.log_path(run.segment);
        write_all_at(&*file, &bytes, run.start).map_err(io_error_of(Operation::Write, path))?;
        file.sync_data()
            .map_err(io_error_of(Operation::Sync, path))?;
        Ok(Some(EncodedRun {
            bytes,
            start: run.start,
            backing,
        }))
    }

    /// Encodes the entries for `place`.
    pub(super) fn encode(
        self,
        pool: &Arc<BufferPool>,
        place: &EntryPlace,
        previous_durable: Lsn,
    ) -> EncodedRound {
        let mut buffer = pool.take(usize_of(self.journal_bytes()));
        let mut frame_starts = vec![None; self.appends.len()];
        let mut out = Filler::new(buffer.as_mut_slice());
        for draft in &self.entries {
            let header = EntryHeader {
                previous_durable,
                ..self.header_of(draft)
            };
            let entry_start = out.filled;
            let entry_place = EntryPlace {
                position: place.position + entry_start as u64,
                ..*place
            };
            let starts = frame_starts
                .get_mut(draft.appends.clone())
                .unwrap_or_default();
            out.put_entry(
                header,
                &entry_place,
                self.appends_of(draft),
                &draft.rows,
                starts,
            );
        }
        out.fill_rest();
        let backing = buffer.backing();
        let last_lsn = self
            .entries
            .last()
            .map_or(previous_durable, |entry| entry.lsn);
        let bytes = buffer.freeze();
        EncodedRound {
            appends: self.appends,
            frame_starts,
            bytes,
            backing,
            last_lsn,
        }
    }
}

/// The bytes of the run that was written by reference.
#[derive(Debug)]
pub(super) struct EncodedRun {
    bytes: Bytes,
    /// Position of the first byte in the segment.
    start: u64,
    backing: Backing,
}

/// A round as it goes to the journal.
#[derive(Debug)]
pub(super) struct EncodedRound {
    pub(super) bytes: Bytes,
    appends: Vec<Append>,
    /// Where the frame of each inline append starts in `bytes`.
    frame_starts: Vec<Option<usize>>,
    backing: Backing,
    last_lsn: Lsn,
}

impl EncodedRound {
    pub(super) fn into_committed(self, run: Option<EncodedRun>) -> CommittedRound {
        let run_bytes = run.as_ref().map_or(0, |run| run.backing.bytes());
        let frames = self
            .appends
            .iter()
            .zip(&self.frame_starts)
            .map(|(append, start)| {
                let frame_bytes = usize_of(append.line.frame.frame_bytes());
                let (bytes, backing) = match (start, &run) {
                    (Some(start), _) => {
                        let bytes = self.bytes.slice(*start..*start + frame_bytes);
                        (bytes, self.backing)
                    }
                    (None, Some(run)) => {
                        let start = usize_of(append.line.place.position - run.start);
                        let bytes = run.bytes.slice(start..start + frame_bytes);
                        (bytes, run.backing)
                    }
                    (None, None) => (Bytes::new(), Backing::of_all(&[])),
                };
                CommittedFrame {
                    line: append.line,
                    bytes,
                    backing,
                }
            })
            .collect();
        CommittedRound {
            last_lsn: self.last_lsn,
            frames,
            journal_bytes: self.bytes.len() as u64,
            pinned_bytes: self.backing.bytes() + run_bytes,
        }
    }
}

/// A frame that is durable: what the tail cache holds and the settle thread writes.
#[derive(Debug, Clone)]
pub struct CommittedFrame {
    /// Place, header, form and producer.
    pub line: DirectoryLine,
    /// Header and payload, as they lie in the segment; a slice of the round's buffer.
    pub bytes: Bytes,
    /// That buffer.
    pub backing: Backing,
}

impl CommittedFrame {
    /// The records alone.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(FRAME_HEADER_BYTES..)
    }
}

/// A round that is on disk.
#[derive(Debug)]
pub struct CommittedRound {
    /// Its last entry.
    pub last_lsn: Lsn,
    /// The frames that it appended, in order.
    pub frames: Vec<CommittedFrame>,
    /// Bytes written to the journal.
    pub journal_bytes: u64,
    /// Memory that the frames keep from being reused.
    pub pinned_bytes: usize,
}

/// Fills a slice from the front.
struct Filler<'a> {
    slice: &'a mut [u8],
    filled: usize,
}

impl<'a> Filler<'a> {
    fn new(slice: &'a mut [u8]) -> Self {
        Self { slice, filled: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.rest().put_slice(bytes);
        self.filled += bytes.len();
    }

    fn rest(&mut self) -> &mut [u8] {
        self.slice.get_mut(self.filled..).unwrap_or_default()
    }

    fn pad_to(&mut self, filled: usize) {
        let zeros = filled - self.filled;
        self.rest().put_bytes(0, zeros);
        self.filled = filled;
    }

    fn fill_rest(&mut self) {
        self.pad_to(self.slice.len());
    }

    fn put_frame(&mut self, line: &DirectoryLine, payload: &[u8]) {
        let end = self.filled + usize_of(line.frame.padded_bytes());
        self.put(&FrameHeader::encode(&line.frame, &line.place));
        self.put(payload);
        self.pad_to(end);
    }

    /// Writes header, directory, inline frames and rows; the header last, since it covers the rest.
    fn put_entry(
        &mut self,
        mut header: EntryHeader,
        place: &EntryPlace,
        appends: &[Append],
        rows: &[Row],
        frame_starts: &mut [Option<usize>],
    ) {
        let start = self.filled;
        self.filled += ENTRY_HEADER_BYTES;
        let directory_start = self.filled;
        for append in appends {
            append.line.encode(&mut self.rest());
            self.filled += LINE_BYTES;
        }
        header.directory_crc = crc_of(&[self.written(directory_start)]);
        for (append, frame_start) in appends.iter().zip(frame_starts) {
            if append.line.form == FrameForm::Inline {
                *frame_start = Some(self.filled);
                self.put_frame(&append.line, &append.payload);
            }
        }
        let change_start = self.filled;
        for row in rows {
            row.encode(&mut self.rest());
            self.filled += row.encoded_bytes();
        }
        header.change_crc = crc_of(&[self.written(change_start)]);
        self.pad_to(start + usize_of(header.entry_bytes()));
        let mut head = self.slice.get_mut(start..).unwrap_or_default();
        head.put_slice(&header.encode(place));
    }

    fn written(&self, start: usize) -> &[u8] {
        self.slice.get(start..self.filled).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Offset, PartitionRef, TopicId};

    const PLACE: EntryPlace = EntryPlace {
        salt: 1,
        file_number: 1,
        position: 4096,
    };

    fn append(position: u64, base: u64, payload: &'static [u8], form: FrameForm) -> Append {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 0,
        };
        let segment = SegmentRef::new(partition, Offset::ZERO);
        let line = DirectoryLine {
            place: FramePlace { segment, position },
            form,
            gap_bytes: 0,
            frame: FrameHeader {
                payload_bytes: u32::try_from(payload.len()).unwrap(),
                payload_crc: crc32fast::hash(payload),
                codec: 0,
                record_count: 1,
                base_offset: Offset::new(base),
                lsn: Lsn::new(base + 1),
                append_time_ms: 5,
                sparse: None,
            },
            producer: None,
        };
        Append {
            line,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn a_round_takes_whole_blocks_and_yields_its_frames() {
        let mut round = Round::default();
        round.push(
            Lsn::new(1),
            5,
            vec![append(4096, 0, b"one", FrameForm::Inline)],
            Vec::new(),
        );
        round.push(
            Lsn::new(2),
            5,
            vec![append(4168, 1, b"two", FrameForm::Inline)],
            Vec::new(),
        );
        assert_eq!(
            round.journal_bytes(),
            4096,
            "two small entries share a block"
        );
        let encoded = round.encode(&BufferPool::new(0), &PLACE, Lsn::ZERO);
        assert_eq!(encoded.bytes.len(), 4096);
        let first = EntryHeader::decode(&encoded.bytes, &PLACE).unwrap();
        let second_place = EntryPlace {
            position: PLACE.position + first.entry_bytes(),
            ..PLACE
        };
        let second_bytes = &encoded.bytes[usize_of(first.entry_bytes())..];
        let second = EntryHeader::decode(second_bytes, &second_place).unwrap();
        assert_eq!((first.lsn, second.lsn), (Lsn::new(1), Lsn::new(2)));
        let committed = encoded.into_committed(None);
        let payloads: Vec<_> = committed
            .frames
            .iter()
            .map(CommittedFrame::payload)
            .collect();
        assert_eq!(payloads, ["one", "two"]);
        for frame in &committed.frames {
            let header = FrameHeader::decode(&frame.bytes, &frame.line.place).unwrap();
            assert!(header.matches(&frame.payload()), "the frame is whole");
        }
    }

    #[test]
    fn rows_end_the_entry() {
        let mut round = Round::default();
        let key = crate::format::row::RowKey {
            table: 1,
            key: Bytes::from_static(b"k"),
        };
        let row = Row {
            key,
            value: Some(Bytes::from_static(b"v")),
        };
        round.push(Lsn::new(1), 5, Vec::new(), vec![row.clone()]);
        let encoded = round.encode(&BufferPool::new(0), &PLACE, Lsn::ZERO);
        let header = EntryHeader::decode(&encoded.bytes, &PLACE).unwrap();
        let change = encoded.bytes.slice(80..80 + header.change_bytes as usize);
        assert_eq!(crc_of(&[&change]), header.change_crc);
        assert_eq!(crate::format::row::decode_rows(change), Some(vec![row]));
    }
}
