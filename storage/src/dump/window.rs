//! Reading a file through a window of bounded size.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::format::{ALIGN_BYTES, usize_of};
use crate::vfs::{OpenMode, VfsFile, read_full_at};

/// Held at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// A file that is read from its head to its end, with looks ahead.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) path: PathBuf,
    file: Arc<dyn VfsFile>,
    file_bytes: u64,
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    pub(super) fn open(environment: &Environment, path: &Path) -> Result<Self, StorageError> {
        let opened = environment.vfs.open(path, OpenMode::Read);
        let file = opened.map_err(io_error(Operation::Open, path))?;
        let file_bytes = file.len().map_err(io_error(Operation::Read, path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            file_bytes,
            bytes: Vec::new(),
            start: 0,
        })
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Up to `length` bytes at `position`, no more than a window; fewer at the end of the file.
    pub(super) fn at(&mut self, position: u64, length: usize) -> Result<&[u8], StorageError> {
        let length = length.min(WINDOW_BYTES);
        let end = self.start + self.bytes.len() as u64;
        if position < self.start || position + length as u64 > end {
            let left = usize_of(self.file_bytes.saturating_sub(position));
            self.bytes.resize(WINDOW_BYTES.min(left), 0);
            let count = read_full_at(&*self.file, &mut self.bytes, position)
                .map_err(io_error(Operation::Read, &self.path))?;
            self.bytes.truncate(count);
            self.start = position;
        }
        let start = usize_of(position - self.start).min(self.bytes.len());
        let end = (start + length).min(self.bytes.len());
        Ok(self.bytes.get(start..end).unwrap_or_default())
    }

    /// All of `length` bytes at `position`, outside of the window; fewer at the end of the file.
    pub(super) fn read(&self, position: u64, length: u64) -> Result<Bytes, StorageError> {
        let left = self.file_bytes.saturating_sub(position);
        let mut bytes = vec![0; usize_of(length.min(left))];
        let count = read_full_at(&*self.file, &mut bytes, position)
            .map_err(io_error(Operation::Read, &self.path))?;
        bytes.truncate(count);
        Ok(bytes.into())
    }

    /// CRC-32 of `length` bytes at `position`; none if the file is shorter.
    pub(super) fn crc(
        &mut self,
        mut position: u64,
        length: u64,
    ) -> Result<Option<u32>, StorageError> {
        let mut hasher = crc32fast::Hasher::new();
        let end = position.saturating_add(length);
        while position < end {
            let part = self.at(position, usize_of(end - position).min(WINDOW_BYTES))?;
            if part.is_empty() {
                return Ok(None);
            }
            hasher.update(part);
            position += part.len() as u64;
        }
        Ok(Some(hasher.finalize()))
    }

    /// The first aligned position from `position` on whose word is not zero; the end of the file if
    /// there is none.
    pub(super) fn skip_zeros(&mut self, mut position: u64) -> Result<u64, StorageError> {
        loop {
            let part = self.at(position, WINDOW_BYTES)?;
            if part.is_empty() {
                return Ok(self.file_bytes.max(position));
            }
            let words = part.chunks(usize_of(ALIGN_BYTES));
            let blank = words.take_while(|word| word.iter().all(|byte| *byte == 0));
            let count = blank.map(<[u8]>::len).sum::<usize>();
            if count < part.len() {
                return Ok(position + count as u64);
            }
            position += count as u64;
        }
    }
}
