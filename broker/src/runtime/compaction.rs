//! The maintenance thread's part in compaction: rewriting segments a little at a time, and offering the
//! result to the sequencer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_proto::batch::Records;
use towpath_proto::compression::{Codec, Compression, compress};
use towpath_storage::{
    Frame, Keep, LogReader, Lsn, Offset, RewriteStep, RunSet, SegmentFiles, SegmentRef,
    SegmentRewrite, StorageError, TopicId, remove_segment, with_causes,
};

use super::command::ControlCommand;
use super::command_queue::CommandQueue;
use super::index_view::IndexView;
use super::metrics::EngineMetrics;
use crate::core::{CompactedSegment, CompactionPlan, KeyHead, TombstoneRule, record_hash};
use crate::plain::{codec_of, plain};

/// Payloads that are rewritten at once.
const STEP_BYTES: usize = 256 * 1024;
/// Pause between two such steps: with it a rewrite reads about 50 MB a second, and leaves the disk to others.
pub(super) const STEP_PAUSE: Duration = Duration::from_millis(5);

/// Says whether an offered segment was taken.
pub type SwapVerdict = Arc<OnceLock<bool>>;

/// What it shares with others.
#[derive(Debug)]
pub(super) struct CompactorShared {
    pub(super) reader: LogReader,
    pub(super) files: Arc<SegmentFiles>,
    pub(super) index: Arc<IndexView>,
    pub(super) commands: Arc<CommandQueue>,
    pub(super) metrics: Arc<EngineMetrics>,
    /// What keys are hashed with.
    pub(super) hash_key: [u8; 16],
}

/// Rewrites segments. Lives on the maintenance thread.
#[derive(Debug)]
pub(super) struct Compactor {
    shared: CompactorShared,
    current: Option<Current>,
    waiting: VecDeque<CompactionPlan>,
    /// The checkpoint that allows what waits.
    lsn: Lsn,
    /// Segments that were offered and are not known to be taken.
    offered: Vec<(SegmentRef, SwapVerdict)>,
    /// Segments that cannot be read to their end: they stay as they are.
    unreadable: BTreeSet<SegmentRef>,
}

/// What is being rewritten.
#[derive(Debug)]
struct Current {
    rewrite: Box<SegmentRewrite>,
    plan: CompactionPlan,
    lsn: Lsn,
    tombstone_count: u64,
}

impl Compactor {
    pub(super) fn new(shared: CompactorShared) -> Self {
        Self {
            shared,
            current: None,
            waiting: VecDeque::new(),
            lsn: Lsn::ZERO,
            offered: Vec::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Takes what a checkpoint allows that is done now, in the place of what waited for an older one.
    pub(super) fn take_plans(&mut self, plans: Vec<CompactionPlan>, lsn: Lsn) {
        let is_free = |plan: &CompactionPlan| {
            let under_way = self.current.iter().flat_map(|it| &it.plan.rewrite.sources);
            let offered = self.offered.iter().map(|(segment, _)| segment);
            let mut taken = under_way.chain(offered).map(|it| (it.partition, it.base));
            let sources = &plan.rewrite.sources;
            !taken.any(|taken| sources.iter().any(|it| (it.partition, it.base) == taken))
                && sources.iter().all(|it| !self.unreadable.contains(it))
        };
        self.waiting = plans.into_iter().filter(is_free).collect();
        self.lsn = lsn;
    }

    /// Lets go of what is being done for topics whose files are about to be removed.
    pub(super) fn forget_topics(&mut self, topics: &[TopicId]) {
        let is_gone = |plan: &CompactionPlan| {
            plan.partition()
                .is_some_and(|it| topics.contains(&it.topic))
        };
        self.waiting.retain(|plan| !is_gone(plan));
        self.current.take_if(|current| is_gone(&current.plan));
        let is_of = |segment: &SegmentRef| topics.contains(&segment.partition.topic);
        self.offered.retain(|(segment, _)| !is_of(segment));
    }

    /// Whether there is something to do.
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    /// Does a little; returns whether there was anything.
    ///
    /// # Errors
    /// [`StorageError`] of a failed sync: nothing is known about a folder with segments in it, and the broker
    /// must end.
    pub(super) fn step(&mut self) -> Result<bool, StorageError> {
        let has_settled = self.settle_offers();
        let current = match self.current.take() {
            Some(current) => Ok(current),
            None => match self.waiting.pop_front() {
                Some(plan) => self.begin(plan),
                None => return Ok(has_settled),
            },
        };
        match current.and_then(|current| self.rewrite(current)) {
            Err((_, error)) if error.is_failed_sync() => return Err(error),
            Err((plan, error)) => self.give_up(&plan, &error),
            Ok(()) => {}
        }
        Ok(true)
    }

    fn begin(&self, plan: CompactionPlan) -> Result<Current, (CompactionPlan, StorageError)> {
        match SegmentRewrite::begin(
            &self.shared.files,
            &self.shared.reader,
            plan.rewrite.clone(),
        ) {
            Ok(rewrite) => Ok(Current {
                rewrite: Box::new(rewrite),
                plan,
                lsn: self.lsn,
                tombstone_count: 0,
            }),
            Err(error) => Err((plan, error)),
        }
    }

    fn rewrite(&mut self, current: Current) -> Result<(), (CompactionPlan, StorageError)> {
        let Current {
            rewrite,
            plan,
            lsn,
            mut tombstone_count,
        } = current;
        let Some(partition) = plan.partition() else {
            return Ok(());
        };
        let snapshot = self.shared.index.snapshot();
        let mut judge = Judge {
            runs: &snapshot.runs,
            hash_key: &self.shared.hash_key,
            topic: partition.topic,
            partition: partition.partition,
            rule: plan.tombstones,
            has_stale_records: plan.has_stale_records,
            tombstone_count: 0,
        };
        let step = rewrite.step(STEP_BYTES, &mut |frame| judge.judge(frame));
        tombstone_count += judge.tombstone_count;
        match step {
            Ok(RewriteStep::Unfinished(rewrite)) => {
                self.current = Some(Current {
                    rewrite,
                    plan,
                    lsn,
                    tombstone_count,
                });
            }
            Ok(RewriteStep::Finished(rewritten)) => {
                self.shared.metrics.note_compacted(&rewritten);
                self.offer(CompactedSegment {
                    rewritten,
                    lsn,
                    tombstone_count,
                });
            }
            Err(error) => return Err((plan, error)),
        }
        Ok(())
    }

    fn offer(&mut self, compacted: CompactedSegment) {
        let verdict = SwapVerdict::default();
        let segment = compacted.rewritten.segment;
        let command = ControlCommand::SwapSegments {
            compacted: Box::new(compacted),
            verdict: Arc::clone(&verdict),
        };
        // What a broker that stops does not take is removed at its next start.
        if self.shared.commands.push_control(command).is_ok() {
            self.offered.push((segment, verdict));
        }
    }

    /// Removes files that were not taken. Returns whether anything was decided.
    fn settle_offers(&mut self) -> bool {
        let before = self.offered.len();
        let files = &self.shared.files;
        self.offered.retain(|(segment, verdict)| {
            let Some(is_taken) = verdict.get() else {
                return true;
            };
            if !is_taken && let Err(error) = remove_segment(files, *segment) {
                // The next start removes it.
                let error = with_causes(&error);
                tracing::warn!(%error, %segment, "rewritten segment that is not needed not removed");
            }
            false
        });
        self.offered.len() < before
    }

    fn give_up(&mut self, plan: &CompactionPlan, error: &StorageError) {
        let segment = plan.rewrite.sources.first();
        let cause = with_causes(error);
        if error.is_full() {
            // Others need room as well; the next checkpoint asks for it again.
            self.waiting.clear();
            tracing::warn!(error = %cause, ?segment, "no room to compact a segment");
            return;
        }
        if matches!(error, StorageError::Corrupt(_)) {
            self.unreadable.extend(plan.rewrite.sources.iter().copied());
        }
        tracing::error!(error = %cause, ?segment, "segment not compacted");
    }
}

/// What is left of a batch with the codec that it had: plain it might take more room than all of it did.
fn compressed_again(codec: Option<Codec>, payload: Bytes) -> (u8, Bytes) {
    let compressed = codec.and_then(|codec| {
        let compressed = compress(&payload, Compression::of(codec))?;
        Some((codec.number(), compressed))
    });
    compressed.unwrap_or((0, payload))
}

/// Says what of a frame is kept.
struct Judge<'a> {
    /// Of a checkpoint at or above the frame's segment.
    runs: &'a RunSet,
    hash_key: &'a [u8; 16],
    topic: TopicId,
    partition: u32,
    rule: TombstoneRule,
    has_stale_records: bool,
    /// Tombstones that are kept.
    tombstone_count: u64,
}

impl Judge<'_> {
    fn judge(&mut self, frame: &Frame) -> Result<Keep, StorageError> {
        let codec = codec_of(&frame.header);
        // It is looked at once, so nothing of it is kept.
        let Ok(frame) = &plain(frame.clone()) else {
            return Ok(Keep::All);
        };
        let base = frame.header.base_offset;
        let mut records = Records::new(&frame.payload);
        let (mut payload, mut deltas) = (BytesMut::new(), Vec::new());
        let mut start = 0;
        for place in 0..frame.header.record_count {
            // Every payload was walked when it came, and has its checksum.
            let record = records.next().and_then(Result::ok);
            let (Some(record), Some(offset)) = (record, frame.offset_of(place)) else {
                return Ok(Keep::All);
            };
            let end = records.next_position();
            let is_kept = match record.key() {
                Some(key) => self.is_last(key, offset)?,
                None => true,
            };
            let is_tombstone = record.key().is_some() && record.value().is_none();
            let (lsn, time_ms) = (frame.header.lsn, frame.header.append_time_ms);
            if is_kept && !(is_tombstone && self.rule.lets_go(lsn, time_ms)) {
                self.tombstone_count += u64::from(is_tombstone);
                payload.extend_from_slice(frame.payload.get(start..end).unwrap_or_default());
                deltas.push(u32::try_from(offset.since(base)).unwrap_or(u32::MAX));
            }
            start = end;
        }
        Ok(match deltas.len() {
            count if count == frame.header.record_count as usize => Keep::All,
            0 => Keep::Nothing,
            _ => {
                let (codec, payload) = compressed_again(codec, payload.freeze());
                Keep::Only {
                    payload,
                    codec,
                    deltas,
                }
            }
        })
    }

    /// Whether a record is the last of its key, as far as the index tells.
    fn is_last(&self, key: &[u8], offset: Offset) -> Result<bool, StorageError> {
        let hash = record_hash(self.hash_key, &[key]);
        let row = self.runs.get(&KeyHead::row_key(self.topic, &hash))?;
        let head = row.value().map(KeyHead::from_bytes);
        Ok(head.is_none_or(|head| {
            // Who writes a key to several partitions has a last record in each.
            head.partition != self.partition
                || head.offset == offset
                || head.offset < offset && !self.has_stale_records
        }))
    }
}
