//! Keeping how far everything was read to find damage, over the lives of a broker.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::format::scrub_file::ScrubProgress;
use crate::ids::BrokerId;
use crate::vfs::{OpenMode, Vfs, read_full_at, write_all_at};

/// More than the file ever has.
const FILE_BYTES_MAX: usize = 1024;

/// What the file of a folder says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScrubFile {
    /// There is none: everything is to be read.
    Missing,
    /// It is not what was written there, or that of another folder.
    Damaged,
    /// How far it is.
    Whole(ScrubProgress),
}

/// Reads the file of a folder.
///
/// # Errors
/// [`StorageError`] of the disk.
pub(crate) fn read_scrub_file(
    vfs: &dyn Vfs,
    broker_id: BrokerId,
) -> Result<ScrubFile, StorageError> {
    let path = Path::new(folder::SCRUB);
    let file = match vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ScrubFile::Missing),
        Err(source) => return Err(io_error(Operation::Open, path)(source)),
    };
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let count = read_full_at(&*file, &mut bytes, 0).map_err(io_error(Operation::Read, path))?;
    let progress = ScrubProgress::decode(bytes.get(..count).unwrap_or_default(), broker_id);
    Ok(progress.map_or(ScrubFile::Damaged, ScrubFile::Whole))
}

/// How far an earlier life has come; none if that is not known.
///
/// # Errors
/// [`StorageError`] of the disk.
pub fn load_scrub_progress(
    environment: &Environment,
    broker_id: BrokerId,
) -> Result<Option<ScrubProgress>, StorageError> {
    Ok(match read_scrub_file(&*environment.vfs, broker_id)? {
        ScrubFile::Missing => None,
        ScrubFile::Damaged => {
            tracing::warn!("how far the data folder was read cannot be read: all of it is read");
            None
        }
        ScrubFile::Whole(progress) => Some(progress),
    })
}

/// Keeps how far this life has come, in the place of what was known.
///
/// # Errors
/// [`StorageError`] of the disk. What was known is still there.
pub fn store_scrub_progress(
    environment: &Environment,
    broker_id: BrokerId,
    progress: ScrubProgress,
) -> Result<(), StorageError> {
    let vfs = &environment.vfs;
    let temporary = Path::new(folder::SCRUB_TEMPORARY);
    let file = environment.open_or_create(temporary)?;
    // What an attempt that failed has left may be longer.
    file.set_len(0)
        .map_err(io_error(Operation::Write, temporary))?;
    let text = progress.encode(broker_id);
    write_all_at(&*file, text.as_bytes(), 0).map_err(io_error(Operation::Write, temporary))?;
    // Not synced: what a power loss leaves of it is whole, or says that it is not, and a sync would hold up
    // those of the journal.
    let renamed: io::Result<()> = vfs.rename(temporary, Path::new(folder::SCRUB));
    renamed.map_err(io_error(Operation::Rename, temporary))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::environment::{SimClock, SimEntropy};
    use crate::format::scrub_file::ScrubPlace;
    use crate::vfs::sim::{SimDisk, SimOptions};

    const FOLDER: BrokerId = BrokerId::new(*b"0123456789abcdef");

    fn environment(disk: &SimDisk) -> Environment {
        Environment {
            vfs: disk.vfs(),
            clock: Arc::new(SimClock::new(0)),
            entropy: Arc::new(SimEntropy::new(1)),
        }
    }

    fn progress(number: u64) -> ScrubProgress {
        ScrubProgress {
            begun_ms: 1,
            whole_ms: 2,
            next: ScrubPlace::Run(number),
        }
    }

    fn load(disk: &SimDisk) -> Option<ScrubProgress> {
        load_scrub_progress(&environment(disk), FOLDER).unwrap()
    }

    #[test]
    fn what_is_found_after_a_power_loss_is_what_was_known_once_or_nothing() {
        let disk = SimDisk::new(SimOptions::default());
        assert_eq!(load(&disk), None, "nothing yet");
        for number in 0..3 {
            store_scrub_progress(&environment(&disk), FOLDER, progress(number)).unwrap();
            assert_eq!(load(&disk), Some(progress(number)));
        }
        let written = disk.operations();
        let mut found_count = 0;
        for k in 0..=4 {
            let disk = disk.fork();
            disk.stop_before(written + k);
            drop(store_scrub_progress(
                &environment(&disk),
                FOLDER,
                progress(3),
            ));
            for state in disk.crash_states(20) {
                let found = load(&state.disk);
                let is_known = found.is_none_or(|found| (0..4).any(|it| found == progress(it)));
                assert!(is_known, "{}: {found:?}", state.description);
                found_count += u32::from(found.is_some());
                // And it is written over whatever is left.
                store_scrub_progress(&environment(&state.disk), FOLDER, progress(9)).unwrap();
                assert_eq!(load(&state.disk), Some(progress(9)));
            }
        }
        assert!(found_count > 0, "not always nothing");
    }
}
