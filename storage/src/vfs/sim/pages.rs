//! The content of a simulated file: sparse 4 KiB pages, shared between copies until one is written.
//!
//! A copy costs one reference count, so that a crash or a fork of a disk full of preallocated files
//! costs next to nothing. A page that is absent reads as zeros.

use std::array;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use crate::vfs::BLOCK_BYTES;

/// Sparse file content without a length.
#[derive(Clone, Default)]
pub(super) struct Pages {
    chunks: Arc<Chunks>,
}

#[derive(Default)]
struct Chunks {
    by_index: BTreeMap<u64, Arc<Chunk>>,
    digest: OnceLock<u64>,
}

/// 64 neighbouring pages, so that the map of a large file stays small.
struct Chunk {
    pages: [Option<Arc<Page>>; CHUNK_PAGES],
    digest: OnceLock<u64>,
}

struct Page {
    bytes: [u8; BLOCK_BYTES],
    digest: OnceLock<u64>,
}

impl Pages {
    /// Copies bytes from `position` on.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) {
        let mut rest = buffer;
        for span in spans(position, rest.len()) {
            let (part, tail) = rest.split_at_mut(span.length);
            match self.page(span.page) {
                Some(page) => part.copy_from_slice(&page.bytes[span.start..span.end()]),
                None => part.fill(0),
            }
            rest = tail;
        }
    }

    /// Replaces bytes from `position` on.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        let mut rest = bytes;
        for span in spans(position, bytes.len()) {
            let (part, tail) = rest.split_at(span.length);
            if span.length == BLOCK_BYTES && *part == ZEROS {
                self.set_page(span.page, None);
            } else {
                self.page_mut(span.page).bytes[span.start..span.end()].copy_from_slice(part);
            }
            rest = tail;
        }
    }

    /// Replaces `[position, position + length)` by zeros.
    pub(super) fn write_zeros(&mut self, position: u64, length: u64) {
        let end = position.saturating_add(length);
        let first_page = position.div_ceil(BLOCK);
        let end_page = end / BLOCK;
        if first_page > end_page {
            self.zero_inside_page(position, end);
            return;
        }
        self.zero_inside_page(position, first_page * BLOCK);
        self.zero_inside_page(end_page * BLOCK, end);
        for page in self.present_in(first_page, end_page) {
            self.set_page(page, None);
        }
    }

    /// Replaces everything from `length` on by zeros.
    pub(super) fn cut(&mut self, length: u64) {
        self.write_zeros(length, u64::MAX - length);
    }

    /// Takes over one whole page of another content.
    pub(super) fn copy_page(&mut self, source: &Self, page: u64) {
        self.set_page(page, source.page_arc(page));
    }

    /// The numbers of the pages that are not absent, ascending.
    pub(super) fn present(&self) -> Vec<u64> {
        self.present_in(0, u64::MAX)
    }

    /// Whether no page is present.
    pub(super) fn is_blank(&self) -> bool {
        self.chunks
            .by_index
            .values()
            .all(|chunk| chunk.pages.iter().all(Option::is_none))
    }

    /// A digest of the content: the same for the same bytes, however they came about.
    pub(super) fn digest(&self) -> u64 {
        *self.chunks.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            for (index, chunk) in &self.chunks.by_index {
                // A chunk whose pages were all written back to zeros counts as absent.
                if let digest @ 1.. = chunk.digest() {
                    (index, digest).hash(&mut hasher);
                }
            }
            hasher.finish()
        })
    }

    fn present_in(&self, first_page: u64, end_page: u64) -> Vec<u64> {
        let chunks = first_page / CHUNK..=end_page.div_ceil(CHUNK);
        let mut present = Vec::new();
        for (index, chunk) in self.chunks.by_index.range(chunks) {
            let numbered = (index * CHUNK..).zip(&chunk.pages);
            present.extend(
                numbered
                    .filter(|(_, page)| page.is_some())
                    .map(|(number, _)| number),
            );
        }
        present.retain(|page| (first_page..end_page).contains(page));
        present
    }

    /// Both ends lie in one page; an end at its border stands for the end of the page.
    fn zero_inside_page(&mut self, position: u64, end: u64) {
        if position < end && self.page(position / BLOCK).is_some() {
            let start = in_page(position);
            let length = (end - position) as usize;
            self.page_mut(position / BLOCK).bytes[start..start + length].fill(0);
        }
    }

    fn page(&self, page: u64) -> Option<&Page> {
        self.chunks.by_index.get(&(page / CHUNK))?.pages[slot(page)].as_deref()
    }

    fn page_arc(&self, page: u64) -> Option<Arc<Page>> {
        self.chunks.by_index.get(&(page / CHUNK))?.pages[slot(page)].clone()
    }

    fn page_mut(&mut self, page: u64) -> &mut Page {
        let place = &mut self.chunk_mut(page).pages[slot(page)];
        let page = Arc::make_mut(place.get_or_insert_with(|| Arc::new(Page::zeros())));
        page.digest = OnceLock::new();
        page
    }

    fn set_page(&mut self, page: u64, content: Option<Arc<Page>>) {
        if content.is_some() || self.page(page).is_some() {
            self.chunk_mut(page).pages[slot(page)] = content;
        }
    }

    fn chunk_mut(&mut self, page: u64) -> &mut Chunk {
        let chunks = Arc::make_mut(&mut self.chunks);
        chunks.digest = OnceLock::new();
        let chunk = Arc::make_mut(chunks.by_index.entry(page / CHUNK).or_default());
        chunk.digest = OnceLock::new();
        chunk
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} present)", self.present().len())
    }
}

impl Chunk {
    /// Zero if all bytes are.
    fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            let mut is_zero = true;
            for (slot, page) in self.pages.iter().enumerate() {
                if let digest @ 1.. = page.as_ref().map_or(0, |page| page.digest()) {
                    is_zero = false;
                    (slot, digest).hash(&mut hasher);
                }
            }
            if is_zero { 0 } else { hasher.finish() | 1 }
        })
    }
}

impl Page {
    fn zeros() -> Self {
        Self {
            bytes: ZEROS,
            digest: OnceLock::new(),
        }
    }

    /// Zero if all bytes are.
    fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&self.bytes);
            if self.bytes == ZEROS {
                0
            } else {
                hasher.finish() | 1
            }
        })
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes,
            digest: OnceLock::new(),
        }
    }
}

impl Clone for Chunks {
    fn clone(&self) -> Self {
        Self {
            by_index: self.by_index.clone(),
            digest: OnceLock::new(),
        }
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self {
            pages: self.pages.clone(),
            digest: OnceLock::new(),
        }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            pages: array::from_fn(|_| None),
            digest: OnceLock::new(),
        }
    }
}

/// The part of a transfer that lies in one page.
struct Span {
    page: u64,
    start: usize,
    length: usize,
}

impl Span {
    fn end(&self) -> usize {
        self.start + self.length
    }
}

fn spans(position: u64, length: usize) -> impl Iterator<Item = Span> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = position + done as u64;
        let start = in_page(here);
        let part = (BLOCK_BYTES - start).min(length - done);
        done += part;
        (part > 0).then_some(Span {
            page: here / BLOCK,
            start,
            length: part,
        })
    })
}

fn in_page(position: u64) -> usize {
    (position % BLOCK) as usize
}

fn slot(page: u64) -> usize {
    (page % CHUNK) as usize
}

/// [`BLOCK_BYTES`] for positions.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;
const CHUNK_PAGES: usize = 64;
const CHUNK: u64 = CHUNK_PAGES as u64;
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::environment::testing::seeded;

    #[derive(Debug, Clone)]
    enum Step {
        Write { position: u64, bytes: Vec<u8> },
        Zero { position: u64, length: u64 },
        Cut { length: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let position = 0..300_000_u64;
        prop_oneof![
            (position.clone(), prop::collection::vec(0..3_u8, 0..10_000))
                .prop_map(|(position, bytes)| Step::Write { position, bytes }),
            (position.clone(), 0..300_000_u64)
                .prop_map(|(position, length)| Step::Zero { position, length }),
            position.prop_map(|length| Step::Cut { length }),
        ]
    }

    fn apply(step: &Step, pages: &mut Pages, model: &mut [u8]) {
        match step {
            Step::Write { position, bytes } => {
                pages.write(bytes, *position);
                model[*position as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            Step::Zero { position, length } => {
                pages.write_zeros(*position, *length);
                model[*position as usize..][..*length as usize].fill(0);
            }
            Step::Cut { length } => {
                pages.cut(*length);
                model[*length as usize..].fill(0);
            }
        }
    }

    proptest! {
        #![proptest_config(seeded(64))]

        #[test]
        fn pages_hold_what_a_plain_buffer_holds(steps in prop::collection::vec(step(), 1..12)) {
            let mut pages = Pages::default();
            // Never copied, so that its digests are not computed anew for want of an older one.
            let mut alone = Pages::default();
            let mut model = vec![0; 700_000];
            for step in &steps {
                let before = (pages.clone(), pages.digest());
                apply(step, &mut pages, &mut model);
                apply(step, &mut alone, &mut model);
                let mut rebuilt = Pages::default();
                rebuilt.write(&model, 0);
                prop_assert_eq!(alone.digest(), rebuilt.digest(), "of the bytes alone");
                prop_assert_eq!(pages.digest(), rebuilt.digest(), "of the bytes alone");
                let mut bytes = vec![9; model.len()];
                pages.read(&mut bytes, 0);
                prop_assert!(bytes == model, "content after {step:?}");
                prop_assert_eq!(before.0.digest(), before.1, "a copy does not change");
            }
        }
    }
}
