//! Taking letters in the order in which they died: where no key has to go whole, or all of it is taken
//! anyway.

use std::sync::Arc;

use towpath_proto::problem::Problem;
use towpath_storage::Offset;

use super::super::scan::{Page, Scan};
use super::Job;
use super::step::Age;
use crate::core::REDRIVEN_RECORDS_MAX;

impl Job {
    /// Takes those that the filter takes, up to `end`.
    pub(super) async fn take_in_order(&mut self, end: Offset) -> Result<(), Problem> {
        self.take_up_to(end, Age::Old).await
    }

    /// Takes what was parked behind them meanwhile. The filter takes the whole keys of those before `end`,
    /// so that theirs are the ones that it takes and that have been parked since before it.
    pub(super) async fn take_followers(&mut self, end: Offset) -> Result<(), Problem> {
        self.token.next = self.token.next.max(end);
        loop {
            let count_before = self.counts.done;
            self.take_up_to(self.partition_end(), Age::Since(end))
                .await?;
            // Until somebody has handled all that was taken, nothing more is parked behind it.
            if self.counts.done == count_before {
                return Ok(());
            }
        }
    }

    /// Takes those that the filter takes, from where it is up to `end`.
    async fn take_up_to(&mut self, end: Offset, age: Age) -> Result<(), Problem> {
        let (shared, letters) = (Arc::clone(&self.shared), self.letters.clone());
        let partition = self.token.partition;
        let begin = |from| Scan::new(&shared, &letters, partition, Self::part(from, end));
        let mut scan = begin(self.token.next);
        while let Some(page) = scan.next(REDRIVEN_RECORDS_MAX).await? {
            if !self.take_page(page, age).await? {
                // Somebody else has moved one of them: what stands where is looked at again.
                scan = begin(self.token.next);
            }
        }
        Ok(())
    }

    /// Takes those of a page that the filter takes. Returns whether all went.
    async fn take_page(&mut self, page: Page, age: Age) -> Result<bool, Problem> {
        let wanted = page.letters.into_iter();
        let wanted: Vec<_> = wanted.filter(|it| self.filter.takes(it)).collect();
        let mut steps = wanted.chunks(self.step()).peekable();
        if steps.peek().is_none() {
            self.token.next = page.next;
            self.tell("").await;
        }
        while let Some(letters) = steps.next() {
            if !self.do_with(letters, page.hash_key, age).await? {
                return Ok(false);
            }
            let next = steps.peek().and_then(|later| later.first());
            self.token.next = next.map_or(page.next, |next| next.open.offset);
            self.tell("").await;
        }
        Ok(true)
    }
}
