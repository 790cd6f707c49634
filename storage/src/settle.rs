//! Settling: the frames of durable rounds go into their segments, in the background.
//!
//! What is settled here is durable only after the checkpoint's syncs; until then the journal holds it.

mod dirty;

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

pub use dirty::DirtySegments;

use crate::error::{Operation, StorageError, io_error_of};
use crate::format::ALIGN_BYTES;
use crate::format::entry::FrameForm;
use crate::format::usize_of;
use crate::ids::{SegmentRef, TopicId};
use crate::index::IndexWriter;
use crate::journal::CommittedFrame;
use crate::segment_files::SegmentFiles;
use crate::vfs::{BLOCK_BYTES, VfsFile, write_all_vectored_at};

/// Index writers that are kept; beyond it all are forgotten and reopened when needed.
const INDEX_WRITER_COUNT_MAX: usize = 16 * 1024;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Writes frames into segments. Lives on the settle thread.
#[derive(Debug)]
pub struct Settler {
    files: Arc<SegmentFiles>,
    dirty: Arc<DirtySegments>,
    indexes: HashMap<SegmentRef, IndexWriter>,
    dirty_count_max: usize,
}

impl Settler {
    pub(crate) fn new(
        files: Arc<SegmentFiles>,
        dirty: Arc<DirtySegments>,
        dirty_count_max: usize,
    ) -> Self {
        Self {
            files,
            dirty,
            dirty_count_max,
            indexes: HashMap::new(),
        }
    }

    /// Sets how many segments may be dirty before they are synced.
    pub(crate) fn set_dirty_count_max(&mut self, dirty_count_max: usize) {
        self.dirty_count_max = dirty_count_max;
    }

    /// Writes the inline frames to their places and indexes all of them.
    ///
    /// # Errors
    /// [`StorageError::Io`]. The frames remain in the journal; the process must end, since the
    /// segments' content is unknown, and recovery writes them again.
    pub fn settle(&mut self, frames: &[CommittedFrame]) -> Result<(), StorageError> {
        let mut by_segment: BTreeMap<SegmentRef, Vec<&CommittedFrame>> = BTreeMap::new();
        for frame in frames {
            by_segment
                .entry(frame.line.place.segment)
                .or_default()
                .push(frame);
        }
        for (segment, frames) in by_segment {
            self.settle_segment(segment, &frames)?;
        }
        Ok(())
    }

    /// Forgets what is known of a topic whose files are about to be removed.
    pub fn forget_topic(&mut self, topic: TopicId) {
        self.indexes
            .retain(|segment, _| segment.partition.topic != topic);
        self.dirty
            .forget(|segment| segment.partition.topic == topic);
    }

    /// Forgets what is known of segments whose files are about to be removed.
    pub fn forget_segments(&mut self, segments: &[SegmentRef]) {
        for segment in segments {
            self.indexes.remove(segment);
        }
        self.dirty.forget(|segment| segments.contains(&segment));
    }

    fn settle_segment(
        &mut self,
        segment: SegmentRef,
        frames: &[&CommittedFrame],
    ) -> Result<(), StorageError> {
        let Some(first) = frames.first() else {
            return Ok(());
        };
        let log = match self.dirty.log(segment) {
            Some(log) => log,
            None => self.files.log(segment)?,
        };
        let start = first.line.place.position - u64::from(first.line.gap_bytes);
        self.open_index(segment, start)?;
        for run in frames.chunk_by(|left, right| is_contiguous(left, right)) {
            self.write_run(&*log, segment, run)?;
        }
        let files = Arc::clone(&self.files);
        let Some(index) = self.indexes.get_mut(&segment) else {
            return Ok(());
        };
        let places = frames.iter().map(|frame| {
            let line = &frame.line;
            (&line.frame, line.place.position)
        });
        index.note(&files, places)?;
        let index = index.take_unsynced();
        let written = written_range(frames, start);
        if self.dirty.add(segment, log, index, written) > self.dirty_count_max {
            self.dirty.sync(&self.files)?;
        }
        Ok(())
    }

    fn open_index(&mut self, segment: SegmentRef, position: u64) -> Result<(), StorageError> {
        if !self.indexes.contains_key(&segment) {
            if self.indexes.len() >= INDEX_WRITER_COUNT_MAX {
                self.indexes.clear();
            }
            let writer = IndexWriter::open(&self.files, segment, position)?;
            self.indexes.insert(segment, writer);
        }
        Ok(())
    }

    /// Writes frames that lie one behind the other with one call.
    fn write_run(
        &self,
        log: &dyn VfsFile,
        segment: SegmentRef,
        run: &[&CommittedFrame],
    ) -> Result<(), StorageError> {
        let Some(first) = run.first() else {
            return Ok(());
        };
        let gap_bytes = u64::from(first.line.gap_bytes);
        let mut slices = Vec::with_capacity(2 * run.len() + 1);
        slices.push(IoSlice::new(zeros(gap_bytes)));
        // What went by reference is in its place already; only the gap before it is to be filled.
        for frame in run
            .iter()
            .filter(|frame| frame.line.form == FrameForm::Inline)
        {
            let padding = frame.line.frame.padded_bytes() - frame.line.frame.frame_bytes();
            slices.push(IoSlice::new(&frame.bytes));
            slices.push(IoSlice::new(zeros(padding)));
        }
        slices.retain(|slice| !slice.is_empty());
        let start = first.line.place.position - gap_bytes;
        write_all_vectored_at(log, &mut slices, start)
            .map_err(io_error_of(Operation::Write, || {
                self.files.log_path(segment)
            }))
    }
}

/// Where in their segment frames were written that begin at `start`: what went by reference is on the disk.
fn written_range(frames: &[&CommittedFrame], start: u64) -> Range<u64> {
    let mut inline = frames
        .iter()
        .filter(|frame| frame.line.form == FrameForm::Inline)
        .map(|frame| {
            let position = frame.line.place.position;
            position..position + frame.line.frame.padded_bytes()
        });
    let Some(first) = inline.next() else {
        return start..start;
    };
    let end = inline.next_back().map_or(first.end, |last| last.end);
    first.start..end
}

fn zeros(count: u64) -> &'static [u8] {
    ZEROS.get(..usize_of(count)).unwrap_or_default()
}

fn is_contiguous(left: &CommittedFrame, right: &CommittedFrame) -> bool {
    let end = left.line.place.position + left.line.frame.padded_bytes();
    left.line.form == right.line.form && end == right.line.place.position
}

const _: () = assert!(
    ALIGN_BYTES < BLOCK_BYTES as u64,
    "padding fits into the zeros"
);
