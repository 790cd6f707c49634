//! Partitions and their segments as decisions see them.

use towpath_storage::{
    ActiveSegment, DirectoryLine, Lsn, Offset, PartitionBounds, PartitionRef, SegmentRef,
    SettledEnd,
};

use super::row::{PartitionRow, SegmentRow};

/// One ordered log as the sequencer sees it.
#[derive(Debug, Default, Clone)]
pub struct Partition {
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    pub(super) last_append_time_ms: Option<i64>,
    /// Bytes of frames in all its segments.
    pub(super) size_bytes: u64,
    /// By base offset; the last is the active one.
    pub(super) segments: Vec<Segment>,
    pub(super) active: Option<ActiveSegment>,
}

/// One segment of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset of its first record.
    pub base: Offset,
    /// Bytes of its frames.
    pub size_bytes: u64,
    /// Append time of its first batch, milliseconds since the Unix epoch; 0 while it has none.
    pub first_append_time_ms: i64,
    /// Append time of its last batch, milliseconds since the Unix epoch; 0 while it has none.
    pub last_append_time_ms: i64,
    /// How often it was rewritten: which of its files counts.
    pub generation: u32,
    /// Of each key only the record that was the last at this entry is in it; 0 if it was not compacted.
    pub compacted_lsn: Lsn,
    /// Tombstones that compaction has left in it, since they were too young to go.
    pub tombstone_count: u64,
}

impl Segment {
    /// A segment without frames.
    pub(super) fn new(base: Offset) -> Self {
        Self {
            base,
            size_bytes: 0,
            first_append_time_ms: 0,
            last_append_time_ms: 0,
            generation: 0,
            compacted_lsn: Lsn::ZERO,
            tombstone_count: 0,
        }
    }

    /// Its files, as a segment of this partition.
    pub(crate) fn at(&self, partition: PartitionRef) -> SegmentRef {
        SegmentRef {
            partition,
            base: self.base,
            generation: self.generation,
        }
    }

    /// Whether it holds no frame.
    pub fn is_blank(&self) -> bool {
        self.size_bytes == 0
    }

    fn append(&mut self, line: &DirectoryLine) {
        if self.is_blank() {
            self.first_append_time_ms = line.frame.append_time_ms;
        }
        self.last_append_time_ms = line.frame.append_time_ms;
        self.size_bytes += line.frame.padded_bytes();
    }

    pub(super) fn from_row(base: Offset, row: &SegmentRow) -> Self {
        Self {
            base,
            size_bytes: row.size_bytes,
            first_append_time_ms: row.first_append_time_ms,
            last_append_time_ms: row.last_append_time_ms,
            generation: row.generation,
            compacted_lsn: Lsn::new(row.compacted_lsn),
            tombstone_count: row.tombstone_count,
        }
    }

    pub(super) fn to_row(self) -> SegmentRow {
        SegmentRow {
            size_bytes: self.size_bytes,
            first_append_time_ms: self.first_append_time_ms,
            last_append_time_ms: self.last_append_time_ms,
            generation: self.generation,
            compacted_lsn: self.compacted_lsn.get(),
            tombstone_count: self.tombstone_count,
        }
    }
}

impl Partition {
    /// Becomes what a row says, its segments excepted: they have rows of their own. What is not durable
    /// stays while it is about the same segment.
    pub(super) fn take_row(&mut self, row: &PartitionRow) {
        self.log_start = Offset::new(row.log_start);
        self.end = Offset::new(row.end);
        self.last_append_time_ms = row.last_append_time_ms;
        let before = self.active.take();
        self.active = row.active_base.map(|base| {
            let base = Offset::new(base);
            let known = before.filter(|before| before.base == base);
            ActiveSegment {
                next_position: row.next_position,
                is_after_run: row.is_after_run,
                allocated_end: known.map_or(0, |before| before.allocated_end),
                ..ActiveSegment::new(base)
            }
        });
    }

    pub(super) fn to_row(&self) -> PartitionRow {
        PartitionRow {
            log_start: self.log_start.get(),
            end: self.end.get(),
            last_append_time_ms: self.last_append_time_ms,
            next_position: self.active.map_or(0, |active| active.next_position),
            is_after_run: self.active.is_some_and(|active| active.is_after_run),
            active_base: self.active.map(|active| active.base.get()),
        }
    }

    /// Becomes what the row of one of its segments says; none if the segment is not its own any more.
    pub(super) fn take_segment_row(&mut self, base: Offset, row: Option<&SegmentRow>) {
        let found = self.segments.binary_search_by_key(&base, |it| it.base);
        if let Ok(place) = found {
            self.size_bytes -= self.segments.remove(place).size_bytes;
        }
        if let Some(row) = row {
            let (Ok(place) | Err(place)) = found;
            self.size_bytes += row.size_bytes;
            self.segments.insert(place, Segment::from_row(base, row));
        }
    }

    /// One of its segments.
    pub(super) fn segment(&self, base: Offset) -> Option<&Segment> {
        let found = self.segments.binary_search_by_key(&base, |it| it.base);
        self.segments.get(found.ok()?)
    }

    /// Takes the effect of an append.
    ///
    /// # Panics
    /// If it does not continue the partition.
    pub(super) fn append(&mut self, line: &DirectoryLine) {
        assert_eq!(
            self.end, line.frame.base_offset,
            "INVARIANT: offsets are dense"
        );
        self.end = line.frame.next_offset();
        self.last_append_time_ms = Some(line.frame.append_time_ms);
        self.size_bytes += line.frame.padded_bytes();
        if let Some(segment) = self.segments.last_mut() {
            segment.append(line);
        }
        if let Some(active) = self.active.as_mut() {
            active.append(line);
        }
    }

    /// Moves the log start up and lets go of segments that lie wholly below it, at most `count_max`,
    /// which are returned. The active segment goes too if it holds nothing else, and the next append
    /// begins a new one.
    pub(super) fn trim(&mut self, log_start: Offset, count_max: usize) -> Vec<Segment> {
        self.log_start = self.log_start.max(log_start);
        let ends = self.segments.iter().skip(1).map(|segment| segment.base);
        let count = ends
            .chain([self.end])
            .zip(&self.segments)
            .take_while(|(end, segment)| *end <= self.log_start && !segment.is_blank())
            .take(count_max)
            .count();
        let dropped: Vec<_> = self.segments.drain(..count).collect();
        self.size_bytes -= dropped
            .iter()
            .map(|segment| segment.size_bytes)
            .sum::<u64>();
        if self.segments.is_empty() {
            self.active = None;
        }
        dropped
    }

    /// Whether it has segments that lie wholly below the log start.
    pub(super) fn is_untidy(&self) -> bool {
        let next = self.segments.get(1).map_or(self.end, |next| next.base);
        let first = self.segments.first();
        first.is_some_and(|first| !first.is_blank() && next <= self.log_start)
    }

    /// Lowest offset that may be read.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Offset of the next record.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Append time of the last batch, milliseconds since the Unix epoch.
    pub fn last_append_time_ms(&self) -> Option<i64> {
        self.last_append_time_ms
    }

    /// Bytes of frames in its segments.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its segments, by base offset.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What readers need to know of it when everything is settled, as it is at a start.
    pub fn bounds(&self, partition: PartitionRef) -> PartitionBounds {
        let settled_end = self.active.map(|active| SettledEnd {
            segment: SegmentRef::new(partition, active.base),
            position: active.next_position,
            offset: self.end,
        });
        PartitionBounds {
            log_start: self.log_start,
            end: self.end,
            size_bytes: self.size_bytes,
            last_append_time_ms: self.last_append_time_ms,
            segments: self.segments.iter().map(|it| it.at(partition)).collect(),
            settled_end,
        }
    }

    /// The segment that is appended to.
    pub fn active(&self) -> Option<&ActiveSegment> {
        self.active.as_ref()
    }
}
