//! Members that are cut off, and all of them after a restart.

use super::*;

#[test]
fn a_member_that_comes_back_in_time_keeps_what_it_has() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    let owned = bench.owned(member(1));
    bench.leave(member(1), first, Departure::CutOff);
    bench.pass(RECONNECT_GRACE_MS - 1);
    let again = bench.join(member(1));
    bench.pass(10_000);
    assert_eq!(bench.owned(member(1)), owned);
    let heard = bench.heard(again);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert!(assigned.iter().all(|it| it.generation == Generation(1)));
}

#[test]
fn who_joins_again_goes_on_without_the_topics_that_are_gone() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    bench.leave(member(1), first, Departure::CutOff);
    let gone = TopicId::new(99);
    let mut wish = bench.wish(member(1), &[gone, bench.topic]);
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert_eq!(refused, JoinRefusal::TopicNotFound { topic: gone });
    wish.rejoins = Some(bench.id());
    let again = bench.join_as(&wish);
    let heard = bench.heard(again);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(owned)] if owned.len() == 8));
}

#[test]
fn a_member_that_does_not_come_back_is_replaced() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    bench.leave(member(1), first, Departure::CutOff);
    bench.pass(RECONNECT_GRACE_MS);
    assert_eq!(bench.owned(member(2)).len(), 8);
}

#[test]
fn after_a_restart_everyone_goes_on_with_what_it_had() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.join(member(2));
    bench.pass(100);
    let (first, second) = (bench.owned(member(1)), bench.owned(member(2)));
    let generation = bench.group().generation();
    bench.restart();
    bench.pass(RESTART_GRACE_MS - 1);
    bench.join(member(2));
    bench.join(member(1));
    bench.pass(60_000);
    assert_eq!(bench.owned(member(1)), first);
    assert_eq!(bench.owned(member(2)), second);
    assert_eq!(bench.group().generation(), generation, "nothing has moved");
}

#[test]
fn what_a_member_that_is_awaited_has_is_revoked_when_it_is_back() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    bench.restart();
    let visitor = bench.join(member(2));
    bench.pass(1_000);
    bench.leave(member(2), visitor, Departure::Left);
    bench.pass(1_000);
    let first = bench.join(member(1));
    bench.pass(1_000);
    let heard = bench.heard(first);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(_)]), "{heard:?}");

    bench.restart();
    bench.join(member(2));
    bench.pass(1_000);
    let first = bench.join(member(1));
    bench.pass(100);
    let heard = bench.heard(first);
    let [
        GroupEvent::Assigned(_),
        GroupEvent::Revoking { partitions, .. },
    ] = &heard[..]
    else {
        panic!("{heard:?}");
    };
    assert_eq!(partitions.len(), 4);
}

#[test]
fn a_group_with_an_old_name_knows_nothing_of_old_generations() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let (_, decision) = bench.state.delete_group(&name(), true).unwrap();
    bench.apply(decision.rows);
    bench.join(member(1));
    bench.restart();
    bench.join(member(1));
    bench.pass(RESTART_GRACE_MS);
    let late = Commit {
        partition: bench.place(0),
        generation: Generation(1),
        offset: Offset::ZERO,
        gaps: Vec::new(),
    };
    let verdict = bench.commit(member(1), late);
    assert_eq!(verdict, CommitVerdict::Refused(CommitRefusal::Stale));
}
