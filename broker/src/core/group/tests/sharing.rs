//! Sharing out: who gets what, and how a partition moves.

use super::*;

#[test]
fn a_single_member_gets_everything_and_a_second_one_half_of_it() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(assigned.len(), 8);
    let second = bench.join(member(2));
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Revoking { partitions, .. }] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(partitions.len(), 4);
    assert_eq!(bench.heard(second), [], "nothing is free yet");

    let generation = Generation(1);
    let back: Vec<_> = partitions.iter().map(|it| (*it, generation)).collect();
    bench.give_back(member(1), &back);
    bench.pass(0);
    let heard = bench.heard(second);
    let [GroupEvent::Assigned(assigned)] = &heard[..] else {
        panic!("{heard:?}");
    };
    let given: Vec<_> = assigned.iter().map(|it| it.partition).collect();
    assert_eq!(given, *partitions);
    assert_eq!(assigned[0].generation, Generation(2));
    assert_eq!(bench.heard(first), [], "what it keeps, it never hears of");
}

#[test]
fn a_partition_that_is_not_given_back_is_lost_when_the_grace_is_over() {
    let mut bench = Bench::new();
    let first = bench.join(member(1));
    bench.pass(100);
    bench.join(member(2));
    bench.pass(100);
    bench.heard(first);
    bench.pass(REVOKE_GRACE_MS - 1);
    assert_eq!(bench.owned(member(1)).len(), 8);
    bench.pass(1);
    assert_eq!(bench.owned(member(1)).len(), 4);
    assert_eq!(bench.owned(member(2)).len(), 4);
    let heard = bench.heard(first);
    assert!(matches!(&heard[..], [GroupEvent::Lost(lost)] if lost.len() == 4));
    let lost = bench.owned(member(2))[0];
    let late = Commit {
        partition: bench.place(lost),
        generation: Generation(1),
        offset: Offset::ZERO,
        gaps: Vec::new(),
    };
    let verdict = bench.commit(member(1), late);
    assert_eq!(verdict, CommitVerdict::Refused(CommitRefusal::Stale));
}

#[test]
fn a_topic_that_a_member_does_not_name_again_is_free_for_others() {
    let mut bench = Bench::new();
    let payments = bench.create_topic("payments");
    let both = [bench.topic, payments];
    let wish = bench.wish(member(1), &both);
    bench.join_as(&wish);
    bench.pass(100);
    let wish = bench.wish(member(2), &[payments]);
    let second = bench.join_as(&wish);
    // It reads less from now on, and does not know what it had.
    let orders = bench.topic;
    let wish = bench.wish(member(1), &[orders]);
    let first = bench.join_as(&wish);
    bench.pass(100);
    let heard = bench.heard(first);
    let [GroupEvent::Assigned(kept)] = &heard[..] else {
        panic!("nothing is asked of it: {heard:?}");
    };
    assert!(kept.iter().all(|it| it.partition.topic == orders));
    assert_eq!(kept.len(), 8);
    let heard = bench.heard(second);
    assert!(matches!(&heard[..], [GroupEvent::Assigned(given)] if given.len() == 8));
    bench.pass(REVOKE_GRACE_MS);
    assert_eq!(bench.heard(first), []);
}

#[test]
fn what_is_free_goes_to_who_is_there() {
    let mut bench = Bench::new();
    let sessions = [1, 2, 3].map(|number| bench.join(member(number)));
    bench.pass(100);
    bench.leave(member(1), sessions[0], Departure::CutOff);
    bench.leave(member(2), sessions[1], Departure::Left);
    let kept = bench.owned(member(1)).len();
    bench.pass(0);
    assert_eq!(bench.owned(member(1)).len(), kept, "nobody would read more");
    assert_eq!(bench.owned(member(3)).len(), 8 - kept);
    bench.join(member(1));
    bench.pass(100);
    bench.pass(REVOKE_GRACE_MS);
    assert_eq!(bench.owned(member(1)).len(), 4, "it gets its share again");
}

#[test]
fn many_members_at_once_cost_one_change() {
    let mut bench = Bench::new();
    for number in 0..200 {
        bench.join(member(number));
        bench.pass(1);
    }
    bench.pass(1_000);
    assert!(bench.group().generation() <= Generation(2));
    let owners = (0..200).filter(|number| !bench.owned(member(*number)).is_empty());
    assert!(owners.count() <= 8, "the others wait");
}

#[test]
fn members_that_had_nothing_come_and_go_without_a_change_each_time() {
    let mut bench = Bench::new();
    let sessions: Vec<_> = (1..=8).map(|number| bench.join(member(number))).collect();
    bench.pass(100);
    assert_eq!(bench.group().balance, None, "each has a partition");
    let mut change_count = 0;
    for number in 0..190 {
        let visitor = member(9 + number % 50);
        let session = bench.join(visitor);
        bench.leave(visitor, session, Departure::Left);
        // Of these the first do not come back while others come.
        let cut_off = member(60 + number);
        let session = bench.join(cut_off);
        bench.leave(cut_off, session, Departure::CutOff);
        bench.pass(20);
        change_count += u32::from(bench.group().balance.is_none());
    }
    assert!(change_count <= 4, "{change_count} in four seconds");
    // Who waits for a partition that is free does not wait for them.
    bench.join(member(9));
    bench.leave(member(1), sessions[0], Departure::Left);
    bench.join(member(10));
    let visitor = bench.join(member(11));
    bench.leave(member(11), visitor, Departure::Left);
    bench.pass(0);
    let owned: usize = (2..=11)
        .map(|number| bench.owned(member(number)).len())
        .sum();
    assert_eq!(owned, 8, "given away at once");
}
