//! A preallocated file that takes rounds: many pieces, one write, one sync.
//!
//! Stands in for the journal. The file has no name (it is gone when its process ends, however that
//! ends) and no reader.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags};

use crate::aligned::AlignedBuffer;
use crate::payload;
use crate::size::MIB;

mod options;

pub use options::{Durability, FileKind, FileVariants, RoundFileOptions, WriteMode};

/// Largest round in bytes.
pub const ROUND_BYTES_MAX: usize = 4 * MIB;

/// The file and the place of the next round in it.
#[derive(Debug)]
pub struct RoundFile {
    options: RoundFileOptions,
    file: File,
    /// Full files stay open to the end: freeing their blocks would be charged to the run.
    filled: Vec<File>,
    /// A multiple of the block size in direct mode.
    position: u64,
    staging: AlignedBuffer,
}

impl RoundFile {
    /// Allocates the file and, if it is to be overwritten, writes it once to its end.
    ///
    /// Where the file system refuses `O_DIRECT` the file is buffered; ask [`Self::write_mode`].
    ///
    /// # Errors
    /// Those of the file system. Nothing is left behind.
    pub fn create(mut options: RoundFileOptions) -> io::Result<Self> {
        options.file_bytes = options.file_bytes.max(1).next_multiple_of(ROUND_BYTES_MAX);
        let (file, write) = allocate(&options.dir, options.file_bytes, options.write)?;
        options.write = write;
        let staging = AlignedBuffer::with_capacity(ROUND_BYTES_MAX);
        let mut round_file = Self {
            options,
            file,
            filled: Vec::new(),
            position: 0,
            staging,
        };
        if round_file.options.kind == FileKind::Overwritten {
            round_file.write_to_the_end()?;
        }
        round_file.file.sync_all()?;
        Ok(round_file)
    }

    /// How rounds are really written.
    pub fn write_mode(&self) -> WriteMode {
        self.options.write
    }

    /// Writes `pieces` as one round of at most [`ROUND_BYTES_MAX`] and waits as the durability says.
    ///
    /// # Errors
    /// Those of write and sync; `InvalidInput` for a round that is too large. The file is then not
    /// to be used any more.
    pub fn append<B: AsRef<[u8]>>(&mut self, pieces: &[B]) -> io::Result<()> {
        self.make_room(pieces.iter().map(|piece| piece.as_ref().len()).sum())?;
        self.write(pieces)?;
        match self.options.durability {
            Durability::Fdatasync => self.file.sync_data(),
            Durability::None => Ok(()),
        }
    }

    fn make_room(&mut self, round_bytes: usize) -> io::Result<()> {
        if round_bytes > ROUND_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a round is too large round_bytes={round_bytes}"),
            ));
        }
        if self.position + ROUND_BYTES_MAX as u64 <= self.options.file_bytes as u64 {
            return Ok(());
        }
        self.position = 0;
        if self.options.kind == FileKind::Fresh {
            let options = &self.options;
            let (next, _) = allocate(&options.dir, options.file_bytes, options.write)?;
            next.sync_all()?;
            self.filled.push(std::mem::replace(&mut self.file, next));
        }
        Ok(())
    }

    fn write<B: AsRef<[u8]>>(&mut self, pieces: &[B]) -> io::Result<()> {
        let written_bytes = match self.options.write {
            WriteMode::Buffered => write_gathered(&self.file, pieces, self.position)?,
            WriteMode::Direct => {
                let round = self.staging.fill(pieces)?;
                self.file.write_all_at(round, self.position)?;
                round.len()
            }
        };
        self.position += written_bytes as u64;
        Ok(())
    }

    /// Leaves no block unwritten, and none a hole or zeros that a device could treat specially.
    fn write_to_the_end(&mut self) -> io::Result<()> {
        let filler = payload::region();
        while self.position < self.options.file_bytes as u64 {
            self.write(&[&filler[..ROUND_BYTES_MAX]])?;
        }
        self.position = 0;
        Ok(())
    }
}

/// Makes a nameless file of `file_bytes` and says how it can be written.
fn allocate(dir: &Path, file_bytes: usize, write: WriteMode) -> io::Result<(File, WriteMode)> {
    let file = tempfile::tempfile_in(dir)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, file_bytes as u64)?;
    if write == WriteMode::Buffered {
        return Ok((file, WriteMode::Buffered));
    }
    let flags = rustix::fs::fcntl_getfl(&file)?;
    match rustix::fs::fcntl_setfl(&file, flags | OFlags::DIRECT) {
        Ok(()) => Ok((file, WriteMode::Direct)),
        Err(rustix::io::Errno::INVAL) => Ok((file, WriteMode::Buffered)),
        Err(error) => Err(error.into()),
    }
}

/// Writes all pieces at `position` with as few calls as the system allows and returns their length.
fn write_gathered<B: AsRef<[u8]>>(file: &File, pieces: &[B], position: u64) -> io::Result<usize> {
    let mut written_bytes = 0;
    for pieces in pieces.chunks(IO_VECTORS_MAX) {
        let mut slices: Vec<_> = pieces
            .iter()
            .map(|piece| IoSlice::new(piece.as_ref()))
            .collect();
        let mut rest = slices.as_mut_slice();
        while rest.iter().any(|slice| !slice.is_empty()) {
            let count = rustix::io::pwritev(file, rest, position + written_bytes as u64)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written_bytes += count;
            IoSlice::advance_slices(&mut rest, count);
        }
    }
    Ok(written_bytes)
}

/// Linux takes this many pieces in one call (`UIO_MAXIOV`).
const IO_VECTORS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
