//! Rewriting sealed segments: neighbours of one partition become one file of the next generation, without
//! the records that its owner lets go of.
//!
//! A rewrite reads files that never change and writes one that nobody names, so it can be given up, or
//! lost in a crash, at any point. Its file counts once an entry says so.

mod writer;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Corruption, StorageError};
use crate::folder;
use crate::frame::Frame;
use crate::ids::{Lsn, Offset, OffsetRange, PartitionRef, SegmentRef};
use crate::log_reader::{LogReader, ReadCursor};
use crate::partition_log::ReadLimit;
use crate::segment::{list_if_any, remove_segment};
use crate::segment_files::SegmentFiles;
use writer::SegmentWriter;

/// What becomes of the records of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// All that it has stay.
    All,
    /// None stays; the offsets that the frame covers are still told.
    Nothing,
    /// Some stay.
    Only {
        /// Their bytes, encoded as payloads are.
        payload: Bytes,
        /// How these were compressed; 0 if they are plain.
        codec: u8,
        /// The offset of each minus the frame's base offset: rising, below the frame's offset count.
        deltas: Vec<u32>,
    },
}

/// Segments to be rewritten as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewritePlan {
    /// Neighbours by base offset, at least one. They lie wholly below a checkpoint, and nothing is
    /// appended to them any more.
    pub sources: Vec<SegmentRef>,
    /// One past the last offset of the last one.
    pub end: Offset,
}

/// A file that may take the place of those that it was made of. It is durable, and nobody names it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrittenSegment {
    /// What was rewritten.
    pub plan: RewritePlan,
    /// The new generation of the first of them.
    pub segment: SegmentRef,
    /// Bytes of its frames.
    pub size_bytes: u64,
    /// Records that it holds.
    pub kept_count: u64,
    /// Records that the sources held and it does not.
    pub removed_count: u64,
}

/// How far a rewrite has come.
#[derive(Debug)]
pub enum RewriteStep {
    /// There is more to do.
    Unfinished(Box<SegmentRewrite>),
    /// The new file is durable.
    Finished(RewrittenSegment),
}

/// A rewrite that is under way. Dropping it removes what it has written.
#[derive(Debug)]
pub struct SegmentRewrite {
    reader: LogReader,
    plan: RewritePlan,
    /// What is left to be read, by file.
    left: VecDeque<(SegmentRef, OffsetRange)>,
    cursor: Option<ReadCursor>,
    writer: SegmentWriter,
    removed_count: u64,
}

impl SegmentRewrite {
    /// Begins the file of the next generation; what an earlier attempt left of it is removed.
    ///
    /// # Errors
    /// [`StorageError::Io`]; nothing is left.
    pub fn begin(
        files: &Arc<SegmentFiles>,
        reader: &LogReader,
        plan: RewritePlan,
    ) -> Result<Self, StorageError> {
        let ends = plan.sources.iter().skip(1).map(|segment| segment.base);
        let ends = ends.chain([plan.end]);
        let left: VecDeque<_> = plan
            .sources
            .iter()
            .zip(ends)
            .map(|(segment, end)| {
                let start = segment.base;
                (*segment, OffsetRange { start, end })
            })
            .collect();
        // INVARIANT: whoever plans takes neighbours, in their order.
        assert!(
            left.iter().all(|(_, range)| range.start < range.end),
            "segments to be rewritten follow each other and hold something: {plan:?}"
        );
        let first = plan.sources.first().copied();
        // INVARIANT: a plan has something to rewrite.
        #[expect(clippy::expect_used, reason = "a plan has at least one source")]
        let first = first.expect("a plan has a source");
        let segment = SegmentRef {
            generation: first.generation + 1,
            ..first
        };
        Ok(Self {
            reader: reader.clone(),
            plan,
            left,
            cursor: None,
            writer: SegmentWriter::create(files, segment)?,
            removed_count: 0,
        })
    }

    /// Rewrites a little: frames with payloads of about `bytes_max`. `judge` says what stays of each.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Corrupt`] if frames of a source cannot be read, and what
    /// `judge` fails with. The sources are as they were, and what was written is removed. After a failed
    /// sync ([`StorageError::is_failed_sync`]) nothing is known about the partition's folder.
    pub fn step(
        mut self: Box<Self>,
        bytes_max: usize,
        judge: &mut dyn FnMut(&Frame) -> Result<Keep, StorageError>,
    ) -> Result<RewriteStep, StorageError> {
        let Some((source, range)) = self.left.front().copied() else {
            return self.finish();
        };
        let limit = ReadLimit {
            bytes_max,
            lsn_max: Lsn::new(u64::MAX),
        };
        let read = self
            .reader
            .read_segment(source, self.cursor, range, limit, None)?;
        self.cursor = read.cursor;
        let mut next = range.start;
        for frame in &read.frames {
            next = frame.header.next_offset();
            let keep = judge(frame)?;
            self.removed_count += self.writer.push(frame, keep)?;
        }
        if next == range.start {
            let path = self.writer.path_of(source);
            let what = format!("records from offset {next} on cannot be read");
            return Err(Corruption {
                path,
                position: 0,
                what,
            }
            .into());
        }
        if next < range.end {
            let rest = OffsetRange {
                start: next,
                end: range.end,
            };
            self.left.front_mut().into_iter().for_each(|it| it.1 = rest);
        } else {
            self.left.pop_front();
            self.cursor = None;
        }
        Ok(RewriteStep::Unfinished(self))
    }

    fn finish(self: Box<Self>) -> Result<RewriteStep, StorageError> {
        let Self {
            plan,
            writer,
            removed_count,
            ..
        } = *self;
        let written = writer.finish()?;
        Ok(RewriteStep::Finished(RewrittenSegment {
            plan,
            segment: written.segment,
            size_bytes: written.size_bytes,
            kept_count: written.record_count,
            removed_count,
        }))
    }
}

/// Removes what rewrites left in the folder of a partition when they were interrupted: files of a later
/// generation than the first that `is_named` does not know. Returns how many segments were removed.
///
/// # Errors
/// [`StorageError::Io`]; it may be called again.
pub fn remove_unnamed_generations(
    files: &SegmentFiles,
    partition: PartitionRef,
    is_named: impl Fn(SegmentRef) -> bool,
) -> Result<usize, StorageError> {
    let Some(folder_name) = files.topic_folder(partition.topic) else {
        return Ok(0);
    };
    let path = folder::partition_folder(&folder_name, partition);
    let mut removed_count = 0;
    let mut segments: Vec<_> = list_if_any(files, &path)?
        .iter()
        .filter_map(|file| folder::parse_segment_file(partition, &file.name))
        // What was appended is never removed on doubt.
        .filter(|segment| segment.generation > 0 && !is_named(*segment))
        .collect();
    segments.sort_unstable();
    segments.dedup();
    for segment in segments {
        remove_segment(files, segment)?;
        removed_count += 1;
    }
    Ok(removed_count)
}
