//! Letters that are named one by one: a name that stands for nothing is told, and not passed over.

use std::collections::BTreeSet;

use towpath_proto::problem::Problem;
use towpath_storage::{Offset, OffsetRange};

use super::super::filter::Filter;
use super::super::scan::look;
use super::super::{Letters, status};
use crate::api::Shared;
use crate::runtime::subscription_command::DEAD_LETTERS_LOOKED_AT_MAX;

/// Letters that a filter names and that there are not, by partition and offset.
///
/// # Errors
/// There is none of those that it names.
pub(super) async fn missing(
    shared: &Shared,
    letters: &Letters,
    filter: &Filter,
) -> Result<Vec<(u32, Offset)>, Problem> {
    let (mut missing, mut count) = (Vec::new(), 0);
    for (partition, offsets) in filter.named() {
        count += offsets.len();
        let found = found(shared, letters, partition, offsets).await?;
        let absent = offsets.difference(&found).copied();
        missing.extend(absent.map(|offset| (partition, Offset::new(offset))));
    }
    match missing.first() {
        Some((partition, offset)) if missing.len() == count => {
            let (name, offset) = (&letters.name, offset.get());
            Err(match count {
                1 => status::dead_letter_not_found(name, *partition, offset),
                _ => status::dead_letters_not_found(name, *partition, offset, count),
            })
        }
        _ => Ok(missing),
    }
}

/// Those of some letters of a partition that there are.
async fn found(
    shared: &Shared,
    letters: &Letters,
    partition: u32,
    offsets: &BTreeSet<u64>,
) -> Result<BTreeSet<u64>, Problem> {
    let handle = letters.topic.partition(partition);
    let end = handle.map_or(Offset::ZERO, |handle| handle.log().end());
    let mut found = BTreeSet::new();
    let mut next = Offset::ZERO;
    while let Some(first) = offsets.range(next.get()..end.get()).next() {
        let start = Offset::new(*first);
        // Those that are named often stand close together.
        let range = OffsetRange {
            start,
            end: start.advance(DEAD_LETTERS_LOOKED_AT_MAX as u64).min(end),
        };
        let count_max = DEAD_LETTERS_LOOKED_AT_MAX;
        let open = look(shared, letters, partition, range, count_max).await?;
        let there = open.letters.iter().map(|it| it.offset.get());
        found.extend(there.filter(|it| offsets.contains(it)));
        next = open.next.max(start.advance(1));
    }
    Ok(found)
}
