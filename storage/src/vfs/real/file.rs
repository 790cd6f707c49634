//! One open file of the machine.

use std::io;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, Advice, FallocateFlags, FileType, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::vfs::{BLOCK_BYTES, VfsFile};

/// An open file; see [`super::RealVfs`].
#[derive(Debug)]
pub(super) struct RealFile {
    fd: OwnedFd,
    /// Opened as [`OpenMode::WriteDirect`](crate::vfs::OpenMode::WriteDirect): transfers must be
    /// aligned, whatever the file system does with them.
    is_aligned: bool,
    /// Whether the descriptor bypasses the page cache; falls to false, never rises, when the file
    /// system refuses a transfer that it let us open for.
    is_direct: AtomicBool,
}

impl RealFile {
    pub(super) fn buffered(fd: OwnedFd) -> Self {
        Self {
            fd,
            is_aligned: false,
            is_direct: AtomicBool::new(false),
        }
    }

    pub(super) fn direct(fd: OwnedFd) -> Self {
        Self {
            fd,
            is_aligned: true,
            is_direct: AtomicBool::new(true),
        }
    }

    /// Opened for direct transfers on a file system that has none.
    pub(super) fn refused(fd: OwnedFd) -> Self {
        Self {
            fd,
            is_aligned: true,
            is_direct: AtomicBool::new(false),
        }
    }

    /// Refuses what is not a regular file, with the error that a write to a folder gets.
    pub(super) fn check_regular(&self) -> io::Result<()> {
        let stat = retry_on_intr(|| fs::fstat(&self.fd))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }

    /// Runs a transfer, and once more through the page cache if the file system refuses it direct.
    fn transfer<T>(&self, mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
        // Read before the call: of two threads that are refused at once, both try again.
        let was_direct = self.is_direct.load(Ordering::Relaxed);
        match retry_on_intr(&mut call) {
            Err(Errno::INVAL) if was_direct => {
                self.is_direct.store(false, Ordering::Relaxed);
                let flags = fs::fcntl_getfl(&self.fd)?;
                fs::fcntl_setfl(&self.fd, flags.difference(OFlags::DIRECT))?;
                Ok(retry_on_intr(call)?)
            }
            result => Ok(result?),
        }
    }

    /// Holds callers to the alignment rule where the file system does not.
    fn check_aligned(&self, address: *const u8, length: usize, position: u64) -> io::Result<()> {
        let block = BLOCK_BYTES as u64;
        let is_aligned = address.addr().is_multiple_of(BLOCK_BYTES)
            && length.is_multiple_of(BLOCK_BYTES)
            && position.is_multiple_of(block);
        if self.is_aligned && !is_aligned {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("unaligned direct transfer, position={position} length={length}"),
            ));
        }
        Ok(())
    }
}

impl VfsFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.check_aligned(buffer.as_ptr(), buffer.len(), position)?;
        self.transfer(|| rustix::io::pread(&self.fd, &mut *buffer, position))
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        for slice in slices {
            self.check_aligned(slice.as_ptr(), slice.len(), position)?;
        }
        let slices = slices.get(..SLICES_MAX).unwrap_or(slices);
        self.transfer(|| rustix::io::pwritev(&self.fd, slices, position))
    }

    fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::empty();
        Ok(retry_on_intr(|| {
            fs::fallocate(&self.fd, flags, position, length)
        })?)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::ftruncate(&self.fd, length))?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fdatasync(&self.fd))?)
    }

    fn drop_cache(&self, position: u64, length: u64) {
        // A length of zero would mean "to the end of the file" to the operating system.
        if let Some(length) = NonZeroU64::new(length)
            && let Err(errno) = fs::fadvise(&self.fd, position, Some(length), Advice::DontNeed)
        {
            tracing::trace!(%errno, "cache hint refused");
        }
    }

    #[cfg(target_os = "linux")]
    fn start_write_back(&self, position: u64, length: u64) {
        let (Ok(position), Ok(length)) = (i64::try_from(position), i64::try_from(length)) else {
            return;
        };
        // Without the flags that wait: those take the failure of a write from the next sync.
        let flags = libc::SYNC_FILE_RANGE_WRITE;
        #[expect(unsafe_code, reason = "no crate that is at hand has a safe one")]
        // SAFETY: it takes an open descriptor and numbers, and touches no memory.
        let result = unsafe { libc::sync_file_range(self.fd.as_raw_fd(), position, length, flags) };
        if result != 0 {
            tracing::trace!(error = %io::Error::last_os_error(), "write-back hint refused");
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn start_write_back(&self, _position: u64, _length: u64) {}

    fn len(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| fs::fstat(&self.fd))?;
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }
}

/// The kernel refuses more slices in one call (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_direct_transfer_goes_through_the_page_cache() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = fs::open(folder.path(), flags, fs::Mode::empty()).unwrap();
        let file = RealFile::direct(fd);
        let mut attempts = 0;
        let result = file.transfer(|| {
            attempts += 1;
            if attempts == 1 {
                Err(Errno::INVAL)
            } else {
                Ok(attempts)
            }
        });
        assert_eq!(result.unwrap(), 2);
        let again = file.transfer(|| {
            attempts += 1;
            Err::<(), _>(Errno::INVAL)
        });
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(attempts, 3, "fallen back only once");
    }
}
