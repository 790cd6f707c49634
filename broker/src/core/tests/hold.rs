//! What subscriptions keep from retention, for how long, and how much of it.

use super::retention::{FRAME_BYTES, append_segment, keeping, place, trims};
use super::*;

/// Subscriptions hold 10,000 ms or ten segments.
const HOLD_MS_MAX: u64 = 10_000;
const HOLD_BYTES_MAX: u64 = 10 * FRAME_BYTES;

fn state() -> State {
    State::new(CoreLimits {
        hold_ms_max: HOLD_MS_MAX,
        hold_bytes_max: HOLD_BYTES_MAX,
        ..CoreLimits::default()
    })
}

fn by_age() -> TopicConfig {
    TopicConfig {
        retention_age_ms: Some(1_000),
        ..TopicConfig::default()
    }
}

pub(super) fn wish(text: &str, topic: TopicId, partition_count: usize) -> CreateSubscription {
    CreateSubscription {
        name: text.parse().unwrap(),
        topic,
        config: SubscriptionConfig {
            mode: Mode::KeyShared,
            on_dead_letter: OnDeadLetter::Park,
            retry: RetryPolicy::default(),
            ack_deadline_ms: 30_000,
            filter: None,
            on_filter_error: OnFilterError::Deliver,
        },
        starts: vec![Offset::ZERO; partition_count],
        hash_key: HashKey::default(),
        dead_letter_topic: format!("{text}.dlq").parse().unwrap(),
    }
}

pub(super) fn subscribe(
    state: &mut State,
    text: &str,
    topic: TopicId,
    partition_count: usize,
) -> SubscriptionId {
    let created = state.create_subscription(&wish(text, topic, partition_count), 5);
    let CreateDecision::Create { id, rows, .. } = created.unwrap() else {
        panic!("it is new");
    };
    rows.into_iter().for_each(|row| state.apply_row(row));
    id
}

/// Settles what lies below an offset.
pub(super) fn settle(state: &mut State, text: &str, partition: u32, below: u64) {
    let wish = SeekSubscription {
        name: text.parse().unwrap(),
        positions: vec![(partition, Offset::new(below))],
    };
    let (_, _, decision) = state.seek_subscription(&wish, false).unwrap();
    decision
        .rows
        .into_iter()
        .for_each(|row| state.apply_row(row));
}

fn ends(expiry: &Expiry) -> Vec<(u64, u32, u64)> {
    let ends = expiry.hold_ends.iter();
    ends.map(|it| (it.subscription.get(), it.partition, it.below.get()))
        .collect()
}

#[test]
fn nothing_goes_that_any_subscription_has_not_settled() {
    let mut state = state();
    let topic = keeping(&mut state, 2, by_age());
    subscribe(&mut state, "slow", topic, 2);
    subscribe(&mut state, "fast", topic, 2);
    for partition in [0, 1] {
        (1..=3).for_each(|_| append_segment(&mut state, place(topic, partition), 100));
    }
    let at = |state: &State, now_ms| trims(&state.expire(now_ms, true, 10));
    assert_eq!(at(&state, 5_000), []);
    settle(&mut state, "fast", 0, 9);
    settle(&mut state, "slow", 1, 9);
    assert_eq!(at(&state, 5_000), [], "each of them counts");
    settle(&mut state, "slow", 0, 5);
    assert_eq!(at(&state, 5_000), [(0, 3)], "whole segments");
    settle(&mut state, "fast", 1, 6);
    assert_eq!(at(&state, 5_000), [(0, 3), (1, 6)]);
    assert_eq!(at(&state, 1_100), [], "nothing is old enough");
}

#[test]
fn past_the_longest_hold_a_subscription_has_to_let_go() {
    let mut state = state();
    let topic = keeping(&mut state, 1, by_age());
    let id = subscribe(&mut state, "slow", topic, 1);
    append_segment(&mut state, place(topic, 0), 100);
    append_segment(&mut state, place(topic, 0), 2_100);
    let warned = |state: &State, now_ms| {
        let expiry = state.expire(now_ms, true, 10);
        (
            expiry.near_limit.contains(&id),
            ends(&expiry),
            trims(&expiry),
        )
    };
    assert_eq!(state.hold_of(id, 1_100, true).bytes(), 0);
    assert_eq!(warned(&state, 9_099), (false, vec![], vec![]), "79 %");
    assert_eq!(warned(&state, 9_100), (true, vec![], vec![]), "80 %");
    let hold = state.hold_of(id, 9_100, true);
    assert_eq!((hold.percent, hold.bytes()), (80, 2 * FRAME_BYTES));
    assert_eq!(hold.partitions[0].past_ms, 8_000);
    assert_eq!(warned(&state, 11_100), (true, vec![], vec![]), "to the end");
    let over = (true, vec![(id.get(), 0, 3)], vec![]);
    assert_eq!(warned(&state, 11_101), over, "it lets go first");
    settle(&mut state, "slow", 0, 3);
    assert_eq!(warned(&state, 11_101), (true, vec![], vec![(0, 3)]));
    assert_eq!(
        state.expire(11_101, false, 10),
        Expiry::default(),
        "the clock may be wrong"
    );
}

#[test]
fn a_subscription_that_holds_too_much_lets_go_of_the_oldest_and_the_others_of_nothing() {
    let mut state = state();
    let config = TopicConfig {
        retention_bytes: Some(1),
        ..TopicConfig::default()
    };
    let topic = keeping(&mut state, 2, config);
    let slow = subscribe(&mut state, "slow", topic, 2);
    subscribe(&mut state, "other", topic, 2);
    for at_ms in 1..=7 {
        append_segment(&mut state, place(topic, 0), at_ms * 10);
        append_segment(&mut state, place(topic, 1), at_ms * 10 + 5);
    }
    settle(&mut state, "other", 0, 15);
    let expiry = state.expire(1_000, true, 10);
    assert_eq!(ends(&expiry), [(slow.get(), 0, 6), (slow.get(), 1, 3)]);
    assert_eq!(state.hold_of(slow, 1_000, true).percent, 100);
    settle(&mut state, "slow", 0, 3);
    let expiry = state.expire(1_000, true, 10);
    let still = [(slow.get(), 0, 6), (slow.get(), 1, 3)];
    assert_eq!(ends(&expiry), still, "two are still too much");
    assert_eq!(trims(&expiry), [(0, 3)]);
}

#[test]
fn dead_letters_go_only_by_bytes_and_only_when_they_are_settled() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    let id = subscribe(&mut state, "slow", topic, 1);
    let letters = state.subscription(id).unwrap().dead_letter_topic();
    let change = |age, bytes| UpdateTopic {
        name: name("slow.dlq"),
        expected: None,
        change: TopicConfigChange {
            retention_age_ms: SettingChange::Become(age),
            retention_bytes: SettingChange::Become(bytes),
            ..TopicConfigChange::default()
        },
    };
    assert!(matches!(
        state.update_topic(&change(Some(60_000), None)),
        Err(UpdateTopicRefusal::LettersByAge { .. })
    ));
    let (_, _, rows) = state
        .update_topic(&change(None, Some(2 * FRAME_BYTES)))
        .unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    append_segment(&mut state, place(letters, 0), 100);
    assert!(state.check_letters(letters).is_ok());
    (1..=3).for_each(|_| append_segment(&mut state, place(letters, 0), 100));
    assert!(state.check_letters(letters).is_err(), "it is full");
    assert_eq!(trims(&state.expire(1_000, true, 10)), []);
    let beyond = TrimTopic {
        name: name("slow.dlq"),
        topic_id: None,
        log_starts: vec![(0, Offset::new(4))],
    };
    assert!(matches!(
        state.trim_topic(&beyond),
        Err(TrimRefusal::DeadLetters { .. })
    ));
    let discarded = (0..4).map(|offset| DeadLetter {
        offset: Offset::new(offset),
        key: KeyHash(1),
        bytes: 1,
        append_time_ms: 100,
    });
    let (_, decision) = state.discard(id, 0, &discarded.collect::<Vec<_>>());
    decision
        .rows
        .into_iter()
        .for_each(|row| state.apply_row(row));
    assert_eq!(trims(&state.expire(1_000, true, 10)), [(0, 3)]);
    assert!(state.trim_topic(&beyond).is_ok());
}

#[test]
fn a_topic_that_subscriptions_need_is_not_deleted() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    subscribe(&mut state, "billing", topic, 1);
    for needed in ["orders", "billing.dlq"] {
        let Err(DeleteTopicRefusal::InUse(in_use)) = state.delete_topic(&name(needed), None) else {
            panic!("{needed} is needed");
        };
        assert_eq!(in_use.subscriptions, ["billing".parse().unwrap()]);
    }
    let letters = state.topic_named(&name("billing.dlq")).unwrap().id();
    subscribe(&mut state, "second", letters, 1);
    let delete = |text: &str, with_dead_letters| DeleteSubscription {
        name: text.parse().unwrap(),
        with_dead_letters,
    };
    assert!(matches!(
        state.delete_subscription(&delete("billing", true)),
        Err(DeleteSubscriptionRefusal::DeadLettersInUse(_))
    ));
    for (text, with_dead_letters) in [("second", false), ("billing", true)] {
        let deleted = state.delete_subscription(&delete(text, with_dead_letters));
        let rows = deleted.unwrap().decision.rows;
        rows.into_iter().for_each(|row| state.apply_row(row));
    }
    let left: Vec<_> = state.topic_names().map(|it| it.as_str()).collect();
    assert_eq!(left, ["orders", "second.dlq"]);
    assert_eq!(state.subscriptions().count(), 0);
    delete_topic_of(&mut state, "orders");
}

fn delete_topic_of(state: &mut State, text: &str) {
    let (_, rows) = state.delete_topic(&name(text), None).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    assert_eq!(state.topic_named(&name(text)).map(Topic::id), None);
}

#[test]
fn a_subscription_to_its_own_dead_letters_is_refused() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    subscribe(&mut state, "billing", topic, 1);
    let letters = state.topic_named(&name("billing.dlq")).unwrap().id();
    subscribe(&mut state, "again", letters, 1);
    let mut back = wish("back", letters, 1);
    back.dead_letter_topic = name("billing.dlq");
    assert!(matches!(
        state.create_subscription(&back, 5),
        Err(CreateSubscriptionRefusal::DeadLetterCycle { .. })
    ));
    let mut around = wish(
        "around",
        state.topic_named(&name("again.dlq")).unwrap().id(),
        1,
    );
    around.dead_letter_topic = name("orders");
    assert!(matches!(
        state.create_subscription(&around, 5),
        Err(CreateSubscriptionRefusal::DeadLetterCycle { .. })
    ));
    let by_age = keeping_letters_by_age(&mut state);
    assert!(matches!(
        state.create_subscription(&by_age, 5),
        Err(CreateSubscriptionRefusal::DeadLetterAge { .. })
    ));
}

fn keeping_letters_by_age(state: &mut State) -> CreateSubscription {
    let wish_topic = CreateTopic {
        name: name("late.dlq"),
        partition_count: 1,
        config: by_age(),
    };
    let (_, rows) = state.create_topic(&wish_topic, 5).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    wish("late", state.topic_named(&name("orders")).unwrap().id(), 1)
}
