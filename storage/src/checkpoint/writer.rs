//! Writes one checkpoint file, block by block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::format::checkpoint_file::{BLOCK_ROWS_BYTES, BlockHeader, CheckpointFooter};
use crate::format::row::Row;
use crate::ids::Lsn;
use crate::vfs::{OpenMode, VfsFile, write_all_at};

#[derive(Debug)]
pub(super) struct CheckpointWriter {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    lsn: Lsn,
    position: u64,
    rows: Vec<u8>,
    rows_in_block: u32,
    row_count: u64,
}

impl CheckpointWriter {
    /// Starts a file; what an earlier attempt left under the same temporary name is removed.
    pub(super) fn create(
        environment: &Environment,
        path: &Path,
        lsn: Lsn,
    ) -> Result<Self, StorageError> {
        match environment.vfs.unlink(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(Operation::Unlink, path)(source));
            }
            _ => {}
        }
        let file = environment
            .vfs
            .open(path, OpenMode::CreateNew)
            .map_err(io_error(Operation::Create, path))?;
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            lsn,
            position: 0,
            rows: Vec::new(),
            rows_in_block: 0,
            row_count: 0,
        })
    }

    pub(super) fn push(&mut self, row: &Row) -> Result<(), StorageError> {
        if !self.rows.is_empty() && self.rows.len() + row.encoded_bytes() > BLOCK_ROWS_BYTES {
            self.write_block()?;
        }
        row.encode(&mut self.rows);
        self.rows_in_block += 1;
        self.row_count += 1;
        Ok(())
    }

    /// Ends the file with the footer that `footer` makes of row count and footer position, and
    /// syncs it.
    pub(super) fn finish(
        mut self,
        footer: impl FnOnce(u64, u64) -> CheckpointFooter,
    ) -> Result<(), StorageError> {
        if !self.rows.is_empty() {
            self.write_block()?;
        }
        let footer = footer(self.row_count, self.position).encode();
        self.write(&footer)?;
        self.file
            .sync_data()
            .map_err(io_error(Operation::Sync, &self.path))
    }

    fn write_block(&mut self) -> Result<(), StorageError> {
        let rows = std::mem::take(&mut self.rows);
        let mut block = Vec::with_capacity(rows.len() + 16);
        BlockHeader::of(self.lsn, &rows, self.rows_in_block).encode(&mut block);
        block.extend_from_slice(&rows);
        self.rows_in_block = 0;
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        write_all_at(&*self.file, bytes, self.position)
            .map_err(io_error(Operation::Write, &self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
