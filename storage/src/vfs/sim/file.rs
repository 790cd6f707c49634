//! One simulated file: what processes see, what the disk holds, and what lies between.

use std::io;

use super::image::{Change, Image};
use super::loss::Loss;
use super::pages::BLOCK;

/// A file of the simulated disk.
///
/// INVARIANT: unless `has_lost_pages`, `live` is `durable` with all of `pending` applied in order.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// What the page cache shows.
    pub(super) live: Image,
    /// What a power loss cannot take.
    pub(super) durable: Image,
    /// What happened since the last sync, in order.
    pub(super) pending: Vec<Pending>,
    /// A failed sync dropped changes that the page cache still shows as clean.
    pub(super) has_lost_pages: bool,
}

/// A change that is not durable.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Number of the operation that made it, to compare with the changes of other files.
    pub(super) stamp: u64,
    pub(super) change: Change,
}

impl File {
    /// A file of which nothing is pending.
    pub(super) fn settled(image: Image) -> Self {
        Self {
            live: image.clone(),
            durable: image,
            ..Self::default()
        }
    }

    /// Whether a reader sees what is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && !self.has_lost_pages
    }

    /// Makes a change that a power loss may take back.
    pub(super) fn change(&mut self, stamp: u64, change: Change) {
        self.live.apply(&change);
        self.has_lost_pages |= matches!(change, Change::Write { is_lost: true, .. });
        self.pending.push(Pending { stamp, change });
    }

    /// Makes every change durable that a failed sync has not dropped.
    pub(super) fn sync(&mut self) {
        // DURABILITY: a page that was dropped is clean, so this sync does not write it.
        self.durable = if self.has_lost_pages {
            self.behind_cache()
        } else {
            self.live.clone()
        };
        self.pending.clear();
    }

    /// A sync that fails: what `loss` keeps is durable, the rest of the bytes never will be; the page
    /// cache goes on showing them and takes them for clean.
    pub(super) fn fail_sync_keeping_cache(&mut self, loss: &Loss) {
        self.durable = loss.apply(self);
        let kept = loss.lengths_kept(self);
        self.pending.drain(..kept);
        for pending in &mut self.pending {
            if let Change::Write { is_lost, .. } = &mut pending.change {
                *is_lost = true;
            }
        }
        self.has_lost_pages = true;
    }

    /// A sync that fails: what `loss` keeps is durable, and the page cache goes back to it.
    pub(super) fn fail_sync_reverting_cache(&mut self, loss: &Loss) {
        self.durable = loss.apply(self);
        self.live = self.durable.clone();
        self.pending.clear();
        self.has_lost_pages = false;
    }

    /// What a transfer past the page cache reads.
    pub(super) fn behind_cache(&self) -> Image {
        Loss::nothing(self).apply(self)
    }

    /// Drops the clean cached pages wholly inside the range, which shows what the disk holds there.
    pub(super) fn drop_cache(&mut self, position: u64, end: u64) {
        if !self.has_lost_pages {
            return;
        }
        let disk = self.behind_cache();
        let range = position.div_ceil(BLOCK)..end / BLOCK;
        let mut pages = self.live.pages.present();
        pages.extend(disk.pages.present());
        for page in pages {
            if range.contains(&page) && !self.is_dirty(page) {
                self.live.pages.copy_page(&disk.pages, page);
            }
        }
        self.live.pages.cut(self.live.length);
    }

    /// Changes one byte in the cache and on the disk, behind everybody's back.
    pub(super) fn damage(&mut self, position: u64, change: impl Fn(u8) -> u8) -> io::Result<()> {
        if position >= self.live.length {
            return Err(io::ErrorKind::NotFound.into());
        }
        for image in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            image.pages.read(&mut byte, position);
            image.pages.write(&byte.map(&change), position);
        }
        self.durable.pages.cut(self.durable.length);
        Ok(())
    }

    fn is_dirty(&self, page: u64) -> bool {
        let (start, end) = (page * BLOCK, (page + 1) * BLOCK);
        self.pending.iter().any(|pending| match &pending.change {
            Change::Write { is_lost: true, .. } => false,
            change => change.written().start < end && change.written().end > start,
        })
    }
}
