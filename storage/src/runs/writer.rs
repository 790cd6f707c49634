//! Writes one run, block by block.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::RunContext;
use super::unfinished::Unfinished;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::row::RowKey;
use crate::format::run_file::{
    BLOCK_HEADER_BYTES, BlockHeader, BlockKind, BlockPlace, DATA_BLOCK_BYTES, DataBlockBuilder,
    DataPlace, Filter, PARTITION_BLOCKS_MAX, PartitionIndex, PartitionPlace, RunContents,
    RunFooter, RunIdentity, RunSpan, TableSummary, filter_hash, sort_key,
};
use crate::format::run_row::RunRow;
use crate::vfs::{OpenMode, Vfs, VfsFile, write_all_at};

/// Written at once.
const WRITE_BYTES: usize = 1024 * 1024;
/// Written between two syncs: a sync of more would hold up those of the journal.
const SYNC_STEP_BYTES: u64 = 16 * 1024 * 1024;

/// A run whose file is durable under its name.
#[derive(Debug)]
pub(super) struct WrittenRun {
    pub(super) row: RunRow,
    /// Removes the file unless a checkpoint comes to name it.
    pub(super) unfinished: Unfinished,
}

#[derive(Debug)]
pub(super) struct RunWriter {
    context: RunContext,
    identity: RunIdentity,
    unfinished: Unfinished,
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    /// Where `buffer` goes.
    position: u64,
    buffer: Vec<u8>,
    unsynced_bytes: u64,
    block: DataBlockBuilder,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    /// Data blocks of the partition that is being written, and what its filter is to know.
    blocks: Vec<DataPlace>,
    hashes: Vec<u64>,
    contents: RunContents,
    gone_count: u64,
}

impl RunWriter {
    /// Starts the file of run `number`, which no file has had in this folder's life.
    ///
    /// # Errors
    /// [`StorageError::Io`]; nothing is left.
    pub(super) fn create(context: &RunContext, number: u64) -> Result<Self, StorageError> {
        let vfs = &context.environment.vfs;
        make_folder(&**vfs)?;
        let path = folder::run_file(number).with_extension("run.tmp");
        let file = vfs
            .open(&path, OpenMode::CreateNew)
            .map_err(io_error(Operation::Create, &path))?;
        let identity = RunIdentity {
            number,
            salt: context.environment.entropy.next_u64(),
            broker_id: context.broker_id,
        };
        Ok(Self {
            context: context.clone(),
            identity,
            unfinished: Unfinished::new(Arc::clone(vfs), path.clone()),
            path,
            file,
            position: 0,
            buffer: identity.encode_header(),
            unsynced_bytes: 0,
            block: DataBlockBuilder::default(),
            first_key: Vec::new(),
            last_key: Vec::new(),
            blocks: Vec::new(),
            hashes: Vec::new(),
            contents: RunContents::default(),
            gone_count: 0,
        })
    }

    /// Adds a row, or that it is gone.
    ///
    /// # Errors
    /// [`StorageError::Io`]: the run cannot be finished.
    pub(super) fn push(&mut self, key: &RowKey, value: Option<&[u8]>) -> Result<(), StorageError> {
        let sort_key = sort_key(key.table, &key.key);
        let row_bytes = sort_key.len() + value.map_or(0, <[u8]>::len);
        if !self.block.is_empty() && self.block.rows_bytes() + row_bytes > DATA_BLOCK_BYTES {
            self.end_block()?;
        }
        if self.block.is_empty() {
            self.first_key.clone_from(&sort_key);
        }
        // INVARIANT: a row stands once, and rows are found by halving.
        assert!(
            self.last_key < sort_key,
            "rows of a run rise, table={}",
            key.table
        );
        self.block.push(&sort_key, value);
        self.gone_count += u64::from(value.is_none());
        let filter_key_bytes = self.count_row(key.table);
        let hash = filter_hash(key.table, &key.key, filter_key_bytes as usize);
        // Keys of one filter key are neighbours.
        if self.hashes.last() != Some(&hash) {
            self.hashes.push(hash);
        }
        self.last_key = sort_key;
        Ok(())
    }

    /// Counts a row of a table; returns how much of its keys the filters know.
    fn count_row(&mut self, table: u16) -> u32 {
        match self.contents.tables.last_mut() {
            Some(summary) if summary.table == table => {
                summary.row_count += 1;
                summary.filter_key_bytes
            }
            _ => {
                let bytes = (self.context.filter_key_bytes)(table);
                let filter_key_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                self.contents.tables.push(TableSummary {
                    table,
                    filter_key_bytes,
                    row_count: 1,
                });
                filter_key_bytes
            }
        }
    }

    /// Ends the file, and makes it and its name durable. No row at all is no run.
    ///
    /// # Errors
    /// [`StorageError::Io`]; nothing is left, as far as that can be done.
    pub(super) fn finish(
        mut self,
        rank: u64,
        span: RunSpan,
    ) -> Result<Option<WrittenRun>, StorageError> {
        let (Some(first), Some(last)) = (
            self.contents.tables.first().map(|it| it.table),
            self.contents.tables.last().map(|it| it.table),
        ) else {
            return Ok(None);
        };
        self.end_block()?;
        self.end_partition()?;
        let contents = std::mem::take(&mut self.contents);
        let row_count = contents.tables.iter().map(|it| it.row_count).sum();
        let partition_count = count(contents.partitions.len());
        let content = contents.encode();
        let footer = RunFooter {
            identity: self.identity,
            contents: self.put_block(BlockKind::Contents, &content, partition_count)?,
            partition_count,
            row_count,
            gone_count: self.gone_count,
            span,
            first_table: first,
            last_table: last,
        };
        self.buffer.extend_from_slice(&footer.encode());
        self.write_buffer()?;
        self.publish()?;
        Ok(Some(WrittenRun {
            row: RunRow {
                number: self.identity.number,
                salt: self.identity.salt,
                file_bytes: self.position,
                rank,
                row_count,
                span,
            },
            unfinished: self.unfinished,
        }))
    }

    /// Gives the whole file its name.
    fn publish(&mut self) -> Result<(), StorageError> {
        let vfs = &self.context.environment.vfs;
        // DURABILITY: content before name, and both before a checkpoint that names the run.
        self.file
            .sync_data()
            .map_err(io_error(Operation::Sync, &self.path))?;
        let path = folder::run_file(self.identity.number);
        vfs.rename(&self.path, &path)
            .map_err(io_error(Operation::Rename, &self.path))?;
        self.unfinished.rename(path.clone());
        vfs.sync_dir(Path::new(folder::INDEX))
            .map_err(io_error(Operation::SyncDir, path))
    }

    fn end_block(&mut self) -> Result<(), StorageError> {
        let (content, row_count) = self.block.take();
        let place = self.put_block(BlockKind::Data, &content, row_count)?;
        let first_key = Bytes::from(std::mem::take(&mut self.first_key));
        self.blocks.push(DataPlace { first_key, place });
        if self.blocks.len() == PARTITION_BLOCKS_MAX {
            self.end_partition()?;
        }
        Ok(())
    }

    fn end_partition(&mut self) -> Result<(), StorageError> {
        let blocks = std::mem::take(&mut self.blocks);
        let Some(first_key) = blocks.first().map(|block| block.first_key.clone()) else {
            return Ok(());
        };
        let filter = Filter::of(&self.hashes);
        self.hashes.clear();
        let block_count = count(blocks.len());
        let content = PartitionIndex { filter, blocks }.encode();
        let place = self.put_block(BlockKind::Index, &content, block_count)?;
        self.contents
            .partitions
            .push(PartitionPlace { first_key, place });
        Ok(())
    }

    fn put_block(
        &mut self,
        kind: BlockKind,
        content: &[u8],
        item_count: u32,
    ) -> Result<BlockPlace, StorageError> {
        let position = self.position + self.buffer.len() as u64;
        BlockHeader::of(kind, &self.identity, position, content, item_count)
            .encode(&mut self.buffer);
        self.buffer.extend_from_slice(content);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
        }
        let bytes = count(BLOCK_HEADER_BYTES + content.len());
        Ok(BlockPlace { position, bytes })
    }

    fn write_buffer(&mut self) -> Result<(), StorageError> {
        write_all_at(&*self.file, &self.buffer, self.position)
            .map_err(io_error(Operation::Write, &self.path))?;
        let written = self.buffer.len() as u64;
        self.buffer.clear();
        self.position += written;
        self.unsynced_bytes += written;
        if self.unsynced_bytes >= SYNC_STEP_BYTES {
            self.unsynced_bytes = 0;
            self.file
                .sync_data()
                .map_err(io_error(Operation::Sync, &self.path))?;
        }
        Ok(())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Makes the folder of runs, which folders of earlier releases do not have.
fn make_folder(vfs: &dyn Vfs) -> Result<(), StorageError> {
    let dir = Path::new(folder::INDEX);
    match vfs.create_dir(dir) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            Err(io_error(Operation::Create, dir)(source))
        }
        // One that an earlier attempt made may not be durable yet, and a run must not rest on it.
        _ => vfs
            .sync_dir(Path::new(""))
            .map_err(io_error(Operation::SyncDir, dir)),
    }
}
