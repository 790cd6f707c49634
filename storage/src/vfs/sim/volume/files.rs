//! What the calls on one file do.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::Volume;
use crate::vfs::sim::extents::pages_of;
use crate::vfs::sim::file::File;
use crate::vfs::sim::image::{Change, Content};
use crate::vfs::sim::names::NodeId;
use crate::vfs::sim::pages::BLOCK;

impl Volume {
    pub(crate) fn file(&self, id: NodeId) -> io::Result<&File> {
        self.nodes
            .get(&id)
            .and_then(|node| node.file.as_ref())
            .ok_or_else(|| Errno::BADF.into())
    }

    /// For changes that keep the invariant of [`File`] and touch no allocation.
    pub(crate) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut File> {
        let node = self.node_mut(id);
        node.and_then(|node| node.file.as_mut())
            .ok_or_else(|| Errno::BADF.into())
    }

    /// Every file, by number.
    pub(crate) fn files(&self) -> impl Iterator<Item = (NodeId, &File)> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.file.as_ref()?)))
    }

    pub(crate) fn evict_cache(&mut self) {
        for node in self.nodes.values_mut() {
            if let Some(file) = Arc::make_mut(node).file.as_mut() {
                file.drop_cache(0, u64::MAX);
            }
        }
    }

    /// Writes what there is room for; returns the number of bytes written.
    pub(crate) fn write(
        &mut self,
        id: NodeId,
        stamp: u64,
        position: u64,
        mut bytes: Vec<u8>,
        is_lost: bool,
    ) -> io::Result<usize> {
        check_size(position, bytes.len() as u64)?;
        let count = self.room_for(id, position, bytes.len())?;
        bytes.truncate(count);
        if count > 0 {
            let change = Change::Write {
                position,
                content: Content::new(bytes),
            };
            self.change(id, stamp, change, is_lost)?;
        }
        Ok(count)
    }

    /// Number of bytes that can be written at a position before room runs out.
    fn room_for(&self, id: NodeId, position: u64, count: usize) -> io::Result<usize> {
        let extents = &self.file(id)?.live.extents;
        let free = self.total_pages.saturating_sub(self.used_pages);
        let pages = pages_of(position, count as u64);
        if extents.missing(&pages) <= free {
            return Ok(count);
        }
        let mut missing = 0;
        for page in pages.clone() {
            missing += u64::from(!extents.contains(page));
            if missing > free {
                let fitting = (page * BLOCK).saturating_sub(position);
                return if fitting == 0 {
                    Err(Errno::NOSPC.into())
                } else {
                    Ok(fitting as usize)
                };
            }
        }
        Ok(count)
    }

    /// Reserves all of the range, or as much as there is room for and says that it is not all.
    pub(crate) fn allocate(
        &mut self,
        id: NodeId,
        stamp: u64,
        position: u64,
        length: u64,
    ) -> io::Result<()> {
        check_size(position, length)?;
        let free = self.total_pages.saturating_sub(self.used_pages);
        let pages = pages_of(position, length);
        let extents = &self.file(id)?.live.extents;
        if extents.missing(&pages) <= free {
            return self.change(id, stamp, Change::Allocate { position, length }, false);
        }
        // The strictest of what file systems do here: the file is left partly extended.
        let fitting = (pages.start + free).min(pages.end) * BLOCK;
        if fitting > position {
            let length = fitting - position;
            self.change(id, stamp, Change::Allocate { position, length }, false)?;
        }
        Err(Errno::NOSPC.into())
    }

    pub(crate) fn set_length(&mut self, id: NodeId, stamp: u64, length: u64) -> io::Result<()> {
        check_size(0, length)?;
        self.change(id, stamp, Change::SetLength { length }, false)
    }

    fn change(&mut self, id: NodeId, stamp: u64, change: Change, is_lost: bool) -> io::Result<()> {
        let file = self.file_mut(id)?;
        let before = file.live.extents.count();
        file.change(stamp, change, is_lost);
        let after = file.live.extents.count();
        self.used_pages = self.used_pages + after - before;
        Ok(())
    }
}

fn check_size(position: u64, length: u64) -> io::Result<()> {
    match position.checked_add(length) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(Errno::FBIG.into()),
    }
}

/// As ext4 with blocks of 4 KiB.
const FILE_BYTES_MAX: u64 = (1 << 44) - BLOCK;
