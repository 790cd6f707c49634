//! What a topic of dead letters takes, and what it lets go of to take more.

use towpath_storage::OffsetRange;

use super::hold::{subscribe, wish};
use super::retention::{FRAME_BYTES, append_segment, keeping, place, trims};
use super::*;

/// A subscription to a topic of so many partitions, whose dead letters take at most so many bytes.
fn bounded(partition_count: u32, bytes_max: u64) -> (State, SubscriptionId, TopicId) {
    let mut state = state();
    let topic = keeping(&mut state, partition_count, TopicConfig::default());
    let id = subscribe(&mut state, "slow", topic, partition_count as usize);
    let update = UpdateTopic {
        name: name("slow.dlq"),
        expected: None,
        change: TopicConfigChange {
            retention_bytes: SettingChange::Become(Some(bytes_max)),
            ..TopicConfigChange::default()
        },
    };
    let (letters, _, rows) = state.update_topic(&update).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    (state, id, letters)
}

fn discard(state: &mut State, id: SubscriptionId, partition: u32, offsets: std::ops::Range<u64>) {
    let letters = offsets.map(|offset| DeadLetter {
        offset: Offset::new(offset),
        key: KeyHash(1),
        bytes: 1,
        append_time_ms: 100,
    });
    let (_, decision) = state.discard(id, partition, &letters.collect::<Vec<_>>());
    let rows = decision.rows.into_iter();
    rows.for_each(|row| state.apply_row(row));
}

/// Lets go of what there is to let go of.
fn expire(state: &mut State) -> Vec<(u32, u64)> {
    let expiry = state.expire(1_000, true, 10);
    for (partition, log_start) in &expiry.trims {
        let trim = state.trim(*partition, *log_start, 100).unwrap();
        trim.rows.into_iter().for_each(|row| state.apply_row(row));
    }
    trims(&expiry)
}

#[test]
fn a_topic_of_dead_letters_takes_nothing_else_while_its_subscription_lives() {
    let mut state = state();
    let orders = create(&mut state, "orders", 1);
    let letters = place(create(&mut state, "slow.dlq", 1), 0);
    append(&mut state, letters, 1);
    let decide = |state: &State, sequence| {
        let request = request(letters, sequence);
        state.append(&request, Placing::Inline, Lsn::new(2), 5)
    };
    let Ok(AppendDecision::Append(line)) = decide(&state, Some(0)) else {
        panic!("an ordinary topic");
    };
    state.apply_append(&line);
    let id = subscribe(&mut state, "slow", orders, 1);
    let refused = Err(AppendRefusal::OnlyLetters {
        subscription: "slow".parse().unwrap(),
    });
    assert_eq!(
        decide(&state, None),
        refused,
        "a publish, or a redrive to it"
    );
    assert_eq!(decide(&state, Some(1)), refused, "a producer");
    assert!(
        matches!(decide(&state, Some(0)), Ok(AppendDecision::Repeated(_))),
        "it was appended when it could be"
    );
    let known = state.subscription(id).unwrap();
    assert_eq!(
        known.settled_letters_end(0).get(),
        6,
        "none of them is its own"
    );
    let all = OffsetRange {
        start: Offset::ZERO,
        end: Offset::new(6),
    };
    assert_eq!(known.open_dead_letters(0, all, 10).letters, []);
    let letter = state.append_letters(&request(letters, None), Lsn::new(3), 5);
    assert!(
        matches!(letter, Ok(AppendDecision::Append(_))),
        "{letter:?}"
    );
    let deletion = DeleteSubscription {
        name: "slow".parse().unwrap(),
        with_dead_letters: false,
    };
    let deleted = state.delete_subscription(&deletion).unwrap();
    let rows = deleted.decision.rows.into_iter();
    rows.for_each(|row| state.apply_row(row));
    assert!(
        matches!(decide(&state, Some(1)), Ok(AppendDecision::Append(_))),
        "it is an ordinary topic again"
    );
}

#[test]
fn a_full_topic_of_dead_letters_lets_go_of_settled_ones() {
    let (mut state, id, letters) = bounded(1, 4 * FRAME_BYTES);
    (1..=4).for_each(|at_ms| append_segment(&mut state, place(letters, 0), at_ms));
    assert!(state.check_letters(letters).is_err(), "it is full");
    assert_eq!(expire(&mut state), [], "nothing is settled");
    discard(&mut state, id, 0, 0..5);
    assert_eq!(
        expire(&mut state),
        [(0, 3)],
        "the second is settled in part"
    );
    assert!(state.check_letters(letters).is_ok(), "there is room");
    discard(&mut state, id, 0, 5..12);
    assert_eq!(expire(&mut state), [(0, 6)], "not more than it takes");
}

#[test]
fn dead_letters_that_nobody_has_settled_are_not_trimmed() {
    let (mut state, id, letters) = bounded(1, 100 * FRAME_BYTES);
    (1..=2).for_each(|at_ms| append_segment(&mut state, place(letters, 0), at_ms));
    let trimmed = |state: &State, log_start| {
        let wish = TrimTopic {
            name: name("slow.dlq"),
            topic_id: None,
            log_starts: vec![(0, Offset::new(log_start))],
        };
        state.trim_topic(&wish)
    };
    let refusal = |settled_end| TrimRefusal::DeadLetters {
        name: name("slow.dlq"),
        partition: 0,
        subscription: "slow".parse().unwrap(),
        settled_end: Offset::new(settled_end),
    };
    assert_eq!(trimmed(&state, 1), Err(refusal(0)), "none is settled");
    discard(&mut state, id, 0, 0..4);
    assert_eq!(trimmed(&state, 5), Err(refusal(4)));
    assert_eq!(trimmed(&state, 6), Err(refusal(4)), "all of them");
    let (_, moved) = trimmed(&state, 4).unwrap();
    assert_eq!(moved.len(), 1, "what is settled may go");
}

#[test]
fn the_last_segment_of_settled_dead_letters_goes_when_there_is_no_room_without_it() {
    let (mut state, id, letters) = bounded(2, 5 * FRAME_BYTES);
    for (partition, at_ms) in [(1, 1), (0, 2), (0, 3), (0, 4)] {
        append_segment(&mut state, place(letters, partition), at_ms);
    }
    discard(&mut state, id, 1, 0..3);
    assert_eq!(expire(&mut state), [], "it is not full");
    append_segment(&mut state, place(letters, 0), 5);
    assert_eq!(expire(&mut state), [(1, 3)], "it is");
    let (mut state, id, letters) = bounded(1, FRAME_BYTES);
    append_segment(&mut state, place(letters, 0), 1);
    assert_eq!(expire(&mut state), [], "nothing is settled");
    discard(&mut state, id, 0, 0..3);
    assert_eq!(expire(&mut state), [(0, 3)]);
    assert_eq!(expire(&mut state), [], "once");
    assert!(state.check_letters(letters).is_ok());
    append_segment(&mut state, place(letters, 0), 2);
    assert_eq!(expire(&mut state), [], "a new one, which is not settled");
}

#[test]
fn dead_letters_that_are_not_settled_keep_those_of_no_other_partition() {
    let (mut state, id, letters) = bounded(2, 4 * FRAME_BYTES);
    for (partition, at_ms) in [(0, 1), (0, 2), (1, 3), (1, 4)] {
        append_segment(&mut state, place(letters, partition), at_ms);
    }
    discard(&mut state, id, 1, 0..6);
    assert_eq!(expire(&mut state), [(1, 6)], "not the oldest");
    assert!(state.check_letters(letters).is_ok());
}

#[test]
fn a_subscription_to_dead_letters_holds_settled_ones() {
    let (mut state, id, letters) = bounded(1, 2 * FRAME_BYTES);
    let watcher = wish("watcher", letters, 1);
    let CreateDecision::Create { rows, .. } = state.create_subscription(&watcher, 5).unwrap()
    else {
        panic!("it is new");
    };
    rows.into_iter().for_each(|row| state.apply_row(row));
    (1..=2).for_each(|at_ms| append_segment(&mut state, place(letters, 0), at_ms));
    discard(&mut state, id, 0, 0..6);
    assert_eq!(expire(&mut state), [], "they are not settled for everyone");
}
