//! Offsets as few ranges.

use towpath_proto::ids::Offset;
use towpath_proto::v1;

/// A set of offsets, kept as ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Half-open, none empty, in order, with a hole between each two.
    ranges: Vec<(u64, u64)>,
}

impl Ranges {
    /// Adds an offset.
    pub(super) fn insert(&mut self, offset: Offset) {
        let (start, end) = (offset.get(), offset.next().get());
        // Nearly always it comes behind all others.
        let index = match self.ranges.last() {
            None => 0,
            Some((_, last_end)) if *last_end < start => self.ranges.len(),
            Some((last_start, _)) if *last_start <= start => self.ranges.len() - 1,
            Some(_) => self.ranges.partition_point(|(_, it_end)| *it_end < start),
        };
        match self.ranges.get_mut(index) {
            Some((it_start, it_end)) if *it_start <= end => {
                *it_start = start.min(*it_start);
                *it_end = end.max(*it_end);
                self.close_hole_behind(index);
            }
            Some(_) | None => self.ranges.insert(index, (start, end)),
        }
    }

    fn close_hole_behind(&mut self, index: usize) {
        if let [(_, end), (next_start, next_end), ..] = &mut self.ranges[index..]
            && *end == *next_start
        {
            *end = *next_end;
            self.ranges.remove(index + 1);
        }
    }

    /// Takes an offset out, if it is there.
    pub(super) fn remove(&mut self, offset: Offset) {
        let (start, end) = (offset.get(), offset.next().get());
        let index = self.ranges.partition_point(|(_, it_end)| *it_end <= start);
        let Some((it_start, it_end)) = self.ranges.get_mut(index) else {
            return;
        };
        if start < *it_start {
            return;
        }
        match (*it_start == start, *it_end == end) {
            (true, true) => {
                self.ranges.remove(index);
            }
            (true, false) => *it_start = end,
            (false, true) => *it_end = start,
            (false, false) => {
                let behind = (end, std::mem::replace(it_end, start));
                self.ranges.insert(index + 1, behind);
            }
        }
    }

    /// Takes up to `count` offsets, the lowest ones.
    pub(super) fn take(&mut self, count: u64) -> Self {
        let mut left = count;
        let mut taken = Vec::new();
        let whole = self.ranges.iter().take_while(|(start, end)| {
            let fits = end - start <= left;
            left -= if fits { end - start } else { 0 };
            fits
        });
        let whole = whole.count();
        taken.extend(self.ranges.drain(..whole));
        if let Some((start, _)) = self.ranges.first_mut().filter(|_| left > 0) {
            taken.push((*start, *start + left));
            *start += left;
        }
        Self { ranges: taken }
    }

    /// Number of offsets.
    pub(super) fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> {
        let ranges = self.ranges.iter();
        ranges.map(|(start, end)| (Offset::new(*start), Offset::new(*end)))
    }

    pub(super) fn to_proto(&self) -> Vec<v1::OffsetRange> {
        let ranges = self.ranges.iter();
        ranges
            .map(|&(start, end)| v1::OffsetRange { start, end })
            .collect()
    }
}

impl FromIterator<Offset> for Ranges {
    fn from_iter<T: IntoIterator<Item = Offset>>(offsets: T) -> Self {
        let mut ranges = Self::default();
        offsets.into_iter().for_each(|it| ranges.insert(it));
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::for_seeds;

    fn offsets(ranges: &Ranges) -> BTreeSet<u64> {
        let ranges = ranges.iter();
        ranges
            .flat_map(|(start, end)| start.get()..end.get())
            .collect()
    }

    fn check_form(ranges: &Ranges) {
        assert!(ranges.iter().all(|(start, end)| start < end), "{ranges:?}");
        let is_apart = |pair: &[(u64, u64)]| pair[0].1 < pair[1].0;
        assert!(ranges.ranges.windows(2).all(is_apart), "{ranges:?}");
    }

    #[test]
    fn ranges_are_the_set_of_their_offsets() {
        for_seeds(300, |mut random| {
            let mut ranges = Ranges::default();
            let mut expected = BTreeSet::new();
            for _ in 0..200 {
                let offset = random.u64(0..30);
                match random.u32(0..20) {
                    0..12 => {
                        ranges.insert(Offset::new(offset));
                        expected.insert(offset);
                    }
                    12..19 => {
                        ranges.remove(Offset::new(offset));
                        expected.remove(&offset);
                    }
                    _ => {
                        let count = random.usize(0..10);
                        let taken = ranges.take(count as u64);
                        check_form(&taken);
                        let lowest: BTreeSet<_> = expected.iter().take(count).copied().collect();
                        assert_eq!(offsets(&taken), lowest, "{count} of {expected:?}");
                        expected.retain(|it| !lowest.contains(it));
                    }
                }
                check_form(&ranges);
                assert_eq!(offsets(&ranges), expected, "offsets");
                assert_eq!(ranges.len(), expected.len() as u64, "number of them");
                assert_eq!(ranges.is_empty(), expected.is_empty(), "empty");
            }
        });
    }
}
