//! Which segments are compacted, with which tombstones, and what takes whose place.

use std::collections::BTreeSet;

use towpath_storage::{RewritePlan, RewrittenSegment};

use super::hold::{settle, subscribe};
use super::retention::{FRAME_BYTES, append_segment, keeping, place};
use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn compacted() -> TopicConfig {
    TopicConfig {
        compact: true,
        ..TopicConfig::default()
    }
}

/// A partition with so many segments of three records each, the last of which is appended to.
fn segments(count: i64) -> (State, PartitionRef) {
    let mut state = state();
    let topic = keeping(&mut state, 1, compacted());
    let partition = place(topic, 0);
    (1..=count).for_each(|at_ms| append_segment(&mut state, partition, at_ms));
    (state, partition)
}

fn plans(state: &State, now_ms: i64) -> Vec<CompactionPlan> {
    state.plan_compactions(&BTreeSet::new(), now_ms, true)
}

/// First offsets of what each plan rewrites, and where it ends.
fn ranges(plans: &[CompactionPlan]) -> Vec<(Vec<u64>, u64)> {
    let range = |plan: &CompactionPlan| {
        let sources = plan.rewrite.sources.iter();
        let bases = sources.map(|it| it.base.get()).collect();
        (bases, plan.rewrite.end.get())
    };
    plans.iter().map(range).collect()
}

/// What a plan comes to: a segment of so many bytes.
fn done(plan: &CompactionPlan, lsn: u64, size_bytes: u64, tombstones: u64) -> CompactedSegment {
    let first = plan.rewrite.sources[0];
    CompactedSegment {
        rewritten: RewrittenSegment {
            plan: plan.rewrite.clone(),
            segment: SegmentRef {
                generation: first.generation + 1,
                ..first
            },
            size_bytes,
            kept_count: 1,
            removed_count: 5,
        },
        lsn: Lsn::new(lsn),
        tombstone_count: tombstones,
    }
}

fn swap(state: &mut State, compacted: &CompactedSegment) -> Option<SegmentSwap> {
    let swap = state.swap_segments(compacted)?;
    let rows = swap.rows.iter().cloned();
    rows.for_each(|row| state.apply_row(row));
    Some(swap)
}

#[test]
fn sealed_segments_that_are_new_are_compacted_together() {
    let (state, _) = segments(4);
    assert_eq!(ranges(&plans(&state, 10)), [(vec![0, 3, 6], 9)]);
    let (state, _) = segments(1);
    assert_eq!(plans(&state, 10), [], "appended to");
    let mut plain = super::state();
    let topic = keeping(&mut plain, 1, TopicConfig::default());
    (1..=3).for_each(|at_ms| append_segment(&mut plain, place(topic, 0), at_ms));
    assert_eq!(plans(&plain, 10), [], "a topic that keeps everything");
}

#[test]
fn a_rewritten_segment_takes_the_place_of_its_sources() {
    let (mut state, partition) = segments(4);
    let plan = plans(&state, 10).remove(0);
    let swapped = swap(&mut state, &done(&plan, 4, 100, 0)).unwrap();
    assert_eq!(swapped.freed_bytes, 3 * FRAME_BYTES - 100);
    let known = state.partition(partition).unwrap();
    assert_eq!(known.size_bytes(), FRAME_BYTES + 100);
    let first = known.segments()[0];
    assert_eq!((known.segments().len(), first.generation), (2, 1));
    assert_eq!(
        (first.first_append_time_ms, first.last_append_time_ms),
        (1, 3),
        "of the oldest and the newest"
    );
    let dropped: Vec<_> = state.dropped_segments().collect();
    assert_eq!(dropped, plan.rewrite.sources, "their files go");
    assert!(state.names_segment(swapped.segment), "the new one");
    assert_eq!(plans(&state, 10), [], "nothing new");
    // Half of it new: all of it is looked at again.
    append_segment(&mut state, partition, 5);
    assert_eq!(ranges(&plans(&state, 10)), [(vec![0, 9], 12)]);
}

#[test]
fn what_is_mostly_old_is_not_rewritten_for_a_little_that_is_new() {
    let (mut state, partition) = segments(6);
    let plan = plans(&state, 10).remove(0);
    swap(&mut state, &done(&plan, 6, 4 * FRAME_BYTES, 0)).unwrap();
    append_segment(&mut state, partition, 7);
    assert_eq!(plans(&state, 10), [], "one of five");
    let wanted = BTreeSet::from([partition.topic]);
    let asked = state.plan_compactions(&wanted, 10, true);
    assert_eq!(
        ranges(&asked),
        [(vec![0, 15], 18)],
        "unless it is asked for"
    );
}

#[test]
fn what_changed_meanwhile_is_not_swapped() {
    let (state, partition) = segments(4);
    let plan = plans(&state, 10).remove(0);
    let compacted = done(&plan, 4, 100, 0);
    let refused = |change: fn(&mut State, PartitionRef)| {
        let (mut changed, _) = segments(4);
        change(&mut changed, partition);
        changed.swap_segments(&compacted).is_none()
    };
    assert!(!refused(|_, _| {}), "as it was");
    assert!(
        !refused(|state, partition| append_segment(state, partition, 9)),
        "longer"
    );
    let trimmed = |state: &mut State, partition| drop(trim(state, partition, 3));
    assert!(refused(trimmed), "trimmed");
    assert!(refused(|state, _| delete(state, "orders")), "deleted");
    let subscribed = |state: &mut State, partition: PartitionRef| {
        subscribe(state, "audit", partition.topic, 1);
    };
    assert!(refused(subscribed), "somebody reads it");
    let mut twice = state;
    swap(&mut twice, &compacted).unwrap();
    assert_eq!(twice.swap_segments(&compacted), None, "swapped before");
}

#[test]
fn what_a_subscription_has_not_settled_stays() {
    let (mut state, partition) = segments(4);
    subscribe(&mut state, "audit", partition.topic, 1);
    assert_eq!(plans(&state, 10), [], "nothing is settled");
    settle(&mut state, "audit", 0, 7);
    assert_eq!(ranges(&plans(&state, 10)), [(vec![0, 3], 6)], "up to there");
}

#[test]
fn tombstones_go_after_their_time_where_nothing_older_is_left() {
    let (mut state, partition) = segments(3);
    let first = plans(&state, 10).remove(0);
    assert_eq!(first.tombstones.lsn_max, Lsn::new(u64::MAX), "the oldest");
    assert_eq!(first.tombstones.before_ms, 10 - DAY_MS);
    swap(&mut state, &done(&first, 3, 100, 2)).unwrap();
    assert_eq!(plans(&state, 10), [], "too young");
    let later = DAY_MS + 100;
    let due = plans(&state, later);
    assert_eq!(ranges(&due), [(vec![0], 6)], "due");
    assert!(due[0].tombstones.lets_go(Lsn::new(2), 2), "both of them");
    assert_eq!(
        state.plan_compactions(&BTreeSet::new(), later, false),
        [],
        "not by a clock that cannot be trusted"
    );
    // So long that it is rewritten alone.
    swap(&mut state, &done(&due[0], 3, 1 << 40, 0)).unwrap();
    assert_eq!(plans(&state, later), [], "none is left");
    // What stands behind segments that were compacted before may have older records of its key there.
    append_segment(&mut state, partition, later);
    let plan = RewritePlan {
        sources: vec![SegmentRef::new(partition, Offset::new(6))],
        end: Offset::new(9),
    };
    let alone = CompactionPlan {
        rewrite: plan,
        ..due[0].clone()
    };
    swap(&mut state, &done(&alone, 9, 100, 1)).unwrap();
    let due = plans(&state, later + DAY_MS + 100);
    assert_eq!(
        due,
        [],
        "older ones go by entry 3, this tombstone came later"
    );
}

#[test]
fn the_swap_survives_a_checkpoint() {
    let (mut state, partition) = segments(4);
    let plan = plans(&state, 10).remove(0);
    swap(&mut state, &done(&plan, 4, 100, 2)).unwrap();
    let mut loaded = super::state();
    let rows = state.take_changed();
    rows.into_iter()
        .filter(|row| row.value.is_some())
        .for_each(|row| loaded.apply_row(row));
    let segments = |state: &State| state.partition(partition).unwrap().segments().to_vec();
    assert_eq!(segments(&loaded), segments(&state));
    let dropped = |state: &State| state.dropped_segments().collect::<Vec<_>>();
    assert_eq!(dropped(&loaded), dropped(&state));
}

#[test]
fn only_compacted_topics_are_compacted_on_request() {
    let (state, partition) = segments(3);
    let wish = |text: &str| CompactTopic {
        name: name(text),
        topic_id: None,
    };
    let asked = state.compact_topic(&wish("orders"));
    assert_eq!(asked, Ok((partition.topic, 3 * FRAME_BYTES)));
    assert_eq!(state.unsealed(partition.topic), [partition]);
    let mut state = state;
    create(&mut state, "plain", 1);
    let refused = state.compact_topic(&wish("plain"));
    assert!(
        matches!(refused, Err(CompactTopicRefusal::NotCompacted { .. })),
        "{refused:?}"
    );
    let refused = state.compact_topic(&wish("nothing"));
    assert!(
        matches!(refused, Err(CompactTopicRefusal::NotFound(_))),
        "{refused:?}"
    );
}
