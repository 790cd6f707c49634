//! A broker in miniature: enough state to place appends, and one method for each thing that a broker
//! does with its storage. Nothing happens that the test did not ask for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{
    Append, CheckpointInput, CommittedFrame, DirectoryLine, Environment, Frame, FrameForm,
    FrameHeader, FramePlace, JournalPosition, Keep, Lsn, Offset, OffsetRange, OpenError,
    PartitionBounds, PartitionLog, PartitionRef, PlacementError, Placing, ProducerStamp, ReadLimit,
    RewritePlan, RewriteStep, RewrittenSegment, Round, Row, SegmentRef, SegmentRewrite,
    SegmentWish, SimClock, SimEntropy, StateMachine, Storage, StorageError, StorageOptions,
    TailCache, TailRead, TopicId, ensure_segment, place, remove_segments, remove_topic,
};

pub(crate) use ledger::{Ledger, index_row, note_row};

mod ledger;

/// Size of an ordinary journal file.
pub(crate) const JOURNAL_FILE_BYTES: u64 = 64 * 1024;
/// Size at which a segment is full.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 256 * 1024;
/// Broker time of the first entry.
const START_MS: i64 = 1_700_000_000_000;

/// The only topic, unless a test makes more.
pub(crate) const TOPIC: TopicId = TopicId::new(1);
/// Its first partition.
pub(crate) const P0: PartitionRef = PartitionRef {
    topic: TOPIC,
    partition: 0,
};
/// Its second partition.
pub(crate) const P1: PartitionRef = PartitionRef {
    topic: TOPIC,
    partition: 1,
};

/// The outside world on a simulated disk.
pub(crate) fn environment(disk: &SimDisk, seed: u64) -> Environment {
    Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(START_MS)),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

/// Sizes at which every mechanism is reached with a few kilobytes.
pub(crate) fn options() -> StorageOptions {
    StorageOptions {
        journal_file_bytes: Some(JOURNAL_FILE_BYTES),
        open_file_count_max: 16,
        dirty_segment_count_max: 256,
        recovery_dirty_segment_count_max: 256,
        ..StorageOptions::default()
    }
}

/// A batch to be appended.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) partition: PartitionRef,
    pub(crate) payload: Bytes,
    pub(crate) record_count: u32,
    pub(crate) form: FrameForm,
    pub(crate) producer: Option<ProducerStamp>,
}

impl Batch {
    /// One record, inline.
    pub(crate) fn inline(partition: PartitionRef, payload: impl Into<Bytes>) -> Self {
        Self {
            partition,
            payload: payload.into(),
            record_count: 1,
            form: FrameForm::Inline,
            producer: None,
        }
    }

    /// One record, by reference.
    pub(crate) fn reference(partition: PartitionRef, payload: impl Into<Bytes>) -> Self {
        Self {
            form: FrameForm::Reference,
            ..Self::inline(partition, payload)
        }
    }

    /// From a producer.
    pub(crate) fn by(self, stamp: ProducerStamp) -> Self {
        Self {
            producer: Some(stamp),
            ..self
        }
    }

    /// As many records as said.
    pub(crate) fn records(self, record_count: u32) -> Self {
        Self {
            record_count,
            ..self
        }
    }
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A batch: base offset and bytes.
    Batch(u64, Bytes),
    /// Records that are lost.
    Loss(u64, u64),
}

/// What a walk over a partition comes to.
#[derive(Debug)]
pub(crate) enum Walked {
    /// A frame.
    Frame(Frame),
    /// Records that are lost.
    Loss(OffsetRange),
}

/// A broker that is driven by hand.
pub(crate) struct Driver {
    pub(crate) disk: SimDisk,
    pub(crate) storage: Storage,
    pub(crate) state: Ledger,
    /// Broker time of coming entries.
    pub(crate) time_ms: i64,
    pub(crate) tail: TailCache,
    logs: BTreeMap<PartitionRef, Arc<PartitionLog>>,
    round: Round,
    next_lsn: Lsn,
    /// Partition of the run by reference in the present round.
    run: Option<PartitionRef>,
    unsettled: Vec<CommittedFrame>,
}

impl Driver {
    /// Opens the data folder on a disk.
    pub(crate) fn open(disk: &SimDisk) -> Result<Self, OpenError> {
        // Different salts in each life, the same ones in each run.
        Self::open_seeded(disk, disk.operations())
    }

    /// As [`Driver::open`], with other random numbers.
    pub(crate) fn open_seeded(disk: &SimDisk, seed: u64) -> Result<Self, OpenError> {
        Self::open_with(disk, seed, &options())
    }

    /// As [`Driver::open_seeded`], with other sizes.
    pub(crate) fn open_with(
        disk: &SimDisk,
        seed: u64,
        options: &StorageOptions,
    ) -> Result<Self, OpenError> {
        Self::open_in(disk, &environment(disk, seed), options)
    }

    /// Opens the data folder in an environment, which is about that disk.
    pub(crate) fn open_in(
        disk: &SimDisk,
        environment: &Environment,
        options: &StorageOptions,
    ) -> Result<Self, OpenError> {
        let mut state = Ledger::default();
        let storage = Storage::open(environment, options, &mut state)?;
        let logs = state.logs();
        Ok(Self {
            disk: disk.clone(),
            time_ms: START_MS.max(storage.time_ms),
            tail: TailCache::new(0),
            next_lsn: storage.lsn.next(),
            storage,
            state,
            logs,
            round: Round::default(),
            run: None,
            unsettled: Vec::new(),
        })
    }

    /// Makes a partition with its first segment.
    pub(crate) fn create(&mut self, partition: PartitionRef) {
        self.logs.insert(
            partition,
            Arc::new(PartitionLog::new(partition, PartitionBounds::default())),
        );
        self.state.create(partition);
        self.roll(partition);
    }

    /// Begins a new segment at the end of a partition.
    pub(crate) fn roll(&mut self, partition: PartitionRef) {
        let row = self.state.roll(partition);
        self.entry(Vec::new(), vec![row]);
        self.commit();
        let base = self.state.end(partition);
        self.log(partition).add_segment(base);
        self.ensure(partition, towpath_storage::FIRST_STEP_BYTES)
            .unwrap();
    }

    /// Makes the active segment of a partition ready.
    pub(crate) fn ensure(
        &mut self,
        partition: PartitionRef,
        allocated_end: u64,
    ) -> Result<(), StorageError> {
        let active = self.state.active(partition);
        let wish = SegmentWish {
            segment: SegmentRef::new(partition, active.base),
            topic_name: format!("topic-{}", partition.topic),
            next_position: active.next_position,
            allocated_end,
        };
        let allocated_end = ensure_segment(&self.storage.files, &wish)?;
        self.state.active(partition).allocated_end = allocated_end;
        Ok(())
    }

    /// Adds an entry to the round.
    pub(crate) fn entry(&mut self, batches: Vec<Batch>, rows: Vec<Row>) {
        let lsn = self.next_lsn;
        self.next_lsn = lsn.next();
        let appends = batches
            .into_iter()
            .map(|batch| self.append(batch, lsn))
            .collect();
        for row in &rows {
            self.state.apply_row(row.clone());
        }
        self.round.push(lsn, self.time_ms, appends, rows);
    }

    fn append(&mut self, batch: Batch, lsn: Lsn) -> Append {
        let Batch {
            partition,
            payload,
            record_count,
            form,
            producer,
        } = batch;
        let frame = FrameHeader {
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            payload_crc: crc32fast::hash(&payload),
            codec: codec_of(&payload),
            record_count,
            base_offset: self.state.end(partition),
            lsn,
            append_time_ms: self.time_ms,
            sparse: None,
        };
        let placing = match form {
            FrameForm::Inline => Placing::Inline,
            FrameForm::Reference if self.run.is_some() => Placing::RunRest,
            FrameForm::Reference => Placing::RunStart,
        };
        if form == FrameForm::Reference {
            self.run = Some(partition);
        }
        let placement = loop {
            let active = self.state.active(partition);
            match place(
                Some(active),
                frame.padded_bytes(),
                placing,
                SEGMENT_BYTES_MAX,
            ) {
                Ok(placement) => break placement,
                Err(PlacementError::NeedsSpace { allocated_end }) => {
                    self.ensure(partition, allocated_end).unwrap();
                }
                Err(PlacementError::NeedsSegment) => panic!("the script rolls the segment"),
            }
        };
        let segment = SegmentRef::new(partition, self.state.active(partition).base);
        let line = DirectoryLine {
            place: FramePlace {
                segment,
                position: placement.position,
            },
            form,
            gap_bytes: placement.gap_bytes,
            frame,
            producer,
        };
        self.state.apply_append(&line);
        Append { line, payload }
    }

    /// Makes the round durable and shows it to readers.
    pub(crate) fn commit(&mut self) {
        self.try_commit().unwrap();
    }

    pub(crate) fn try_commit(&mut self) -> Result<(), StorageError> {
        self.run = None;
        let round = std::mem::take(&mut self.round);
        if self.storage.journal.round_bytes_max() < round.journal_bytes() {
            self.provide(round.journal_bytes());
        }
        let committed = self.storage.journal.commit(round)?;
        self.tail.publish(&committed, |place| {
            let frame = committed.frames.get(place)?;
            self.logs.get(&frame.line.place.segment.partition)
        });
        self.unsettled.extend(committed.frames);
        Ok(())
    }

    /// Prepares a journal file with room for a round.
    pub(crate) fn provide(&mut self, round_bytes: u64) {
        let durable = self.storage.journal.durable();
        let prepared = self.storage.journal_files.prepare(round_bytes, durable);
        let file = prepared.unwrap();
        if let Some(unused) = self.storage.journal.provide(file) {
            self.storage.journal_files.give_back(unused);
        }
    }

    /// A round of one entry for each batch.
    pub(crate) fn round(&mut self, batches: impl IntoIterator<Item = Batch>) {
        for batch in batches {
            self.entry(vec![batch], Vec::new());
        }
        self.commit();
    }

    /// A round that is only evidence.
    pub(crate) fn mark(&mut self) {
        self.round.push_mark(self.next_lsn, self.time_ms);
        self.next_lsn = self.next_lsn.next();
        self.commit();
    }

    /// Writes what is committed into the segments and drops it from memory.
    pub(crate) fn settle(&mut self) {
        self.try_settle().unwrap();
    }

    pub(crate) fn try_settle(&mut self) -> Result<(), StorageError> {
        let frames = std::mem::take(&mut self.unsettled);
        self.storage.settler.settle(&frames)?;
        self.tail.evict(self.storage.journal.durable());
        Ok(())
    }

    /// Settles, syncs and writes a checkpoint, and frees the journal behind it.
    pub(crate) fn checkpoint(&mut self) {
        self.settle();
        self.storage.dirty.sync(&self.storage.files).unwrap();
        let mut input = self.checkpoint_input();
        self.storage.checkpointer.write(&mut input).unwrap();
        let before = input.continuation.file;
        self.storage.journal_files.free_before(before).unwrap();
    }

    pub(crate) fn checkpoint_input(&mut self) -> CheckpointInput {
        CheckpointInput {
            lsn: self.storage.journal.durable(),
            continuation: self.storage.journal.position(),
            time_ms: self.time_ms,
            changed: self.state.take_changed(),
        }
    }

    /// Value of an index row: as it has changed since the last checkpoint, else as the runs have it.
    pub(crate) fn index_value(&self, row: &Row) -> Result<Option<Bytes>, StorageError> {
        if let Some(value) = self.state.overlay.get(&row.key) {
            return Ok(value.clone());
        }
        let found = self.storage.index.current().get(&row.key)?;
        Ok(found.value().cloned())
    }

    /// Begins to rewrite neighbouring segments of a partition, none of them the active one.
    pub(crate) fn begin_rewrite(
        &mut self,
        partition: PartitionRef,
        places: Range<usize>,
    ) -> Result<Box<SegmentRewrite>, StorageError> {
        let segments = self.state.segments(partition);
        let plan = RewritePlan {
            end: segments[places.end].base,
            sources: segments[places].to_vec(),
        };
        let Storage { files, reader, .. } = &self.storage;
        SegmentRewrite::begin(files, reader, plan).map(Box::new)
    }

    /// Rewrites them to the end, a few frames at a time.
    pub(crate) fn rewrite(
        &mut self,
        partition: PartitionRef,
        places: Range<usize>,
        mut judge: impl FnMut(&Frame) -> Keep,
    ) -> Result<RewrittenSegment, StorageError> {
        let mut rewrite = self.begin_rewrite(partition, places)?;
        loop {
            match rewrite.step(1_000, &mut |frame| Ok(judge(frame)))? {
                RewriteStep::Unfinished(more) => rewrite = more,
                RewriteStep::Finished(rewritten) => return Ok(rewritten),
            }
        }
    }

    /// Has a rewritten segment take its place: one entry.
    pub(crate) fn swap(&mut self, rewritten: &RewrittenSegment) -> Result<(), StorageError> {
        let row = self.state.swap(rewritten);
        self.entry(Vec::new(), vec![row]);
        self.try_commit()?;
        let log = self.log(rewritten.segment.partition);
        log.swap(&rewritten.plan.sources, rewritten.segment, 0);
        Ok(())
    }

    /// Removes what was rewritten, once a checkpoint does not name it any more.
    pub(crate) fn remove_sources(
        &mut self,
        rewritten: &RewrittenSegment,
    ) -> Result<(), StorageError> {
        let sources = &rewritten.plan.sources;
        self.storage.settler.forget_segments(sources);
        remove_segments(&self.storage.files, sources)
    }

    /// Deletes a topic: the entry, a checkpoint above it, the files.
    pub(crate) fn delete_topic(&mut self, topic: TopicId) {
        let rows = self.state.delete(topic);
        self.entry(Vec::new(), rows);
        self.commit();
        self.checkpoint();
        self.storage.settler.forget_topic(topic);
        remove_topic(&self.storage.files, topic).unwrap();
    }

    /// Where the next round goes.
    pub(crate) fn position(&self) -> JournalPosition {
        self.storage.journal.position()
    }

    pub(crate) fn log(&self, partition: PartitionRef) -> &Arc<PartitionLog> {
        &self.logs[&partition]
    }

    /// Everything that a reader finds from an offset to the end; it skips what is lost.
    pub(crate) fn read(&self, partition: PartitionRef, from: u64) -> Vec<Found> {
        let mut found = Vec::new();
        self.walk(partition, from, |read| match read {
            Walked::Frame(frame) => {
                let base = frame.header.base_offset.get();
                found.push(Found::Batch(base, frame.payload));
            }
            Walked::Loss(lost) => found.push(Found::Loss(lost.start.get(), lost.end.get())),
        });
        found
    }

    /// Reads from an offset to the end.
    pub(crate) fn walk(&self, partition: PartitionRef, from: u64, mut take: impl FnMut(Walked)) {
        let log = self.log(partition);
        let limit = ReadLimit {
            bytes_max: 3_000,
            lsn_max: self.storage.journal.durable(),
        };
        let (mut offset, mut cursor) = (Offset::new(from), None);
        loop {
            let (frames, loss) = match log.read_tail(offset, limit) {
                TailRead::AtEnd => break,
                TailRead::Frames(frames) => (frames, None),
                TailRead::OnDisk { until } => {
                    let reader = &self.storage.reader;
                    let read = reader.read(log, cursor, offset, until, limit).unwrap();
                    cursor = read.cursor;
                    (read.frames, read.loss)
                }
            };
            assert!(
                !frames.is_empty() || loss.is_some(),
                "a read below the end finds something, offset={offset}"
            );
            for frame in frames {
                offset = frame.header.next_offset();
                assert_eq!(frame.header.codec, codec_of(&frame.payload), "codec");
                take(Walked::Frame(frame));
            }
            if let Some(lost) = loss {
                let OffsetRange { start, end } = lost;
                assert_eq!(start, offset, "a loss begins where the frames end");
                offset = end;
                take(Walked::Loss(lost));
            }
        }
        assert_eq!(offset, log.end(), "a read reaches the end");
    }
}

/// How a payload was compressed, which is the same to storage: larger ones are said to be.
pub(crate) fn codec_of(payload: &[u8]) -> u8 {
    match payload.len() {
        ..400 => 0,
        even if even.is_multiple_of(2) => 1,
        _ => 2,
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a broker at lsn {}", self.storage.lsn)
    }
}

/// Bytes that can be told from all others.
pub(crate) fn payload(number: u64, length: usize) -> Bytes {
    (0..length as u64)
        .map(|place| {
            let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.wrapping_mul(31);
            // Never zero, so that what was not written can be seen.
            u8::try_from(mixed % 255).unwrap() + 1
        })
        .collect()
}
