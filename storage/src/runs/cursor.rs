//! Walks through one run, block by block, in either direction.

use std::sync::Arc;
use std::vec;

use super::cache::BlockCache;
use super::range::{Direction, RowRange};
use super::run::{Run, Source, block_of};
use crate::error::StorageError;
use crate::format::row::Row;
use crate::format::run_file::{BlockRow, DataBlock, PartitionIndex, row_key};

/// The keys that a cursor goes through, as sort keys; half-open.
#[derive(Debug, Clone)]
pub(super) struct KeyRange {
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
    pub(super) direction: Direction,
}

impl KeyRange {
    /// Whether a row, and so everything after it, lies behind the range.
    fn is_behind(&self, key: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => self.end.as_deref().is_some_and(|end| key >= end),
            Direction::Backward => *key < *self.start,
        }
    }

    /// Whether a row lies before the range.
    fn is_before(&self, key: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => *key < *self.start,
            Direction::Backward => self.end.as_deref().is_some_and(|end| key >= end),
        }
    }

    /// Whether a block that begins with this key, and so everything after it, lies behind the range.
    fn is_behind_block(&self, first_key: &[u8]) -> bool {
        self.direction == Direction::Forward && self.is_behind(first_key)
    }

    /// Whether no block after one that begins with this key has rows of the range.
    fn ends_in_block(&self, first_key: &[u8]) -> bool {
        self.direction == Direction::Backward && *first_key <= *self.start
    }

    /// Where the walk begins, unless that is the end of the run.
    fn seek_key(&self) -> Option<&[u8]> {
        match self.direction {
            Direction::Forward => Some(&self.start),
            Direction::Backward => self.end.as_deref(),
        }
    }
}

/// Places `0..count` that are still to be visited, in the order of the walk.
#[derive(Debug, Default, Clone, Copy)]
struct Places {
    next: usize,
    left: usize,
}

impl Places {
    /// From the place that the seek key is in to the end of the walk.
    fn new(direction: Direction, count: usize, sought: Option<usize>) -> Self {
        let last = count.saturating_sub(1);
        match direction {
            Direction::Forward => {
                let next = sought.unwrap_or_default().min(last);
                let left = count - next.min(count);
                Self { next, left }
            }
            Direction::Backward => {
                let next = sought.unwrap_or(last).min(last);
                let left = if count == 0 { 0 } else { next + 1 };
                Self { next, left }
            }
        }
    }

    fn take(&mut self, direction: Direction) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let place = self.next;
        self.next = match direction {
            Direction::Forward => place + 1,
            Direction::Backward => place.saturating_sub(1),
        };
        Some(place)
    }
}

/// A walk through the rows of one run that lie in a range.
#[derive(Debug)]
pub(super) struct RunCursor {
    run: Arc<Run>,
    /// Blocks go through it; none to read past it.
    cache: Option<Arc<BlockCache>>,
    range: KeyRange,
    /// The filter's number of the only filter key in the range, if there is but one.
    filter_hash: Option<u64>,
    partitions: Places,
    index: Option<Arc<PartitionIndex>>,
    blocks: Places,
    data: Option<DataBlock>,
    groups: Places,
    rows: vec::IntoIter<BlockRow>,
}

impl RunCursor {
    /// A walk through part of one table; `None` if the run has no row of it.
    pub(super) fn in_range(
        run: &Arc<Run>,
        cache: &Arc<BlockCache>,
        range: &RowRange,
        keys: &KeyRange,
    ) -> Option<Self> {
        let table = run.contents().table(range.table)?;
        let filter_hash = range.filter_hash(table.filter_key_bytes as usize);
        let cursor = Self::new(run, Some(Arc::clone(cache)), keys.clone());
        Some(Self {
            filter_hash,
            ..cursor
        })
    }

    /// A walk through all rows by rising keys, past the cache.
    pub(super) fn through_all(run: &Arc<Run>) -> Self {
        let keys = KeyRange {
            start: Vec::new(),
            end: None,
            direction: Direction::Forward,
        };
        Self::new(run, None, keys)
    }

    fn new(run: &Arc<Run>, cache: Option<Arc<BlockCache>>, range: KeyRange) -> Self {
        let sought = range.seek_key().map(|key| run.partition_of(key));
        let count = run.contents().partitions.len();
        Self {
            partitions: Places::new(range.direction, count, sought),
            run: Arc::clone(run),
            cache,
            range,
            filter_hash: None,
            index: None,
            blocks: Places::default(),
            data: None,
            groups: Places::default(),
            rows: Vec::new().into_iter(),
        }
    }

    /// The next row in the range, also one that is gone; `None` behind the last.
    ///
    /// # Errors
    /// [`StorageError`]: a block cannot be read or is damaged.
    pub(super) fn next_row(&mut self) -> Result<Option<BlockRow>, StorageError> {
        loop {
            let row = match self.range.direction {
                Direction::Forward => self.rows.next(),
                Direction::Backward => self.rows.next_back(),
            };
            match row {
                Some(row) if self.range.is_before(&row.sort_key) => {}
                Some(row) if self.range.is_behind(&row.sort_key) => {
                    self.end();
                    return Ok(None);
                }
                Some(row) => return Ok(Some(row)),
                None if self.next_group()? || self.next_block()? || self.next_partition()? => {}
                None => return Ok(None),
            }
        }
    }

    fn end(&mut self) {
        self.rows = Vec::new().into_iter();
        self.partitions.left = 0;
        self.blocks.left = 0;
        self.groups.left = 0;
    }

    fn source(&self) -> Source<'_> {
        self.cache.as_deref().map_or(Source::Disk, Source::Through)
    }

    /// Goes to the next group of the block; `false` if there is none.
    fn next_group(&mut self) -> Result<bool, StorageError> {
        let Some(block) = &self.data else {
            return Ok(false);
        };
        let Some(group) = self.groups.take(self.range.direction) else {
            return Ok(false);
        };
        let group = u32::try_from(group).unwrap_or(u32::MAX);
        let rows = block.group(group).ok_or_else(|| self.malformed())?;
        self.rows = rows.into_iter();
        Ok(true)
    }

    /// Goes to the next block of the partition; `false` if there is none in the range.
    fn next_block(&mut self) -> Result<bool, StorageError> {
        let direction = self.range.direction;
        let Some(index) = self.index.clone() else {
            return Ok(false);
        };
        let next = self.blocks.take(direction);
        let Some(place) = next.and_then(|next| index.blocks.get(next)) else {
            return Ok(false);
        };
        if self.range.is_behind_block(&place.first_key) {
            self.end();
            return Ok(false);
        }
        if self.range.ends_in_block(&place.first_key) {
            (self.blocks.left, self.partitions.left) = (0, 0);
        }
        let block = self.run.data(place.place, self.source())?;
        let block = block.ok_or_else(|| self.malformed())?;
        let sought = match self.range.seek_key() {
            Some(key) => Some(block.group_of(key).ok_or_else(|| self.malformed())? as usize),
            None => None,
        };
        self.groups = Places::new(direction, block.group_count() as usize, sought);
        self.data = Some(block);
        Ok(true)
    }

    /// Goes to the next partition that may have rows of the range; `false` if there is none.
    fn next_partition(&mut self) -> Result<bool, StorageError> {
        let direction = self.range.direction;
        while let Some(partition) = self.partitions.take(direction) {
            let place = self.run.contents().partitions.get(partition);
            let first_key = place.map(|it| it.first_key.clone()).unwrap_or_default();
            if self.range.is_behind_block(&first_key) {
                self.end();
                return Ok(false);
            }
            if self.range.ends_in_block(&first_key) {
                self.partitions.left = 0;
            }
            let index = self.run.index(partition, self.source())?;
            let index = index.ok_or_else(|| self.malformed())?;
            if let Some(hash) = self.filter_hash
                && !index.filter.may_hold(hash)
            {
                continue;
            }
            let sought = self.range.seek_key().map(|key| block_of(&index, key));
            self.blocks = Places::new(direction, index.blocks.len(), sought);
            self.data = None;
            self.index = Some(index);
            return Ok(true);
        }
        Ok(false)
    }

    fn malformed(&self) -> StorageError {
        let position = self.run.footer().contents.position;
        self.run.corrupt(position, "rows are malformed")
    }
}

/// All rows of one run, for those who look at it.
#[derive(Debug)]
pub(crate) struct RunRows {
    cursor: RunCursor,
}

impl RunRows {
    pub(crate) fn new(run: &Arc<Run>) -> Self {
        Self {
            cursor: RunCursor::through_all(run),
        }
    }

    /// The next row, also one that is gone; `None` behind the last.
    ///
    /// # Errors
    /// [`StorageError`]: a block cannot be read or is damaged.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, StorageError> {
        let Some(BlockRow { sort_key, value }) = self.cursor.next_row()? else {
            return Ok(None);
        };
        let key = row_key(sort_key).ok_or_else(|| self.cursor.malformed())?;
        Ok(Some(Row { key, value }))
    }
}
