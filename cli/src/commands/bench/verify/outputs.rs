//! What commits have written: of each, all of its records, once, and at once.

use towpath_client::{Batch, Lsn};

use super::fingerprint::mark_of;
use super::{expect_count, void};
use crate::failure::Failure;

const WORD_BITS: u64 = u64::BITS as u64;

/// What commits have written, each as many records as the others, whose marks are numbers: those of the
/// first commit, then those of the next.
#[derive(Debug)]
pub(in crate::commands::bench) struct Outputs {
    appends: u64,
    /// Of each commit, by its number: its entry in the journal, 0 if none of its records was found.
    lsns: Vec<Lsn>,
    /// One bit for each record.
    found: Vec<u64>,
    record_count: u64,
    commit_count: u64,
}

impl Outputs {
    /// Nothing was found of commits with numbers below `commits`, of so many records each.
    pub(in crate::commands::bench) fn new(commits: u64, appends: u32) -> Self {
        let appends = u64::from(appends);
        let length = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let words = commits.saturating_mul(appends).div_ceil(WORD_BITS);
        Self {
            appends,
            lsns: vec![Lsn::ZERO; length(commits)],
            found: vec![0; length(words)],
            record_count: 0,
            commit_count: 0,
        }
    }

    /// Records have come.
    ///
    /// # Errors
    ///
    /// One of them was there before, is of no commit, or not of its commit's entry: the run is void.
    pub(in crate::commands::bench) fn note(&mut self, batch: &Batch) -> Result<(), Failure> {
        for record in batch.records() {
            let mark = mark_of(record.value().unwrap_or_default());
            let noted = self.note_mark(mark, batch.lsn());
            noted.map_err(|failure| failure.at(record.address()))?;
        }
        Ok(())
    }

    fn note_mark(&mut self, mark: u64, lsn: Lsn) -> Result<(), Failure> {
        let commit = mark / self.appends;
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let written_at = self.lsns.get_mut(index(commit));
        let word = self.found.get_mut(index(mark / WORD_BITS));
        let Some((written_at, word)) = written_at.zip(word) else {
            return Err(void("a record of no commit"));
        };
        let bit = 1 << (mark % WORD_BITS);
        if *word & bit != 0 {
            return Err(void(format!("commit {commit} has written a record twice")));
        }
        *word |= bit;
        if *written_at == Lsn::ZERO {
            *written_at = lsn;
            self.commit_count += 1;
        } else if *written_at != lsn {
            let what = format!("what commit {commit} has written was not written at once");
            return Err(void(what));
        }
        self.record_count += 1;
        Ok(())
    }

    /// Whether so many commits have written all of their records.
    ///
    /// # Errors
    ///
    /// They have not: the run is void.
    pub(in crate::commands::bench) fn expect(&self, commits: u64) -> Result<(), Failure> {
        let records = commits * self.appends;
        expect_count("the commits have written", self.record_count, records)?;
        // None has written more than its records: so each has written them all.
        if self.commit_count == commits {
            return Ok(());
        }
        let commit_count = self.commit_count;
        Err(void(format!(
            "{commit_count} commits have written the records of {commits}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(marks: &[(u64, u64)]) -> Result<Outputs, String> {
        let mut outputs = Outputs::new(4, 3);
        for (mark, lsn) in marks {
            let noted = outputs.note_mark(*mark, Lsn::new(*lsn));
            noted.map_err(|failure| failure.message().to_owned())?;
        }
        Ok(outputs)
    }

    #[test]
    fn commits_that_have_written_everything_at_once_are_whole() {
        let two = [(9, 7), (11, 7), (10, 7), (0, 5), (1, 5), (2, 5)];
        let outputs = outputs(&two).expect("in order");
        outputs.expect(2).expect("two commits");
        let missing = outputs.expect(3).expect_err("three commits");
        assert!(missing.message().contains("6 records instead of 9"));
    }

    #[test]
    fn what_is_doubled_torn_or_of_nobody_is_told() {
        let check = |marks: &[(u64, u64)], what: &str| {
            let message = outputs(marks).expect_err("void");
            assert!(message.contains(what), "{message}");
        };
        check(&[(3, 7), (3, 7)], "commit 1 has written a record twice");
        check(&[(3, 7), (4, 8)], "was not written at once");
        check(&[(12, 7)], "of no commit");
    }

    #[test]
    fn a_record_in_the_place_of_another_is_told() {
        let outputs = outputs(&[(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (6, 3)]).expect("noted");
        let failure = outputs.expect(2).expect_err("torn");
        assert!(
            failure
                .message()
                .contains("3 commits have written the records of 2"),
            "{failure:?}"
        );
    }
}
