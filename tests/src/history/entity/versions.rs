//! Rule 30: versions of keys are dense, and who expects one gets it or is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::{Known, broken};
use crate::history::{Place, Rule, Violation};

pub(super) fn check<'a>(
    records: impl Iterator<Item = &'a Known>,
    whole: &BTreeSet<Place>,
) -> Vec<Violation> {
    let mut keys: BTreeMap<(Place, u64), Vec<&Known>> = BTreeMap::new();
    for known in records.filter(|known| !known.is_refused) {
        keys.entry((known.place, known.key))
            .or_default()
            .push(known);
    }
    let mut violations = Vec::new();
    for ((place, key), mut records) in keys {
        records.sort_by_key(|known| known.found);
        // What is in doubt and was never read may have been there where not all records stay.
        let unseen = match whole.contains(&place) {
            true => 0,
            false => records.iter().filter(|known| known.found.is_none()).count(),
        };
        let there: Vec<_> = records
            .iter()
            .filter(|known| known.found.is_some())
            .collect();
        let mut broken_by = |what: &str, known: &Known, before: u64| {
            let what = format!("{place:?}, key {key}: {what}, {before} before it: {known:?}");
            violations.push(broken(Rule::Versions, what));
        };
        for (before, known) in (0..).zip(&there) {
            let possible = before..=before + unseen as u64;
            if known.expected.is_some_and(|it| !possible.contains(&it)) {
                broken_by("expected another version", known, before);
            }
            if known
                .version
                .is_some_and(|it| !possible.contains(&(it - 1)))
            {
                broken_by("has another version", known, before);
            }
            let is_last = before + 1 == there.len() as u64;
            let is_possible = |last: u64| is_last && possible.contains(&(last - 1));
            // Where not all records stay the last one may be gone, as a tombstone.
            let is_whole = whole.contains(&place);
            if is_whole && known.last.is_some_and(|last| !is_possible(last)) {
                broken_by("is taken for the last", known, before);
            }
        }
        let versions: BTreeSet<_> = there.iter().filter_map(|known| known.version).collect();
        let is_counted = !versions.is_empty();
        if is_counted && whole.contains(&place) && versions.len() != there.len() {
            let what = format!(
                "{place:?}, key {key}: versions {versions:?} of {}",
                there.len()
            );
            violations.push(broken(Rule::Versions, what));
        }
    }
    violations
}
