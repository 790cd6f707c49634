//! Journal files come and go: preparing the next one, recycling those that a checkpoint has freed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::entry::{ENTRY_HEADER_BYTES, EntryHeader};
use crate::format::journal_header::{JOURNAL_HEADER_BYTES, JournalHeader};
use crate::ids::{BrokerId, Lsn};
use crate::vfs::{OpenMode, VfsFile, read_full_at, write_all_at};

/// Free files that are kept for recycling, in any case.
const SPARE_COUNT_MIN: usize = 4;
/// The same if as many were in use at once: so many a broker has when it takes no more batches until a checkpoint
/// is done. One that is removed and made again costs the others: where the file system tells the disk at once
/// what is free (`discard`), the journal stood still for 15 ms with each.
const SPARE_COUNT_MAX: usize = 8;

/// A journal file that is allocated, has a durable header of a new life, and holds no entry.
#[derive(Debug)]
pub struct PreparedFile {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) file: Arc<dyn VfsFile>,
    pub(super) file_bytes: u64,
}

impl PreparedFile {
    /// The file's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes for rounds.
    pub fn room_bytes(&self) -> u64 {
        self.file_bytes - JOURNAL_HEADER_BYTES as u64
    }
}

#[derive(Debug, Clone, Copy)]
struct JournalFileOnDisk {
    number: u64,
    file_bytes: u64,
    /// LSN that its first entry claimed when the folder was opened, intact or not.
    first_claim: Option<Lsn>,
}

impl JournalFileOnDisk {
    /// Whether it begins with an entry above `recovered`: a round that was never acknowledged. Were it
    /// recycled and its new header torn, that entry would look like a durable one that is lost.
    fn misleads(&self, recovered: Lsn) -> bool {
        self.first_claim.is_some_and(|lsn| lsn > recovered)
    }
}

/// Prepares and recycles journal files. Lives on one thread, not necessarily the sequencer's.
#[derive(Debug)]
pub struct JournalFiles {
    environment: Environment,
    broker_id: BrokerId,
    /// Size of an ordinary file.
    file_bytes: u64,
    next_number: u64,
    /// In use or awaiting a checkpoint, oldest first.
    live: Vec<JournalFileOnDisk>,
    /// Not needed any more: their names are below the continuation of the newest checkpoint. Those that
    /// mislead are to be removed and never recycled.
    spare: Vec<JournalFileOnDisk>,
    /// The last entry that recovery found.
    recovered: Lsn,
    /// Number of the first file of this life.
    first_number: u64,
    /// Most files of this life that were live at once.
    live_count_max: usize,
}

impl JournalFiles {
    /// Takes over the files in the folder: all of them are live until [`JournalFiles::free_before`]
    /// says otherwise.
    ///
    /// # Errors
    /// [`StorageError::Io`] if the folder cannot be listed or a file not be opened.
    pub(crate) fn open(
        environment: Environment,
        broker_id: BrokerId,
        file_bytes: u64,
    ) -> Result<Self, StorageError> {
        let mut live = Vec::new();
        for number in list(&environment)? {
            let path = folder::journal_file(number);
            let file = environment
                .vfs
                .open(&path, OpenMode::Read)
                .map_err(io_error(Operation::Open, &path))?;
            let file_bytes = file.len().map_err(io_error(Operation::Read, &path))?;
            live.push(JournalFileOnDisk {
                number,
                file_bytes,
                first_claim: read_first_claim(&*file).map_err(io_error(Operation::Read, &path))?,
            });
        }
        let next_number = live.last().map_or(1, |file| file.number + 1);
        Ok(Self {
            environment,
            broker_id,
            file_bytes,
            next_number,
            live,
            spare: Vec::new(),
            recovered: Lsn::ZERO,
            first_number: next_number,
            live_count_max: 0,
        })
    }

    /// Number of files that hold entries or are ready to, the spare ones excluded.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Takes the files behind the end of the journal for recycling. They hold no entry: they were made
    /// ready and not used, by a start that failed. Without this each of those would take up another.
    /// The journal ends with the entry `recovered` in the file `last`; a file that begins with a torn
    /// round behind that is removed with the next that are freed.
    pub(crate) fn spare_behind(&mut self, last: u64, recovered: Lsn) {
        self.recovered = recovered;
        let still_live = self.live.partition_point(|file| file.number <= last);
        self.spare.extend(self.live.drain(still_live..));
    }

    /// Notes that the journal ends with the entry `recovered`, whatever files hold behind it. They stay until
    /// they are freed, and those that begin with a later entry are removed then.
    pub(crate) fn end_with(&mut self, recovered: Lsn) {
        self.recovered = recovered;
    }

    /// Bytes of the disk that [`JournalFiles::prepare`] takes for this; 0 if a spare file serves.
    pub fn allocation_bytes(&self, round_bytes: u64) -> u64 {
        let file_bytes = self.bytes_for(round_bytes);
        match self.spare_of(file_bytes) {
            Some(_) => 0,
            None => file_bytes,
        }
    }

    fn bytes_for(&self, round_bytes: u64) -> u64 {
        self.file_bytes
            .max(round_bytes + JOURNAL_HEADER_BYTES as u64)
    }

    fn spare_of(&self, file_bytes: u64) -> Option<usize> {
        self.spare
            .iter()
            .position(|spare| spare.file_bytes == file_bytes && !spare.misleads(self.recovered))
    }

    /// Makes the next file ready: a spare one with a new salt, or a new one. It has room for a round
    /// of `round_bytes` even if that is more than an ordinary file has. Its header says that `durable` was
    /// durable by then: if a file between is missing later, that is noticed.
    ///
    /// # Errors
    /// [`StorageError::Io`]; out of space leaves everything as it was and may be tried again.
    pub fn prepare(
        &mut self,
        round_bytes: u64,
        durable: Lsn,
    ) -> Result<PreparedFile, StorageError> {
        let number = self.next_number;
        let path = folder::journal_file(number);
        let file_bytes = self.bytes_for(round_bytes);
        let file = match self.spare_of(file_bytes) {
            Some(place) => self.recycle(place, &path)?,
            None => self.create(&path, file_bytes)?,
        };
        let previous_salt = read_header(&*file).map_or(0, |header| header.salt);
        let salt = self.environment.entropy.next_u64();
        let header = JournalHeader {
            number,
            salt,
            previous_salt,
            broker_id: self.broker_id,
            file_bytes,
            durable,
        };
        self.write_header(&path, &header)?;
        // From here on the number is taken, whatever else happens.
        self.next_number += 1;
        self.live.push(JournalFileOnDisk {
            number,
            file_bytes,
            first_claim: None,
        });
        let of_earlier_lives = self
            .live
            .partition_point(|file| file.number < self.first_number);
        self.live_count_max = self.live_count_max.max(self.live.len() - of_earlier_lives);
        let file = self
            .environment
            .vfs
            .open(&path, OpenMode::WriteDirect)
            .map_err(io_error(Operation::Open, &path))?;
        Ok(PreparedFile {
            number,
            salt,
            file,
            file_bytes,
        })
    }

    /// Gives back a prepared file that was not used, for recycling.
    pub fn give_back(&mut self, file: PreparedFile) {
        if let Some(place) = self.live.iter().position(|live| live.number == file.number) {
            self.spare.push(self.live.remove(place));
        }
    }

    /// Frees the files before the continuation of a checkpoint whose second copy is durable: as many are
    /// kept for recycling as were in use at once, the others removed.
    ///
    /// # Errors
    /// [`StorageError::Io`] if a surplus file cannot be removed. All are free nevertheless, and the next
    /// call tries again.
    pub fn free_before(&mut self, continuation: u64) -> Result<(), StorageError> {
        let still_live = self.live.partition_point(|file| file.number < continuation);
        self.spare.extend(self.live.drain(..still_live));
        let spare_count_max = self.live_count_max.clamp(SPARE_COUNT_MIN, SPARE_COUNT_MAX);
        let (ordinary, recovered) = (self.file_bytes, self.recovered);
        let is_surplus =
            |spare: &JournalFileOnDisk| spare.file_bytes != ordinary || spare.misleads(recovered);
        self.spare
            .sort_by_key(|spare| (is_surplus(spare), spare.number));
        while let Some(surplus) = self.spare.last()
            && (self.spare.len() > spare_count_max || is_surplus(surplus))
        {
            self.remove(surplus.number)?;
            self.spare.pop();
        }
        Ok(())
    }

    fn remove(&self, number: u64) -> Result<(), StorageError> {
        let path = folder::journal_file(number);
        let removed = self.environment.vfs.unlink(&path);
        removed.map_err(io_error(Operation::Unlink, &path))
    }

    /// Gives a spare file the name of the next one. Its old header does not carry the new number, so
    /// until the new header is durable the file counts as holding nothing.
    fn recycle(&mut self, place: usize, path: &Path) -> Result<Arc<dyn VfsFile>, StorageError> {
        let vfs = &self.environment.vfs;
        let spare = self.spare.remove(place);
        let old_path = folder::journal_file(spare.number);
        if let Err(source) = vfs.rename(&old_path, path) {
            self.spare.push(spare);
            return Err(io_error(Operation::Rename, old_path)(source));
        }
        vfs.open(path, OpenMode::Write)
            .map_err(io_error(Operation::Open, path))
    }

    fn create(&self, path: &Path, file_bytes: u64) -> Result<Arc<dyn VfsFile>, StorageError> {
        let vfs = &self.environment.vfs;
        // The number was never used, so a file of that name is what an earlier call left when it
        // failed half-way.
        let opened = vfs
            .open(path, OpenMode::Write)
            .or_else(|_| vfs.open(path, OpenMode::CreateNew));
        let file = opened.map_err(io_error(Operation::Create, path))?;
        if let Err(source) = file.allocate(0, file_bytes) {
            drop(file);
            // Space that is reserved for nothing would keep the disk full.
            if let Err(error) = vfs.unlink(path) {
                tracing::warn!(%error, path = %path.display(), "unused journal file not removed");
            }
            return Err(io_error(Operation::Allocate, path)(source));
        }
        Ok(file)
    }

    fn write_header(&self, path: &Path, header: &JournalHeader) -> Result<(), StorageError> {
        let vfs = &self.environment.vfs;
        let file = vfs
            .open(path, OpenMode::Write)
            .map_err(io_error(Operation::Open, path))?;
        // DURABILITY: salt and name are on disk before the first entry of this life is written.
        write_all_at(&*file, &header.encode(), 0).map_err(io_error(Operation::Write, path))?;
        file.sync_data().map_err(io_error(Operation::Sync, path))?;
        vfs.sync_dir(Path::new(folder::JOURNAL))
            .map_err(io_error(Operation::SyncDir, path))
    }
}

/// Numbers of the journal files in the folder, ascending.
pub(crate) fn list(environment: &Environment) -> Result<Vec<u64>, StorageError> {
    let entries = environment
        .vfs
        .list(Path::new(folder::JOURNAL))
        .map_err(io_error(Operation::List, folder::JOURNAL))?;
    let mut numbers: Vec<_> = entries
        .iter()
        .filter_map(|entry| folder::parse_journal_file(&entry.name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What the first entry of a journal file says of its LSN, intact or not.
///
/// # Errors
/// What the operating system says.
pub(super) fn read_first_claim(file: &dyn VfsFile) -> io::Result<Option<Lsn>> {
    let mut first = [0; ENTRY_HEADER_BYTES];
    let count = read_full_at(file, &mut first, JOURNAL_HEADER_BYTES as u64)?;
    let first = first.get(..count).unwrap_or_default();
    Ok(EntryHeader::claimed_lsn(first))
}

/// The header of a journal file, if it has an intact one.
pub(crate) fn read_header(file: &dyn VfsFile) -> Option<JournalHeader> {
    let mut block = vec![0; JOURNAL_HEADER_BYTES];
    let count = read_full_at(file, &mut block, 0).ok()?;
    JournalHeader::decode(block.get(..count)?)
}
