//! Telling the index of a segment.

use super::window::Window;
use super::{Item, Told, Walk};
use crate::folder;
use crate::format::index_entry::{INDEX_ENTRY_BYTES, IndexEntry};
use crate::ids::SegmentRef;

impl Walk<'_> {
    pub(super) fn index(&mut self, segment: SegmentRef, folder_name: &str) -> Told {
        let path = folder::segment_index(folder_name, segment);
        let opened = self.attempt(Window::open(self.environment, &path))?;
        let Some(mut window) = opened else {
            return Told::Continue(());
        };
        for position in (0..window.file_bytes()).step_by(INDEX_ENTRY_BYTES) {
            let read = window
                .at(position, INDEX_ENTRY_BYTES)
                .map(|bytes| IndexEntry::decode(bytes, segment.base));
            match self.attempt(read)? {
                Some(Some(entry)) => self.tell(&Item::IndexEntry(entry))?,
                Some(None) => self.trouble(&path, position, "the index entry is damaged")?,
                None => return Told::Continue(()),
            }
        }
        Told::Continue(())
    }
}
