//! Handlers that end in any order, partitions that come and go: keys stay in order, and a commit
//! never passes a record that is not done.

use std::collections::BTreeMap;

use super::*;
use crate::testing::for_seeds;

fn assignment(partition: u32, generation: u64) -> Assignment {
    Assignment {
        topic: "orders".parse().unwrap(),
        partition: PartitionId::new(partition),
        generation: Generation::new(generation),
    }
}

fn push(work: &mut Work<u64>, assignment: &Assignment, key: Option<&'static str>, offset: u64) {
    let lane = LaneKey {
        topic: assignment.topic.clone(),
        partition: assignment.partition,
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
    };
    work.push(assignment, lane, Offset::new(offset), 10, offset);
}

/// A partition with records of keys a, b, a, none, none.
fn five() -> (Work<u64>, Assignment) {
    let mut work = Work::new((5, 1_000));
    let owned = assignment(0, 1);
    work.assign(owned.clone(), Offset::ZERO);
    for (offset, key) in [
        (0, Some("a")),
        (1, Some("b")),
        (2, Some("a")),
        (3, None),
        (4, None),
    ] {
        push(&mut work, &owned, key, offset);
    }
    (work, owned)
}

fn start_all(work: &mut Work<u64>) -> BTreeMap<u64, Ticket> {
    std::iter::from_fn(|| work.start())
        .map(|(ticket, offset)| (offset, ticket))
        .collect()
}

fn commits(work: &mut Work<u64>) -> Vec<u64> {
    let commits = work.take_commits();
    commits.iter().map(|it| it.offset().get()).collect()
}

#[test]
fn keys_run_side_by_side_and_each_in_order() {
    let (mut work, _) = five();
    assert!(!work.has_room(), "five of five");
    let mut running = start_all(&mut work);
    assert_eq!(running.keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
    work.finish(running.remove(&1).unwrap());
    assert!(commits(&mut work).is_empty(), "0 is not done");
    work.finish(running.remove(&0).unwrap());
    assert_eq!(commits(&mut work), [2]);
    running.extend(start_all(&mut work));
    assert_eq!(running.keys().copied().collect::<Vec<_>>(), [2, 3]);
    work.finish(running.remove(&3).unwrap());
    work.finish(running.remove(&2).unwrap());
    assert_eq!(commits(&mut work), [4]);
    let last = start_all(&mut work).remove(&4).unwrap();
    work.finish(last);
    assert_eq!(commits(&mut work), [5]);
    assert!(commits(&mut work).is_empty(), "said already");
    assert!(work.lanes.is_empty() && work.ready.is_empty() && work.has_room());
}

#[test]
fn a_failed_record_holds_commits_back() {
    let (mut work, _) = five();
    let mut running = start_all(&mut work);
    work.fail(running.remove(&1).unwrap());
    work.finish(running.remove(&0).unwrap());
    work.finish(running.remove(&3).unwrap());
    assert_eq!(commits(&mut work), [1]);
}

#[test]
fn a_revoked_partition_is_given_back_when_its_handlers_are_done() {
    let (mut work, owned) = five();
    let mut running = start_all(&mut work);
    work.revoke(&owned);
    assert!(work.take_idle_revoked().is_empty(), "three run");
    for offset in [0, 1, 3] {
        work.finish(running.remove(&offset).unwrap());
    }
    assert!(work.start().is_none(), "nothing more is begun");
    let idle = work.take_idle_revoked();
    assert_eq!(
        idle,
        [(owned.clone(), GroupOffset::new(&owned, Offset::new(2)))]
    );
    assert_eq!((work.held_records, work.held_bytes), (0, 0));
}

#[test]
fn what_is_done_after_a_loss_counts_for_nothing() {
    let (mut work, owned) = five();
    let mut running = start_all(&mut work);
    work.lose(&owned);
    let again = assignment(0, 2);
    work.assign(again.clone(), Offset::ZERO);
    push(&mut work, &again, Some("a"), 0);
    assert!(work.start().is_none(), "its key is busy");
    work.finish(running.remove(&0).unwrap());
    assert!(commits(&mut work).is_empty(), "not done in this generation");
    let (ticket, _) = work.start().unwrap();
    work.finish(ticket);
    assert_eq!(commits(&mut work), [1]);
}

#[test]
fn a_gap_is_passed_over_by_commits() {
    let (mut work, owned) = five();
    work.skip(&owned.topic, owned.partition, Offset::new(9));
    let mut count = 0;
    while let Some((ticket, _)) = work.start() {
        work.finish(ticket);
        count += 1;
    }
    assert_eq!((count, commits(&mut work)), (5, vec![9]));
}

#[test]
fn a_commit_never_passes_what_is_not_done() {
    for_seeds(500, |mut random| {
        let mut work = Work::new((u64::MAX, u64::MAX));
        let owned = assignment(0, 1);
        work.assign(owned.clone(), Offset::ZERO);
        let keys = [Some("a"), Some("b"), Some("c"), None];
        let (mut next, mut done) = (0_u64, Vec::new());
        let mut running: Vec<(Ticket, u64)> = Vec::new();
        let mut last_of_key: BTreeMap<Option<&str>, u64> = BTreeMap::new();
        let mut key_of = BTreeMap::new();
        for _ in 0..300 {
            match random.u32(0..4) {
                0 => {
                    let key = keys[random.usize(0..keys.len())];
                    key_of.insert(next, key);
                    push(&mut work, &owned, key, next);
                    next += 1;
                }
                1 => running.extend(work.start()),
                2 if !running.is_empty() => {
                    let (ticket, offset) = running.swap_remove(random.usize(0..running.len()));
                    let before = last_of_key.insert(key_of[&offset], offset);
                    assert!(before.is_none_or(|before| before < offset), "in order");
                    done.push(offset);
                    work.finish(ticket);
                }
                _ => {
                    for committed in commits(&mut work) {
                        let count = done.iter().filter(|it| **it < committed).count();
                        assert_eq!(count as u64, committed, "all below are done");
                    }
                }
            }
        }
    });
}
