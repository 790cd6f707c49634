//! Which pages of a simulated file have room on the disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::pages::BLOCK;

/// A set of page numbers as sorted ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    ends_by_start: Arc<BTreeMap<u64, u64>>,
}

impl Extents {
    /// Adds pages.
    pub(super) fn insert(&mut self, pages: Range<u64>) {
        if pages.is_empty() || self.missing(&pages) == 0 {
            return;
        }
        let mut merged = pages;
        let ranges = Arc::make_mut(&mut self.ends_by_start);
        while let Some((&start, &end)) = ranges.range(..=merged.end).next_back()
            && end >= merged.start
        {
            ranges.remove(&start);
            merged = start.min(merged.start)..end.max(merged.end);
        }
        ranges.insert(merged.start, merged.end);
    }

    /// Removes every page from `first` on.
    pub(super) fn cut(&mut self, first: u64) {
        let Some((&start, &end)) = self.ends_by_start.range(..first).next_back() else {
            self.ends_by_start = Arc::default();
            return;
        };
        let ranges = Arc::make_mut(&mut self.ends_by_start);
        ranges.split_off(&first);
        ranges.insert(start, end.min(first));
    }

    /// Number of pages.
    pub(super) fn count(&self) -> u64 {
        self.ends_by_start
            .iter()
            .map(|(start, end)| end - start)
            .sum()
    }

    /// Number of the given pages that are not in the set.
    pub(super) fn missing(&self, pages: &Range<u64>) -> u64 {
        let mut missing = pages.end.saturating_sub(pages.start);
        for (&start, &end) in self.ends_by_start.range(..pages.end).rev() {
            if end <= pages.start {
                break;
            }
            missing -= end.min(pages.end) - start.max(pages.start);
        }
        missing
    }

    /// Whether a page is in the set.
    pub(super) fn contains(&self, page: u64) -> bool {
        self.missing(&(page..page + 1)) == 0
    }
}

/// The pages that bytes lie in.
pub(super) fn pages_of(position: u64, length: u64) -> Range<u64> {
    if length == 0 {
        return 0..0;
    }
    position / BLOCK..position.saturating_add(length).div_ceil(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::environment::testing::seeded;

    proptest! {
        #![proptest_config(seeded(256))]

        #[test]
        fn extents_are_a_set(
            steps in prop::collection::vec((any::<bool>(), 0..40_u64, 0..9_u64), 1..30),
        ) {
            let mut extents = Extents::default();
            let mut model = BTreeSet::new();
            for (is_cut, start, length) in steps {
                if is_cut && length > 6 {
                    extents.cut(start);
                    model.retain(|page| *page < start);
                } else {
                    let pages = start..start + length;
                    let missing = pages.clone().filter(|page| !model.contains(page)).count() as u64;
                    prop_assert_eq!(extents.missing(&pages), missing);
                    extents.insert(pages.clone());
                    model.extend(pages);
                }
                prop_assert_eq!(extents.count(), model.len() as u64);
                for page in 0..50 {
                    prop_assert_eq!(extents.contains(page), model.contains(&page));
                }
                let ranges: Vec<_> = extents.ends_by_start.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "merged");
            }
        }
    }

    #[test]
    fn bytes_touch_the_pages_they_lie_in() {
        assert_eq!(pages_of(0, 0), 0..0);
        assert_eq!(pages_of(4095, 1), 0..1);
        assert_eq!(pages_of(4095, 2), 0..2);
        assert_eq!(pages_of(8192, 4096), 2..3);
    }
}
