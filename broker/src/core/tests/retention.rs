//! What goes, what stays, and in which order.

use super::*;

pub(super) const FRAME_BYTES: u64 = 168;

/// A topic with these settings.
pub(super) fn keeping(state: &mut State, partition_count: u32, config: TopicConfig) -> TopicId {
    let wish = CreateTopic {
        name: name("orders"),
        partition_count,
        config,
    };
    let (id, rows) = state.create_topic(&wish, 5).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    id
}

pub(super) fn place(topic: TopicId, partition: u32) -> PartitionRef {
    PartitionRef { topic, partition }
}

/// Appends a batch of three records to a segment of its own.
pub(super) fn append_segment(state: &mut State, partition: PartitionRef, at_ms: i64) {
    let rows = state.roll(partition).unwrap_or_default();
    rows.into_iter().for_each(|row| state.apply_row(row));
    append_at(state, partition, at_ms);
}

fn append_at(state: &mut State, partition: PartitionRef, at_ms: i64) {
    let base = state.partition(partition).unwrap().active().unwrap().base;
    state.segment_ready(partition, base, 1 << 20);
    let lsn = Lsn::new(u64::try_from(at_ms).unwrap());
    let request = request(partition, None);
    let decided = match state.append(&request, Placing::Inline, lsn, at_ms) {
        Err(AppendRefusal::OnlyLetters { .. }) => state.append_letters(&request, lsn, at_ms),
        decided => decided,
    };
    let AppendDecision::Append(line) = decided.unwrap() else {
        panic!("there is room")
    };
    assert_eq!(
        line.frame.padded_bytes(),
        FRAME_BYTES,
        "the tests count with it"
    );
    state.apply_append(&line);
}

pub(super) fn trims(expiry: &Expiry) -> Vec<(u32, u64)> {
    let trims = expiry.trims.iter();
    trims
        .map(|(place, log_start)| (place.partition, log_start.get()))
        .collect()
}

#[test]
fn a_trim_is_exact_and_drops_only_whole_segments() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    let partition = place(topic, 0);
    (1..=3).for_each(|at_ms| append_segment(&mut state, partition, at_ms));
    let trimmed = trim(&mut state, partition, 4).unwrap();
    assert_eq!(trimmed.dropped, [Offset::new(0)]);
    assert_eq!(trimmed.dropped_bytes, FRAME_BYTES);
    let known = state.partition(partition).unwrap();
    assert_eq!((known.log_start().get(), known.end().get()), (4, 9));
    assert_eq!(known.size_bytes(), 2 * FRAME_BYTES, "on disk");
    assert_eq!(trim(&mut state, partition, 4), None, "it starts there");
    assert_eq!(trim(&mut state, partition, 2), None, "it never moves back");
    assert_eq!(state.dropped_segments().count(), 1);
}

#[test]
fn a_wish_to_trim_moves_what_lies_above_the_start_up_to_the_end() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    let partition = place(topic, 0);
    append_segment(&mut state, partition, 1);
    let moved = |state: &State, log_start| {
        let wish = TrimTopic {
            name: name("orders"),
            topic_id: None,
            log_starts: vec![(0, Offset::new(log_start))],
        };
        let (_, moved) = state.trim_topic(&wish).unwrap();
        let ranges = moved.into_iter().map(|(_, range)| range);
        ranges
            .map(|it| (it.start.get(), it.end.get()))
            .collect::<Vec<_>>()
    };
    assert_eq!(moved(&state, 0), [], "it starts there");
    assert_eq!(moved(&state, 3), [(0, 3)], "all of it");
    trim(&mut state, partition, 2).unwrap();
    assert_eq!(moved(&state, 1), [], "it starts behind that");
    assert_eq!(moved(&state, 3), [(2, 3)]);
}

#[test]
fn trimmed_segments_are_known_until_their_files_are_gone() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    let partition = place(topic, 0);
    (1..=3).for_each(|at_ms| append_segment(&mut state, partition, at_ms));
    trim(&mut state, partition, 6).unwrap();
    let dropped: Vec<_> = state.dropped_segments().collect();
    assert_eq!(dropped.len(), 2);
    let rows = state.forget_dropped_segments(&dropped[..1]);
    rows.into_iter().for_each(|row| state.apply_row(row));
    let left: Vec<_> = state.dropped_segments().collect();
    assert_eq!(left, dropped[1..]);
    assert_eq!(state.forget_dropped_segments(&dropped[..1]), []);
}

#[test]
fn trimming_everything_leaves_no_segment_and_the_next_append_begins_one() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    let partition = place(topic, 0);
    append_segment(&mut state, partition, 1);
    trim(&mut state, partition, 3).unwrap();
    let known = state.partition(partition).unwrap();
    assert!(known.segments().is_empty() && known.active().is_none());
    assert_eq!(known.last_append_time_ms(), Some(1), "time never falls");
    append_segment(&mut state, partition, 2);
    let known = state.partition(partition).unwrap();
    assert_eq!(known.segments().first().unwrap().base.get(), 3);
    assert_eq!(known.end().get(), 6);
}

#[test]
fn a_trim_past_the_end_or_of_another_life_is_refused() {
    let mut state = state();
    let topic = keeping(&mut state, 1, TopicConfig::default());
    append_segment(&mut state, place(topic, 0), 1);
    let wish = |partition, offset, topic_id| TrimTopic {
        name: name("orders"),
        topic_id,
        log_starts: vec![(partition, Offset::new(offset))],
    };
    assert!(matches!(
        state.trim_topic(&wish(0, 4, None)),
        Err(TrimRefusal::OutOfRange { partition: 0, .. })
    ));
    assert!(matches!(
        state.trim_topic(&wish(1, 0, None)),
        Err(TrimRefusal::PartitionNotFound { partition: 1, .. })
    ));
    assert!(matches!(
        state.trim_topic(&wish(0, 1, Some(TopicId::new(9)))),
        Err(TrimRefusal::NotFound { .. })
    ));
    assert_eq!(
        state.trim_topic(&wish(0, 0, Some(topic))),
        Ok((topic, vec![]))
    );
}

#[test]
fn segments_go_when_their_last_batch_is_older_than_the_age_and_not_before() {
    let mut state = state();
    let config = TopicConfig {
        retention_age_ms: Some(1000),
        ..TopicConfig::default()
    };
    let topic = keeping(&mut state, 2, config);
    append_segment(&mut state, place(topic, 0), 100);
    append_at(&mut state, place(topic, 0), 200);
    append_segment(&mut state, place(topic, 0), 300);
    append_segment(&mut state, place(topic, 1), 250);
    let at = |now_ms| trims(&state.expire(now_ms, true, 10));
    assert_eq!(at(1200), [], "the second batch is as old as the age");
    assert_eq!(at(1201), [(0, 6)]);
    assert_eq!(at(1251), [(0, 6), (1, 3)], "an active segment too");
    assert_eq!(at(1301), [(0, 9), (1, 3)]);
    assert_eq!(
        trims(&state.expire(9000, false, 10)),
        [],
        "a clock that jumped"
    );
    assert_eq!(trims(&state.expire(9000, true, 1)), [(0, 9)], "bounded");
}

#[test]
fn a_trickle_does_not_hold_what_was_first_in_its_segment() {
    let mut state = state();
    let config = TopicConfig {
        retention_age_ms: Some(80_000),
        ..TopicConfig::default()
    };
    let partition = place(keeping(&mut state, 1, config), 0);
    append_segment(&mut state, partition, 100);
    append_at(&mut state, partition, 9000);
    assert_eq!(state.expire(10_099, true, 10).seals, []);
    assert_eq!(state.expire(10_100, true, 10).seals, [partition]);
    let row = state.seal(partition).unwrap();
    state.apply_row(row);
    assert_eq!(state.expire(20_000, true, 10).seals, [], "it is left");
    assert_eq!(state.seal(partition), None, "nothing is appended to");
    let known = state.partition(partition).unwrap();
    assert_eq!((known.segments().len(), known.active()), (1, None));
    append_segment(&mut state, partition, 20_000);
    let known = state.partition(partition).unwrap();
    assert_eq!(known.segments().len(), 2, "the next append begins another");
}

#[test]
fn the_oldest_segments_of_the_topic_go_while_its_bytes_remain() {
    let mut state = state();
    let config = TopicConfig {
        retention_bytes: Some(2 * FRAME_BYTES),
        ..TopicConfig::default()
    };
    let topic = keeping(&mut state, 2, config);
    append_segment(&mut state, place(topic, 0), 100);
    append_segment(&mut state, place(topic, 1), 200);
    assert_eq!(state.expire(900, true, 10), Expiry::default());
    append_segment(&mut state, place(topic, 1), 300);
    append_segment(&mut state, place(topic, 1), 400);
    assert_eq!(trims(&state.expire(900, false, 10)), [(0, 3), (1, 3)]);
    append_at(&mut state, place(topic, 1), 500);
    assert_eq!(
        trims(&state.expire(900, true, 10)),
        [(0, 3), (1, 6)],
        "two batches of one segment are what remains"
    );
}

#[test]
fn what_one_entry_cannot_drop_goes_with_the_next() {
    let mut state = state();
    let partition = place(keeping(&mut state, 1, TopicConfig::default()), 0);
    (1..=5).for_each(|at_ms| append_segment(&mut state, partition, at_ms));
    let first = state.trim(partition, Offset::new(12), 3).unwrap();
    assert_eq!(first.dropped.len(), 3);
    first.rows.into_iter().for_each(|row| state.apply_row(row));
    assert_eq!(state.partition(partition).unwrap().log_start().get(), 12);
    let expiry = state.expire(0, true, 10);
    assert_eq!(trims(&expiry), [(0, 12)]);
    let rest = trim(&mut state, partition, 12).unwrap();
    assert_eq!(rest.dropped, [Offset::new(9)]);
    assert_eq!(state.expire(0, true, 10), Expiry::default());
}

#[test]
fn a_topic_is_updated_only_as_it_was_seen() {
    let mut state = state();
    let topic_id = keeping(&mut state, 1, TopicConfig::default());
    update(&mut state, "orders", 99);
    let topic = state.topic(topic_id).unwrap();
    assert_eq!(topic.config().retention_bytes, Some(100));
    assert_eq!(topic.revision(), 1);
    let wish = |revision, bytes| UpdateTopic {
        name: name("orders"),
        expected: Some(TopicRevision { topic_id, revision }),
        change: TopicConfigChange {
            retention_bytes: SettingChange::Become(bytes),
            ..TopicConfigChange::default()
        },
    };
    assert!(matches!(
        state.update_topic(&wish(0, None)),
        Err(UpdateTopicRefusal::Changed { .. })
    ));
    assert!(matches!(
        state.update_topic(&wish(1, Some(0))),
        Err(UpdateTopicRefusal::Config(TopicConfigError::RetentionBytes))
    ));
    let (_, config, rows) = state.update_topic(&wish(1, Some(100))).unwrap();
    assert_eq!(config.retention_bytes, Some(100));
    assert!(rows.is_empty(), "nothing would change");
    let (_, _, rows) = state.update_topic(&wish(1, None)).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    let topic = state.topic(topic_id).unwrap();
    assert_eq!(
        (topic.config(), topic.revision()),
        (TopicConfig::default(), 2)
    );
}
