//! One run that can be read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::RunContext;
use super::cache::{BlockCache, CachedBlock};
use crate::environment::Environment;
use crate::error::{Corruption, Operation, StorageError, io_error};
use crate::folder;
use crate::format::row::RowKey;
use crate::format::run_file::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, BlockPlace, DataBlock,
    PartitionIndex, RUN_FOOTER_BYTES, RUN_HEADER_BYTES, RunContents, RunFooter, RunIdentity,
    filter_hash, sort_key,
};
use crate::format::run_row::RunRow;
use crate::vfs::{OpenMode, VfsFile, read_full_at};

/// Where blocks may be taken from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    /// The disk; what is read is not kept.
    Disk,
    /// Memory, else the disk; what is read is kept.
    Through(&'a BlockCache),
    /// Memory only.
    Memory(&'a BlockCache),
}

/// What one run says of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does not have it.
    Absent,
    /// The blocks that know are not in memory.
    NotInMemory,
    /// It has it: its value, or none if it is gone.
    Row(Option<Bytes>),
}

/// A row that is looked for, in the forms in which runs look for it.
#[derive(Debug)]
pub(super) struct Query<'a> {
    key: &'a RowKey,
    sort_key: Vec<u8>,
    /// The filter's number of it for so many bytes of the key: mostly the same in all runs.
    hash: Option<(u32, u64)>,
}

impl<'a> Query<'a> {
    pub(super) fn new(key: &'a RowKey) -> Self {
        Self {
            key,
            sort_key: sort_key(key.table, &key.key),
            hash: None,
        }
    }

    fn hash(&mut self, filter_key_bytes: u32) -> u64 {
        match self.hash {
            Some((bytes, hash)) if bytes == filter_key_bytes => hash,
            _ => {
                let bytes = filter_key_bytes as usize;
                let hash = filter_hash(self.key.table, &self.key.key, bytes);
                self.hash = Some((filter_key_bytes, hash));
                hash
            }
        }
    }
}

/// An open run. Its file stays readable for as long as it is held, also when it is unlinked.
#[derive(Debug)]
pub(crate) struct Run {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    file_bytes: u64,
    footer: RunFooter,
    contents: RunContents,
    /// Place among the others by age.
    rank: u64,
    /// Set when a block was found damaged: such a run is not merged, since its rows could get lost.
    is_damaged: AtomicBool,
}

impl Run {
    /// Opens a run that a checkpoint of this folder names.
    ///
    /// # Errors
    /// As [`Run::open_named`], also if it is that of another folder.
    pub(super) fn open(context: &RunContext, row: &RunRow) -> Result<Self, StorageError> {
        let run = Self::open_named(&context.environment, row)?;
        match run.footer.identity.broker_id == context.broker_id {
            true => Ok(run),
            false => Err(run.corrupt(0, "it is a run of another data folder")),
        }
    }

    /// Opens a run that a checkpoint names.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if it is missing, or its header, contents or footer are not what the
    /// checkpoint says.
    pub(crate) fn open_named(
        environment: &Environment,
        row: &RunRow,
    ) -> Result<Self, StorageError> {
        let opened = Self::open_file(environment, row.number);
        let mut run = match opened {
            Err(error) if error.is_not_found() => {
                let path = folder::run_file(row.number);
                return Err(corrupt(
                    &path,
                    0,
                    "the file is missing, and the checkpoint names it",
                ));
            }
            opened => opened?,
        };
        let footer = &run.footer;
        let is_that = footer.identity.salt == row.salt
            && run.file_bytes == row.file_bytes
            && footer.row_count == row.row_count
            && footer.span == row.span;
        if !is_that {
            return Err(run.corrupt(0, "it is not the run that the checkpoint names"));
        }
        run.rank = row.rank;
        Ok(run)
    }

    /// Opens whatever run lies under a number.
    ///
    /// # Errors
    /// [`StorageError`]: it cannot be read, or its header, contents or footer are damaged.
    pub(crate) fn open_file(environment: &Environment, number: u64) -> Result<Self, StorageError> {
        let path = folder::run_file(number);
        let file = environment
            .vfs
            .open(&path, OpenMode::Read)
            .map_err(io_error(Operation::Open, &path))?;
        let file_bytes = file.len().map_err(io_error(Operation::Read, &path))?;
        let footer_position = file_bytes.saturating_sub(RUN_FOOTER_BYTES as u64);
        let header = read(&path, &*file, 0, RUN_HEADER_BYTES)?;
        let identity = RunIdentity::decode_header(&header)
            .filter(|identity| identity.number == number)
            .ok_or_else(|| corrupt(&path, 0, "the header is damaged or that of another run"))?;
        let footer = RunFooter::decode(&read(&path, &*file, footer_position, RUN_FOOTER_BYTES)?)
            .filter(|footer| footer.identity == identity)
            .filter(|footer| footer.contents.end() == Some(footer_position))
            .ok_or_else(|| {
                let what = "the footer is damaged or that of another run";
                corrupt(&path, footer_position, what)
            })?;
        let mut run = Self {
            path,
            file,
            file_bytes,
            footer,
            contents: RunContents::default(),
            rank: number,
            is_damaged: AtomicBool::new(false),
        };
        let place = footer.contents;
        let (content, count) = run.read_block(BlockKind::Contents, place)?;
        run.contents = RunContents::decode(content, count)
            .filter(|_| count == footer.partition_count)
            .ok_or_else(|| run.corrupt(place.position, "the contents are malformed"))?;
        Ok(run)
    }

    pub(crate) fn number(&self) -> u64 {
        self.footer.identity.number
    }

    pub(crate) fn footer(&self) -> &RunFooter {
        &self.footer
    }

    pub(crate) fn contents(&self) -> &RunContents {
        &self.contents
    }

    pub(super) fn rank(&self) -> u64 {
        self.rank
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// What the checkpoint is to say of it.
    pub(super) fn row(&self) -> RunRow {
        RunRow {
            number: self.number(),
            salt: self.footer.identity.salt,
            file_bytes: self.file_bytes,
            rank: self.rank,
            row_count: self.footer.row_count,
            span: self.footer.span,
        }
    }

    /// The last partition whose first key is not above; the first if all are above.
    pub(super) fn partition_of(&self, sort_key: &[u8]) -> usize {
        let partitions = &self.contents.partitions;
        partitions
            .partition_point(|partition| partition.first_key <= sort_key)
            .saturating_sub(1)
    }

    /// Looks for a row.
    ///
    /// # Errors
    /// [`StorageError`]: a block cannot be read or is damaged, so the row may be there or not.
    pub(super) fn get(
        &self,
        query: &mut Query<'_>,
        source: Source<'_>,
    ) -> Result<Answer, StorageError> {
        let Some(table) = self.contents.table(query.key.table) else {
            return Ok(Answer::Absent);
        };
        let hash = query.hash(table.filter_key_bytes);
        let Some(index) = self.index(self.partition_of(&query.sort_key), source)? else {
            return Ok(Answer::NotInMemory);
        };
        if !index.filter.may_hold(hash) {
            return Ok(Answer::Absent);
        }
        let place = block_of(&index, &query.sort_key);
        let Some(place) = index.blocks.get(place).map(|block| block.place) else {
            return Ok(Answer::Absent);
        };
        let Some(block) = self.data(place, source)? else {
            return Ok(Answer::NotInMemory);
        };
        match block.find(&query.sort_key) {
            None => Err(self.corrupt(place.position, "rows are malformed")),
            Some(None) => Ok(Answer::Absent),
            Some(Some(value)) => Ok(Answer::Row(value)),
        }
    }

    /// The index block of a partition; `None` if it is not in memory and must not be read.
    pub(super) fn index(
        &self,
        partition: usize,
        source: Source<'_>,
    ) -> Result<Option<Arc<PartitionIndex>>, StorageError> {
        let Some(place) = self.contents.partitions.get(partition).map(|it| it.place) else {
            return Err(self.corrupt(self.footer.contents.position, "a partition is missing"));
        };
        let block = self.block(
            place,
            source,
            |content, count| {
                let index = PartitionIndex::decode(content, count)?;
                Some(CachedBlock::Index(Arc::new(index)))
            },
            BlockKind::Index,
        )?;
        match block {
            None => Ok(None),
            Some(CachedBlock::Index(index)) => Ok(Some(index)),
            Some(CachedBlock::Data(_)) => Err(self.corrupt(place.position, "rows are no index")),
        }
    }

    /// A data block; `None` if it is not in memory and must not be read.
    pub(super) fn data(
        &self,
        place: BlockPlace,
        source: Source<'_>,
    ) -> Result<Option<DataBlock>, StorageError> {
        let block = self.block(
            place,
            source,
            |content, count| DataBlock::decode(content, count).map(CachedBlock::Data),
            BlockKind::Data,
        )?;
        match block {
            None => Ok(None),
            Some(CachedBlock::Data(block)) => Ok(Some(block)),
            Some(CachedBlock::Index(_)) => Err(self.corrupt(place.position, "an index is no rows")),
        }
    }

    fn block(
        &self,
        place: BlockPlace,
        source: Source<'_>,
        decode: impl FnOnce(Bytes, u32) -> Option<CachedBlock>,
        kind: BlockKind,
    ) -> Result<Option<CachedBlock>, StorageError> {
        let (number, position) = (self.number(), place.position);
        let known = match source {
            Source::Disk => None,
            Source::Through(cache) => cache.get(number, position),
            Source::Memory(cache) => return Ok(cache.get(number, position)),
        };
        if known.is_some() {
            return Ok(known);
        }
        let (content, count) = self.read_block(kind, place)?;
        let block =
            decode(content, count).ok_or_else(|| self.corrupt(position, "a block is malformed"))?;
        if let Source::Through(cache) = source {
            cache.put(number, position, block.clone());
        }
        Ok(Some(block))
    }

    /// Reads the content of a block and the number of its items, and checks them.
    fn read_block(&self, kind: BlockKind, place: BlockPlace) -> Result<(Bytes, u32), StorageError> {
        let footer_position = self.file_bytes.saturating_sub(RUN_FOOTER_BYTES as u64);
        if place.end().is_none_or(|end| end > footer_position) || place.bytes > BLOCK_BYTES_MAX {
            return Err(self.corrupt(place.position, "a block lies outside of the file"));
        }
        let mut bytes = Bytes::from(read(
            &self.path,
            &*self.file,
            place.position,
            place.bytes as usize,
        )?);
        let header = BlockHeader::decode(kind, &bytes);
        let content = bytes.split_off(BLOCK_HEADER_BYTES.min(bytes.len()));
        header
            .filter(|it| it.matches(&self.footer.identity, place.position, &content))
            .map(|header| (content, header.item_count))
            .ok_or_else(|| self.corrupt(place.position, "a block does not match its checksum"))
    }

    /// Damage that was found in it.
    pub(crate) fn corrupt(&self, position: u64, what: &str) -> StorageError {
        self.is_damaged.store(true, Ordering::Relaxed);
        corrupt(&self.path, position, what)
    }
}

/// The last data block whose first key is not above; the first if all are above.
pub(super) fn block_of(index: &PartitionIndex, sort_key: &[u8]) -> usize {
    let blocks = &index.blocks;
    blocks
        .partition_point(|block| block.first_key <= sort_key)
        .saturating_sub(1)
}

/// Reads so many bytes, fewer at the end of the file.
fn read(
    path: &Path,
    file: &dyn VfsFile,
    position: u64,
    length: usize,
) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; length];
    let count =
        read_full_at(file, &mut bytes, position).map_err(io_error(Operation::Read, path))?;
    bytes.truncate(count);
    Ok(bytes)
}

fn corrupt(path: &Path, position: u64, what: &str) -> StorageError {
    Corruption {
        path: path.to_owned(),
        position,
        what: what.to_owned(),
    }
    .into()
}

/// Numbers of the runs in the folder, sorted; none if there is no such folder.
///
/// # Errors
/// [`StorageError::Io`].
pub(crate) fn list(environment: &Environment) -> Result<Vec<u64>, StorageError> {
    let entries = match environment.vfs.list(Path::new(folder::INDEX)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(io_error(Operation::List, folder::INDEX))?,
    };
    let numbers = entries.iter();
    Ok(numbers
        .filter_map(|entry| folder::parse_run_file(&entry.name))
        .collect())
}
