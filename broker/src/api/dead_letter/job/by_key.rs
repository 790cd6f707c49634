//! Taking whole keys, one after the other, where the filter takes only some letters of a key.
//!
//! The keys go in the order of their hashes, as many at once as can be sorted in bounded memory. A key is
//! done with once nothing more of it has come; so the one that was begun last is all that a call has to
//! know to go on.

use std::ops::Bound;
use std::sync::Arc;

use towpath_proto::problem::Problem;
use towpath_storage::Offset;

use super::super::scan::Scan;
use super::Job;
use super::keys::{Bounds, LowestKeys, Sorted};
use super::step::{Age, Known};
use crate::core::{KeyHash, REDRIVEN_RECORDS_MAX};

/// What is sorted at once: some 10 MB.
const BOUNDS: Bounds = Bounds {
    keys: 100_000,
    letters: 100_000,
};

impl Job {
    /// Takes all letters of each key of which the filter takes one before `end`, and with them what was
    /// parked behind them meanwhile.
    pub(super) async fn take_keys(&mut self, end: Offset) -> Result<(), Problem> {
        // The one that was begun may have nothing left that the filter takes.
        let begun = self.token.key;
        let mut after = begun.map_or(Bound::Unbounded, Bound::Included);
        loop {
            let mut found = LowestKeys::new(after, BOUNDS);
            if let (Some(key), Bound::Included(_)) = (begun, after) {
                found.note(key);
            }
            self.look_for_keys(&mut found, end).await?;
            if found.is_empty() {
                return Ok(());
            }
            let mut sorted = Sorted::new(found, BOUNDS);
            while let Some(key) = sorted.first() {
                self.take_key(key, &mut sorted, end).await?;
                sorted.forget(key);
                after = Bound::Excluded(key);
            }
            if !sorted.is_cut {
                return Ok(());
            }
        }
    }

    /// Looks for keys of which the filter takes a letter.
    async fn look_for_keys(&self, found: &mut LowestKeys, end: Offset) -> Result<(), Problem> {
        let (partition, range) = (self.token.partition, Self::part(Offset::ZERO, end));
        let mut scan = Scan::new(&self.shared, &self.letters, partition, range);
        while let Some(page) = scan.next(REDRIVEN_RECORDS_MAX).await? {
            let wanted = page.letters.iter().filter(|it| self.filter.takes(it));
            wanted.for_each(|it| found.note(it.key(page.hash_key)));
        }
        Ok(())
    }

    /// Takes the letters of the first of the sorted keys until no more have come.
    async fn take_key(
        &mut self,
        key: KeyHash,
        sorted: &mut Sorted,
        end: Offset,
    ) -> Result<(), Problem> {
        if self.token.key != Some(key) {
            // Told before it begins: a key that is half done is gone on with.
            (self.token.key, self.token.next) = (Some(key), Offset::ZERO);
            self.tell("").await;
        }
        loop {
            let is_more = self.sort(sorted, end).await?;
            let mut letters = sorted.take_letters(key);
            // What lies before was done with before the call was interrupted.
            letters.retain(|it| it.letter.offset >= self.token.next);
            if letters.is_empty() && !is_more {
                return Ok(());
            }
            let since = letters.partition_point(|it| it.letter.offset < end);
            let (old, young) = letters.split_at(since);
            self.take_letters(old, Age::Old).await?;
            self.take_letters(young, Age::Since(end)).await?;
        }
    }

    async fn take_letters(&mut self, letters: &[Known], age: Age) -> Result<(), Problem> {
        for letters in letters.chunks(self.step()) {
            self.give_back(letters, age).await?;
            let last = letters.last().map(|it| it.letter.offset);
            self.token.next = last.map_or(self.token.next, |last| last.advance(1));
            self.tell("").await;
        }
        Ok(())
    }

    /// Sorts what has not been looked at, and what has come since, as far as there is room. Returns whether
    /// there is more.
    async fn sort(&self, sorted: &mut Sorted, end: Offset) -> Result<bool, Problem> {
        let end = match self.is_dry_run {
            true => end,
            false => self.partition_end(),
        };
        let (shared, letters) = (Arc::clone(&self.shared), self.letters.clone());
        let (partition, range) = (self.token.partition, Self::part(sorted.next, end));
        let mut scan = Scan::new(&shared, &letters, partition, range);
        while let Some(page) = scan.next(REDRIVEN_RECORDS_MAX).await? {
            for letter in &page.letters {
                if !sorted.keep(Known::of(letter, page.hash_key)) {
                    return Ok(true);
                }
            }
            sorted.next = page.next;
        }
        Ok(false)
    }
}
