//! Opening and listing folders of the machine.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::vfs::{DirEntry, EntryKind};

/// Opens a folder; the empty path is the root.
pub(super) fn open(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| {
        fs::openat(root, path, flags, Mode::empty())
    })?)
}

/// Lists an open folder, sorted by name.
pub(super) fn list(folder: OwnedFd) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for item in Dir::read_from(&folder)? {
        let item = item?;
        let bytes = item.file_name().to_bytes();
        if bytes == b"." || bytes == b".." {
            continue;
        }
        let entry = match item.file_name().to_str() {
            Ok(name) => match kind(&folder, &item)? {
                Some(kind) => DirEntry {
                    name: name.to_owned(),
                    kind,
                },
                None => continue,
            },
            Err(_) => DirEntry {
                name: String::from_utf8_lossy(bytes).into_owned(),
                kind: EntryKind::Other,
            },
        };
        entries.push(entry);
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// What a name stands for, or none if it was removed meanwhile.
fn kind(folder: &OwnedFd, item: &fs::DirEntry) -> io::Result<Option<EntryKind>> {
    let mut file_type = item.file_type();
    // Some file systems do not keep the type beside the name.
    if file_type == FileType::Unknown {
        match retry_on_intr(|| fs::statat(folder, item.file_name(), AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => file_type = FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Some(match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        _ => EntryKind::Other,
    }))
}
