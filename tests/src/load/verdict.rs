//! What is left to say at the end.

use std::fmt;
use std::ops::AddAssign;

use crate::history::Violation;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records that were sent.
    pub sent: u64,
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that failed, and certainly were not and will not be written.
    pub refused: u64,
    /// Records that failed, and may have been written.
    pub in_doubt: u64,
    /// Those of the refused and doubtful whose producer had patience.
    pub unexpected_failures: u64,
    /// Records that were read, by all readers together.
    pub read: u64,
    /// Readers that began somewhere.
    pub sessions: u64,
    /// Gaps that readers were told of.
    pub gaps: u64,
}

/// Whether every promise was kept.
#[derive(Debug)]
pub struct Verdict {
    /// Broken rules of the history.
    pub violations: Vec<Violation>,
    /// Whatever else went otherwise than it should: readers that failed, LSNs that fell, records that
    /// were not settled in time.
    pub complaints: Vec<String>,
    /// Why records failed although their producer had patience: no broken promise, but no good either.
    pub failures: Vec<String>,
    /// What was done.
    pub counts: Counts,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.violations.is_empty() && self.complaints.is_empty()
    }

    /// Fails unless every promise was kept.
    #[track_caller]
    pub fn assert_kept(&self, context: impl fmt::Display) {
        assert!(self.is_kept(), "{context}: {self}");
    }

    /// Fails unless every promise was kept and every record of a patient producer acknowledged.
    #[track_caller]
    pub fn assert_acknowledged(&self, context: impl fmt::Display) {
        assert!(
            self.is_kept() && self.failures.is_empty(),
            "{context}: {self}"
        );
    }
}

/// Prints the counts and the first few of each kind of trouble.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts)?;
        let same_rule = |one: &Violation, next: &Violation| one.rule == next.rule;
        for violations in self.violations.chunk_by(same_rule) {
            show_some(f, violations)?;
        }
        show_some(f, &self.complaints)?;
        show_some(f, &self.failures)
    }
}

fn show_some(f: &mut fmt::Formatter<'_>, lines: &[impl fmt::Display]) -> fmt::Result {
    const SHOWN: usize = 8;
    for line in lines.iter().take(SHOWN) {
        writeln!(f, "- {line}")?;
    }
    match lines.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more of these"),
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            acknowledged,
            refused,
            in_doubt,
            read,
            sessions,
            gaps,
            ..
        } = self;
        write!(
            f,
            "{sent} records sent, {acknowledged} acknowledged, {refused} refused, {in_doubt} in \
             doubt; {read} read in {sessions} sessions, {gaps} gaps"
        )
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.in_doubt += other.in_doubt;
        self.unexpected_failures += other.unexpected_failures;
        self.read += other.read;
        self.sessions += other.sessions;
        self.gaps += other.gaps;
    }
}
