//! Records that are handled by commits: what each of them appends, acks and moves takes effect as one, and the
//! rules that this must keep.

use std::collections::{BTreeMap, BTreeSet};

use super::check::broken;
use super::{Event, Place, Rule, Violation};

/// A record that somebody handles: a subscription or a group, each by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// For whom.
    pub lane: u64,
    /// In which partition it is.
    pub place: Place,
    /// Its offset.
    pub offset: u64,
}

/// What happens to a commit. It appends one record for each that it handles, and says that these are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardEvent {
    /// It is about to be sent, and handles this among others.
    Sent {
        /// Which record.
        source: Source,
    },
    /// It was acknowledged, perhaps once more since it was sent again under its key.
    Done {
        /// Offset of the first record that it appends.
        first: u64,
    },
    /// It was refused.
    Refused,
    /// A reader got a record that it appends.
    Read {
        /// For which.
        source: Source,
        /// Where it is.
        place: Place,
        /// Its offset there.
        offset: u64,
    },
}

#[derive(Debug, Default)]
struct Known {
    sources: BTreeSet<Source>,
    first: Option<u64>,
    is_refused: bool,
    read: BTreeSet<Source>,
}

/// Rule 31; and 1, 2, 4, 8, 15 and 21 for these commits.
pub(super) fn check_forwards(history: &[Event]) -> Vec<Violation> {
    let mut commits: BTreeMap<u64, Known> = BTreeMap::new();
    let mut outputs: BTreeMap<Source, BTreeSet<(Place, u64)>> = BTreeMap::new();
    let mut ends: BTreeMap<(u64, Place), u64> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in history {
        match *event {
            Event::Forward { commit, event } => {
                if let ForwardEvent::Read {
                    source,
                    place,
                    offset,
                } = event
                {
                    let found = outputs.entry(source).or_default();
                    found.insert((place, offset));
                }
                let known = commits.entry(commit).or_default();
                violations.extend(known.take(commit, event));
            }
            Event::ForwardsAt {
                lane,
                place,
                offset,
            } => violations.extend(check_position(&commits, (lane, place), offset)),
            Event::ForwardsEnd { lane, place, end } => {
                ends.insert((lane, place), end);
            }
            _ => {}
        }
    }
    for (commit, known) in &commits {
        violations.extend(known.check(*commit, !ends.is_empty()));
    }
    for (source, found) in &outputs {
        if found.len() > 1 {
            let what = format!("{source:?} was handled more than once: {found:?}");
            violations.push(broken(Rule::Once, what));
        }
    }
    for ((lane, place), end) in ends {
        for offset in 0..end {
            let source = Source {
                lane,
                place,
                offset,
            };
            if !outputs.contains_key(&source) {
                let what = format!("{source:?} counts as handled, and nothing was appended for it");
                violations.push(broken(Rule::Once, what));
            }
        }
    }
    violations
}

/// Rule 8: nobody goes on below what an acknowledged commit has handled.
fn check_position(
    commits: &BTreeMap<u64, Known>,
    (lane, place): (u64, Place),
    offset: u64,
) -> Option<Violation> {
    let done = commits.values().filter(|known| known.first.is_some());
    let handled = done.flat_map(|known| &known.sources);
    let of_it = handled.filter(|it| it.lane == lane && it.place == place);
    let last = of_it.map(|it| it.offset).max()?;
    let what = || format!("lane {lane} is at {offset} of {place:?}, {last} was handled");
    (offset <= last).then(|| broken(Rule::CommitRegression, what()))
}

impl Known {
    fn take(&mut self, commit: u64, event: ForwardEvent) -> Option<Violation> {
        match event {
            ForwardEvent::Sent { source } => drop(self.sources.insert(source)),
            ForwardEvent::Refused => self.is_refused = true,
            ForwardEvent::Done { first } => {
                let before = *self.first.get_or_insert(first);
                if before != first {
                    let what = format!("commit {commit} is at {before}, and at {first}");
                    return Some(broken(Rule::InconsistentOffset, what));
                }
            }
            ForwardEvent::Read { source, .. } => {
                self.read.insert(source);
                if !self.sources.contains(&source) {
                    let what = format!("commit {commit} never was for {source:?}");
                    return Some(broken(Rule::Phantom, what));
                }
            }
        }
        None
    }

    fn check(&self, commit: u64, is_read: bool) -> Option<Violation> {
        let rule = match self.read.len() {
            0 if self.first.is_some() && is_read => Rule::LostWrite,
            0 => return None,
            _ if self.is_refused => Rule::Dishonest,
            count if count < self.sources.len() && is_read => Rule::TornRequest,
            _ => return None,
        };
        Some(broken(rule, format!("commit {commit}: {self:?}")))
    }
}
