//! The rules of the core as tables, and the state against a naive model under random commands.

use std::collections::BTreeMap;

use proptest::prelude::*;
use towpath_storage::{
    ActiveSegment, DirectoryLine, Lsn, Offset, PlacementError, Placing, ProducerId, ProducerStamp,
    Row, StateMachine,
};

use super::*;

mod compaction;
mod hold;
mod letters;
mod retention;

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn create(state: &mut State, text: &str, partition_count: u32) -> TopicId {
    let wish = CreateTopic {
        name: name(text),
        partition_count,
        config: TopicConfig::default(),
    };
    let (id, rows) = state.create_topic(&wish, 5).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    id
}

fn delete(state: &mut State, text: &str) {
    let (_, rows) = state.delete_topic(&name(text), None).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
}

fn trim(state: &mut State, partition: PartitionRef, log_start: u64) -> Option<Trim> {
    let trim = state.trim(partition, Offset::new(log_start), 100)?;
    trim.rows
        .iter()
        .for_each(|row| state.apply_row(row.clone()));
    Some(trim)
}

fn update(state: &mut State, text: &str, bytes: u64) {
    let wish = UpdateTopic {
        name: name(text),
        expected: None,
        change: TopicConfigChange {
            retention_bytes: SettingChange::Become(Some(bytes + 1)),
            ..TopicConfigChange::default()
        },
    };
    let (_, _, rows) = state.update_topic(&wish).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
}

fn request(partition: PartitionRef, sequence: Option<u64>) -> AppendRequest {
    let id = ProducerId::new([1; 16]);
    AppendRequest {
        partition,
        producer: sequence.map(|sequence| ProducerStamp {
            id,
            epoch: 0,
            sequence,
        }),
        payload_bytes: 100,
        payload_crc: 7,
        codec: None,
        record_count: 3,
        expected: None,
    }
}

/// Appends after making the room that the decision asks for, as the sequencer does.
fn append(state: &mut State, partition: PartitionRef, lsn: u64) -> DirectoryLine {
    loop {
        let decision = state.append(&request(partition, None), Placing::Inline, Lsn::new(lsn), 5);
        match decision.unwrap() {
            AppendDecision::Append(line) => {
                state.apply_append(&line);
                return line;
            }
            AppendDecision::Wait(PlacementError::NeedsSegment) => {
                let rows = state.roll(partition).unwrap();
                rows.into_iter().for_each(|row| state.apply_row(row));
            }
            AppendDecision::Wait(PlacementError::NeedsSpace { allocated_end }) => {
                let base = state.partition(partition).unwrap().active().unwrap().base;
                assert!(
                    state.segment_ready(partition, base, allocated_end),
                    "still active"
                );
            }
            AppendDecision::Repeated(outcome) => panic!("nothing was repeated: {outcome:?}"),
        }
    }
}

fn spend(state: &mut State, partition: PartitionRef, stamp: ProducerStamp, now_ms: i64) {
    match state.spend_sequence(partition, stamp, 3, now_ms).unwrap() {
        SpendDecision::Spend(row) => state.apply_row(row),
        SpendDecision::Repeated(outcome) => panic!("it is the next one: {outcome:?}"),
    }
}

fn state() -> State {
    State::new(CoreLimits {
        topic_count_max: 3,
        partition_count_max: 20,
        ..CoreLimits::default()
    })
}

#[test]
fn a_topic_is_created_once_and_within_the_limits() {
    let mut state = state();
    let id = create(&mut state, "orders", 2);
    let refusal = |text: &str, partition_count| {
        state
            .create_topic(
                &CreateTopic {
                    name: name(text),
                    partition_count,
                    config: TopicConfig::default(),
                },
                5,
            )
            .unwrap_err()
    };
    assert_eq!(
        refusal("orders", 2),
        CreateTopicRefusal::Exists {
            name: name("orders"),
            topic_id: id
        }
    );
    assert_eq!(
        refusal("a", 0),
        CreateTopicRefusal::PartitionCount { partition_count: 0 }
    );
    let too_many = CreateTopicRefusal::PartitionCount {
        partition_count: 10_001,
    };
    assert_eq!(refusal("a", 10_001), too_many);
    assert_eq!(
        refusal("a", 19),
        CreateTopicRefusal::TooManyPartitions {
            count: 2,
            count_max: 20
        }
    );
    create(&mut state, "a", 1);
    create(&mut state, "b", 1);
    let wish = CreateTopic {
        name: name("c"),
        partition_count: 1,
        config: TopicConfig::default(),
    };
    assert_eq!(
        state.create_topic(&wish, 5).unwrap_err(),
        CreateTopicRefusal::TooManyTopics { count: 3 }
    );
}

#[test]
fn a_topic_that_is_created_again_is_another_one() {
    let mut state = state();
    let first = create(&mut state, "orders", 1);
    append(
        &mut state,
        PartitionRef {
            topic: first,
            partition: 0,
        },
        1,
    );
    delete(&mut state, "orders");
    let second = create(&mut state, "orders", 1);
    assert_ne!(first, second, "ids are not used again");
    let partition = PartitionRef {
        topic: second,
        partition: 0,
    };
    assert_eq!(
        state.partition(partition).unwrap().end().get(),
        0,
        "it is empty"
    );
    assert_eq!(
        state.dropped().map(|(id, _)| id).collect::<Vec<_>>(),
        [first]
    );
    let stale = request(
        PartitionRef {
            topic: first,
            partition: 0,
        },
        None,
    );
    assert_eq!(
        state.append(&stale, Placing::Inline, Lsn::new(2), 5),
        Err(AppendRefusal::TopicNotFound { topic: first })
    );
    let refusal = state
        .delete_topic(&name("orders"), Some(first))
        .unwrap_err();
    assert_eq!(
        refusal,
        DeleteTopicRefusal::NotFound(TopicNotFound {
            name: name("orders")
        })
    );
}

#[test]
fn a_batch_needs_a_partition_a_segment_and_room() {
    let mut state = state();
    let topic = create(&mut state, "orders", 1);
    let partition = PartitionRef {
        topic,
        partition: 0,
    };
    let decide = |state: &State, partition: u32| {
        let request = request(PartitionRef { topic, partition }, None);
        state.append(&request, Placing::Inline, Lsn::new(1), 5)
    };
    assert_eq!(
        decide(&state, 1),
        Err(AppendRefusal::PartitionNotFound {
            partition: 1,
            partition_count: 1
        })
    );
    assert_eq!(
        decide(&state, 0),
        Ok(AppendDecision::Wait(PlacementError::NeedsSegment))
    );
    let rows = state.roll(partition).unwrap();
    rows.into_iter().for_each(|row| state.apply_row(row));
    assert_eq!(state.roll(partition), None, "a blank segment is there");
    let needs = PlacementError::NeedsSpace {
        allocated_end: 65_536,
    };
    assert_eq!(decide(&state, 0), Ok(AppendDecision::Wait(needs)));
    append(&mut state, partition, 1);
    state.set_space_low(true);
    assert_eq!(decide(&state, 0), Err(AppendRefusal::StorageFull));
    state.set_space_low(false);
    assert!(
        matches!(decide(&state, 0), Ok(AppendDecision::Append(_))),
        "room again"
    );
}

#[test]
fn a_batch_that_expects_an_offset_gets_it_or_is_refused() {
    let mut state = state();
    let partition = PartitionRef {
        topic: create(&mut state, "orders", 1),
        partition: 0,
    };
    append(&mut state, partition, 1);
    let decide = |expected: u64| {
        let request = AppendRequest {
            expected: Some(Offset::new(expected)),
            ..request(partition, None)
        };
        state.append(&request, Placing::Inline, Lsn::new(2), 5)
    };
    for expected in [0, 2, 4] {
        let refusal = AppendRefusal::ExpectedOffsetMismatch {
            expected: Offset::new(expected),
            actual: Offset::new(3),
        };
        assert_eq!(decide(expected), Err(refusal), "{expected}");
    }
    assert!(
        matches!(decide(3), Ok(AppendDecision::Append(_))),
        "the end"
    );
}

#[test]
fn a_repeated_batch_is_answered_as_it_was_even_on_a_full_disk() {
    let mut state = state();
    let partition = PartitionRef {
        topic: create(&mut state, "orders", 1),
        partition: 0,
    };
    append(&mut state, partition, 1);
    let first = request(partition, Some(0));
    let decided = state
        .append(&first, Placing::Inline, Lsn::new(2), 6)
        .unwrap();
    let AppendDecision::Append(line) = decided else {
        panic!("{decided:?}")
    };
    state.apply_append(&line);
    state.set_space_low(true);
    let again = state
        .append(&first, Placing::Inline, Lsn::new(3), 7)
        .unwrap();
    let AppendDecision::Repeated(Outcome::Accepted(batch)) = again else {
        panic!("{again:?}")
    };
    assert_eq!(
        (
            batch.base_offset.get(),
            batch.lsn.get(),
            batch.append_time_ms
        ),
        (3, 2, 6)
    );
}

#[test]
fn a_spent_sequence_is_remembered_and_lets_the_producer_go_on() {
    let mut state = state();
    let partition = PartitionRef {
        topic: create(&mut state, "orders", 1),
        partition: 0,
    };
    let stamp = request(partition, Some(0)).producer.unwrap();
    spend(&mut state, partition, stamp, 5);
    let spent = SpendDecision::Repeated(Outcome::Spent { reason: 3 });
    assert_eq!(
        state.spend_sequence(partition, stamp, 3, 5),
        Ok(spent),
        "spent already"
    );
    let again = state.append(
        &request(partition, Some(0)),
        Placing::Inline,
        Lsn::new(2),
        5,
    );
    assert_eq!(
        again,
        Ok(AppendDecision::Repeated(Outcome::Spent { reason: 3 }))
    );
    let next = state.append(
        &request(partition, Some(1)),
        Placing::Inline,
        Lsn::new(2),
        5,
    );
    assert_eq!(next, Ok(AppendDecision::Wait(PlacementError::NeedsSegment)));
    let later = ProducerStamp {
        sequence: 5,
        ..stamp
    };
    assert!(
        state.spend_sequence(partition, later, 3, 5).is_err(),
        "a gap"
    );
}

#[test]
fn forgetting_removes_the_rows_of_idle_producers() {
    let mut state = state();
    let partition = PartitionRef {
        topic: create(&mut state, "orders", 1),
        partition: 0,
    };
    let stamp = request(partition, Some(0)).producer.unwrap();
    spend(&mut state, partition, stamp, 1000);
    let day = CoreLimits::default().producer_idle_ms_max;
    assert_eq!(state.forget_producers(1000 + day, 0, 9), []);
    let restarted = state.forget_producers(400 * day, 399 * day + 1, 9);
    assert_eq!(restarted, [], "the broker was down, or its clock jumped");
    let rows = state.forget_producers(1001 + day, 1001, 9);
    rows.into_iter().for_each(|row| state.apply_row(row));
    let life = ProducerLife {
        id: stamp.id,
        epoch: 0,
    };
    assert_eq!(state.last_sequences(life, partition.topic).count(), 0);
}

#[test]
fn producers_take_what_their_rows_take_and_more_than_the_limit_is_too_much() {
    let mut state = state();
    let partition = PartitionRef {
        topic: create(&mut state, "orders", 1),
        partition: 0,
    };
    let base = append(&mut state, partition, 1).place.segment.base;
    state.segment_ready(partition, base, 1 << 20);
    for sequence in 0..200 {
        let request = request(partition, Some(sequence));
        let lsn = Lsn::new(sequence + 2);
        match state.append(&request, Placing::Inline, lsn, 5).unwrap() {
            AppendDecision::Append(line) => state.apply_append(&line),
            other => panic!("there is room: {other:?}"),
        }
    }
    let rows = state.take_changed().into_iter();
    let again = rebuilt(&rows.map(|row| (row.key.clone(), row)).collect());
    let taken = state.producers.bytes_of_unnamed();
    assert!(taken > 0, "it is known");
    assert_eq!(again.producers.bytes_of_unnamed(), taken);
    state.limits.named_producer_rows_bytes_max = 0;
    for (limit, is_surplus) in [(taken + 1, false), (taken, false), (taken - 1, true)] {
        state.limits.producer_rows_bytes_max = limit;
        assert_eq!(state.has_surplus_producers(), is_surplus, "limit={limit}");
    }
}

/// A state that is rebuilt from the rows that another wrote down.
fn rebuilt(rows: &BTreeMap<towpath_storage::RowKey, Row>) -> State {
    let mut state = state();
    rows.values().for_each(|row| state.apply_row(row.clone()));
    state.checkpoint_loaded();
    state
}

/// What can be said of a state without looking at what is not durable.
fn digest(state: &State) -> Vec<String> {
    let durable = |segment: Option<&ActiveSegment>| {
        segment.map(|segment| (segment.base, segment.inline_position()))
    };
    let partitions = state.topics().flat_map(|topic| {
        (0..)
            .zip(topic.partitions())
            .map(move |(number, partition)| {
                let bounds = (
                    partition.log_start(),
                    partition.end(),
                    partition.size_bytes(),
                );
                let segments = (partition.segments(), durable(partition.active()));
                format!("{} {number} {bounds:?} {segments:?}", topic.name())
            })
    });
    let dropped = state
        .dropped()
        .map(|(id, name)| format!("dropped {id} {name}"));
    let producers = state.topics().flat_map(|topic| {
        let life = ProducerLife {
            id: ProducerId::new([1; 16]),
            epoch: 0,
        };
        let last = state.last_sequences(life, topic.id());
        last.map(move |(partition, sequence)| format!("{} {partition} {sequence}", topic.name()))
    });
    let next = format!("next {}", state.next_topic);
    let settings = state.topics().map(|topic| {
        let (name, config, revision) = (topic.name(), topic.config(), topic.revision());
        format!("{name} {config:?} {revision}")
    });
    let trimmed = state
        .dropped_segments()
        .map(|segment| format!("dropped {segment}"));
    partitions
        .chain(settings)
        .chain(trimmed)
        .chain(dropped)
        .chain(producers)
        .chain([next])
        .collect()
}

fn step(state: &mut State, command: u8, sequences: &mut BTreeMap<PartitionRef, u64>, lsn: u64) {
    let texts = ["a", "b"];
    let text = texts[usize::from(command % 2)];
    let topic = state.topic_named(&name(text)).map(Topic::id);
    match (command / 2 % 16, topic) {
        (0, None) => drop(create(state, text, 2)),
        (1, Some(_)) => delete(state, text),
        (2, Some(topic)) => {
            let partition = PartitionRef {
                topic,
                partition: 1,
            };
            let rows = state.roll(partition).unwrap_or_default();
            rows.into_iter().for_each(|row| state.apply_row(row));
        }
        (3..6, Some(topic)) => {
            let partition = PartitionRef {
                topic,
                partition: u32::from(command / 32 % 2),
            };
            let known = state.partition(partition).unwrap();
            let range = known.end().since(known.log_start());
            let log_start = known.log_start().get() + range * u64::from(command / 64) / 3;
            trim(state, partition, log_start);
        }
        (6, _) => {
            let gone: Vec<_> = state.dropped_segments().step_by(2).collect();
            let rows = state.forget_dropped_segments(&gone);
            rows.into_iter().for_each(|row| state.apply_row(row));
        }
        (7, Some(_)) => update(state, text, u64::from(command)),
        (_, Some(topic)) => {
            let partition = PartitionRef {
                topic,
                partition: u32::from(command / 32 % 2),
            };
            append(state, partition, lsn);
            let next = sequences.entry(partition).or_default();
            let decided = state.append(
                &request(partition, Some(*next)),
                Placing::Inline,
                Lsn::new(lsn),
                5,
            );
            if let AppendDecision::Append(line) = decided.unwrap() {
                state.apply_append(&line);
                *next += 1;
            }
        }
        (_, None) => {}
    }
}

proptest! {
    /// The rows that changed, laid over the rows before, always are the whole state.
    #[test]
    fn changed_rows_add_up_to_the_state(commands in prop::collection::vec(any::<u8>(), 1..60)) {
        let (mut state, mut rows, mut sequences) = (state(), BTreeMap::new(), BTreeMap::new());
        for (lsn, command) in (1..).zip(commands) {
            step(&mut state, command, &mut sequences, lsn);
            if lsn % 7 == 0 {
                for row in state.take_changed() {
                    match row.value {
                        Some(_) => rows.insert(row.key.clone(), row),
                        None => rows.remove(&row.key),
                    };
                }
                prop_assert_eq!(digest(&rebuilt(&rows)), digest(&state));
            }
        }
    }
}
