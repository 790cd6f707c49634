//! Reads one checkpoint file, block by block, checking each.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::environment::Environment;
use crate::error::{Corruption, Operation, StorageError, io_error};
use crate::folder::{self, CheckpointName};
use crate::format::checkpoint_file::{
    BLOCK_HEADER_BYTES, BlockHeader, CheckpointFooter, FOOTER_BYTES,
};
use crate::format::row::Row;
use crate::vfs::{OpenMode, VfsFile, read_full_at};

/// Yields the rows of a checkpoint in order.
#[derive(Debug)]
pub(crate) struct CheckpointReader {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    footer: CheckpointFooter,
    position: u64,
    block: Bytes,
    rows_left_in_block: u32,
    rows_read: u64,
}

impl CheckpointReader {
    /// Opens a checkpoint and checks its footer.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the footer is damaged or is not that of the name.
    pub(crate) fn open(
        environment: &Environment,
        name: CheckpointName,
    ) -> Result<Self, StorageError> {
        let path = folder::checkpoint_file(name);
        let file = environment
            .vfs
            .open(&path, OpenMode::Read)
            .map_err(io_error(Operation::Open, &path))?;
        let len = file.len().map_err(io_error(Operation::Read, &path))?;
        let footer_position = len.saturating_sub(FOOTER_BYTES as u64);
        let mut bytes = [0; FOOTER_BYTES];
        let count = read_full_at(&*file, &mut bytes, footer_position)
            .map_err(io_error(Operation::Read, &path))?;
        let footer = CheckpointFooter::decode(bytes.get(..count).unwrap_or_default())
            .filter(|footer| footer.blocks_end == footer_position)
            .filter(|footer| footer.lsn == name.lsn && footer.incarnation == name.incarnation)
            .ok_or_else(|| Corruption {
                path: path.clone(),
                position: footer_position,
                what: "the footer is damaged or belongs to another checkpoint".to_owned(),
            })?;
        let block = Bytes::new();
        Ok(Self {
            path,
            file,
            footer,
            position: 0,
            block,
            rows_left_in_block: 0,
            rows_read: 0,
        })
    }

    pub(crate) fn footer(&self) -> &CheckpointFooter {
        &self.footer
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] at the first block that is not what was written.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, StorageError> {
        while self.rows_left_in_block == 0 {
            if !self.block.is_empty() {
                return Err(self.corrupt("a block holds more than its rows"));
            }
            if self.position == self.footer.blocks_end {
                return match self.rows_read == self.footer.row_count {
                    true => Ok(None),
                    false => Err(self.corrupt("rows are missing")),
                };
            }
            self.read_block()?;
        }
        self.rows_left_in_block -= 1;
        self.rows_read += 1;
        Row::decode(&mut self.block)
            .map(Some)
            .ok_or_else(|| self.corrupt("a row is malformed"))
    }

    fn read_block(&mut self) -> Result<(), StorageError> {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let count = self.read(&mut bytes)?;
        let header = BlockHeader::decode(bytes.get(..count).unwrap_or_default())
            .filter(|header| u64::from(header.rows_bytes) <= self.footer.blocks_end - self.position)
            .ok_or_else(|| self.corrupt("a block header is damaged"))?;
        let mut rows = vec![0; header.rows_bytes as usize];
        let count = self.read(&mut rows)?;
        if !header.matches(self.footer.lsn, rows.get(..count).unwrap_or_default()) {
            return Err(self.corrupt("a block does not match its checksum"));
        }
        self.block = rows.into();
        self.rows_left_in_block = header.row_count;
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let count = read_full_at(&*self.file, buffer, self.position)
            .map_err(io_error(Operation::Read, &self.path))?;
        self.position += count as u64;
        Ok(count)
    }

    /// Damage that is noticed where the reader has come to.
    pub(crate) fn corrupt(&self, what: &str) -> StorageError {
        let (path, position) = (self.path.clone(), self.position);
        Corruption {
            path,
            position,
            what: what.to_owned(),
        }
        .into()
    }
}
