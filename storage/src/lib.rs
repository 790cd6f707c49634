//! The durable half of Towpath: journal, partition logs, checkpoints, recovery.
//!
//! Storage knows bytes, files and offsets. It does not know topics' meaning, consumers, tokio, tonic
//! or prost. Files, time and randomness come from outside ([`Environment`]), so everything here runs
//! unchanged on the simulated disk.
#![deny(unsafe_code)]

mod buffer;
mod checkpoint;
pub mod dump;
mod environment;
mod error;
mod folder;
pub mod format;
mod frame;
mod ids;
mod index;
mod journal;
mod layout;
mod log_reader;
mod partition_log;
mod recovery;
pub mod repair;
mod rewrite;
mod runs;
mod scrub_progress;
mod segment;
mod segment_files;
mod settle;
mod tail_cache;
pub mod verify;
pub mod vfs;

pub use checkpoint::{CheckpointInput, Checkpointer};
pub use environment::*;
pub use error::{Corruption, DataLoss, OpenError, Operation, StorageError, with_causes};
pub use format::entry::{DirectoryLine, FrameForm, ProducerStamp};
pub use format::frame::{FrameHeader, FramePlace, Sparse};
pub use format::row::{Row, RowKey};
pub use format::run_row::INDEX_TABLES;
pub use format::scrub_file::{ScrubPlace, ScrubProgress};
pub use frame::{Backing, Frame, OffsetDeltas};
pub use ids::{BrokerId, Lsn, Offset, OffsetRange, PartitionRef, ProducerId, SegmentRef, TopicId};
pub use journal::{
    Append, CommittedFrame, CommittedRound, Journal, JournalFiles, JournalPosition, PreparedFile,
    Round,
};
pub use layout::{ActiveSegment, Placement, PlacementError, Placing, place, step_ahead};
pub use log_reader::{DiskRead, LogReader, ReadCursor, SegmentDamage};
pub use partition_log::{PartitionBounds, PartitionLog, ReadLimit, SettledEnd, TailRead};
pub use recovery::{RecoveryReport, StateMachine, Storage, StorageOptions};
pub use rewrite::{
    Keep, RewritePlan, RewriteStep, RewrittenSegment, SegmentRewrite, remove_unnamed_generations,
};
pub use runs::{
    Direction, IndexOptions, IndexStore, Lookup, MergeJob, MergeStep, MergedRun, RowRange,
    RunCheck, RunScan, RunSet,
};
pub use scrub_progress::{load_scrub_progress, store_scrub_progress};
pub use segment::{
    FIRST_STEP_BYTES, SegmentBatch, SegmentWish, ensure_segment, remove_segment, remove_segments,
    remove_topic,
};
pub use segment_files::SegmentFiles;
pub use settle::{DirtySegments, Settler};
pub use tail_cache::TailCache;
pub use vfs::Space;
