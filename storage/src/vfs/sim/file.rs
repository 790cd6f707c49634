//! One simulated file: what processes see, what the disk holds, and what lies between.

use std::io;
use std::ops::Range;

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
    /// The bytes will never reach the disk; the length still may.
    pub(super) is_lost: bool,
}

/// A pending change in the light of those before it.
pub(super) struct Step<'a> {
    pub(super) index: usize,
    pub(super) pending: &'a Pending,
    /// Length of the file before it.
    pub(super) before: u64,
    /// Length of the file after it.
    pub(super) after: u64,
    /// The length to which it cuts the file, if it does.
    pub(super) cut: Option<u64>,
    /// The bytes that still have to reach the disk: what is written, or the zeros behind a cut in
    /// the block that it leaves in part.
    pub(super) bytes: Range<u64>,
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

    /// The pending changes in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut length = self.durable.length;
        self.pending
            .iter()
            .enumerate()
            .map(move |(index, pending)| {
                let (before, after) = (length, pending.change.length_after(length));
                length = after;
                let cut = pending.change.cuts(before);
                let bytes = match cut {
                    _ if pending.is_lost => 0..0,
                    Some(cut) => cut..before.min(cut.next_multiple_of(BLOCK)),
                    None => pending.change.written(),
                };
                Step {
                    index,
                    pending,
                    before,
                    after,
                    cut,
                    bytes,
                }
            })
    }

    /// Makes a change that a power loss may take back.
    pub(super) fn change(&mut self, stamp: u64, change: Change, is_lost: bool) {
        self.live.apply(&change);
        self.has_lost_pages |= is_lost;
        self.pending.push(Pending {
            stamp,
            change,
            is_lost,
        });
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

    /// A sync that fails: what `loss` keeps is durable, the rest of the bytes never will be; the
    /// page cache goes on showing them and takes them for clean.
    pub(super) fn fail_sync_keeping_cache(&mut self, loss: &Loss) {
        self.durable = loss.apply(self);
        let kept = loss.lengths_kept(self);
        self.pending.drain(..kept);
        for pending in &mut self.pending {
            pending.is_lost = true;
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
        self.steps()
            .any(|step| step.bytes.start < end && step.bytes.end > start)
    }
}
