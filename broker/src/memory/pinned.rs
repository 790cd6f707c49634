//! Buffers that batches are sent from, as they were read.

use std::sync::{Arc, Weak};

use towpath_storage::Backing;

use super::HeldShare;

/// A buffer of which slices are on their way to a client, and the memory that was taken for all of it. It is
/// to live as long as they do.
#[derive(Debug)]
pub(crate) struct Pinned {
    backing: Backing,
    _held: HeldShare,
}

/// The buffers of one stream, each once however many slices of it are on their way.
#[derive(Debug, Default)]
pub(super) struct PinnedBuffers(Vec<Weak<Pinned>>);

impl PinnedBuffers {
    /// The buffer, if slices of it are on their way already.
    pub(super) fn find(&mut self, backing: Backing) -> Option<Arc<Pinned>> {
        self.0.retain(|pinned| pinned.strong_count() > 0);
        let mut living = self.0.iter().filter_map(Weak::upgrade);
        living.find(|pinned| pinned.backing == backing)
    }

    /// Adds one, with memory that was taken for it.
    pub(super) fn add(&mut self, backing: Backing, held: HeldShare) -> Arc<Pinned> {
        let pinned = Arc::new(Pinned {
            backing,
            _held: held,
        });
        self.0.push(Arc::downgrade(&pinned));
        pinned
    }

    /// Memory that they take, bytes.
    pub(super) fn bytes(&self) -> usize {
        let living = self.0.iter().filter_map(Weak::upgrade);
        living.map(|pinned| pinned.backing.bytes()).sum()
    }
}
