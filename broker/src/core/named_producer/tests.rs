//! What lives of a name are allowed to: tables, and random lives against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use towpath_storage::{
    Lsn, PartitionRef, PlacementError, Placing, ProducerStamp, RowKey, StateMachine, TopicId,
};

use super::super::producer::Naming;
use super::super::{
    AppendDecision, AppendRefusal, AppendRequest, CoreLimits, CreateTopic, TopicConfig,
};
use super::*;

const TOPIC: TopicId = TopicId::new(1);

fn name(text: &str) -> ProducerName {
    ProducerName::new(text).unwrap()
}

fn state_with(limits: CoreLimits) -> State {
    let mut state = State::new(limits);
    let wish = CreateTopic {
        name: "orders".parse().unwrap(),
        partition_count: 3,
        config: TopicConfig::default(),
    };
    let (topic, rows) = state.create_topic(&wish, 5).unwrap();
    assert_eq!(topic, TOPIC);
    apply(&mut state, rows);
    state
}

fn state() -> State {
    state_with(CoreLimits::default())
}

fn apply(state: &mut State, rows: Vec<Row>) {
    rows.into_iter().for_each(|row| state.apply_row(row));
}

/// Draws another id each time, as the runtime does.
fn open(state: &mut State, text: &str, drawn: u8) -> ProducerLife {
    let new_id = NamedProducerId::new([drawn; 12]);
    let (life, rows) = state.open_producer(&name(text), new_id, 7).unwrap();
    apply(state, rows);
    life
}

fn delete(state: &mut State, text: &str) {
    let (_, rows) = state.delete_producer(&name(text)).unwrap();
    apply(state, rows);
}

const fn partition(number: u32) -> PartitionRef {
    PartitionRef {
        topic: TOPIC,
        partition: number,
    }
}

fn request(life: ProducerLife, number: u32, sequence: u64) -> AppendRequest {
    AppendRequest {
        partition: partition(number),
        producer: Some(ProducerStamp {
            id: life.id,
            epoch: life.epoch,
            sequence,
        }),
        payload_bytes: 100,
        payload_crc: 7,
        codec: None,
        record_count: 1,
        expected: None,
    }
}

fn decide(state: &State, request: &AppendRequest) -> Result<AppendDecision, AppendRefusal> {
    state.append(request, Placing::Inline, Lsn::new(9), 5)
}

/// Sends a batch, with the room for it made as the sequencer does.
fn send(
    state: &mut State,
    life: ProducerLife,
    number: u32,
    sequence: u64,
) -> Result<AppendDecision, AppendRefusal> {
    loop {
        let decision = decide(state, &request(life, number, sequence))?;
        match &decision {
            AppendDecision::Append(line) => state.apply_append(line),
            AppendDecision::Repeated(_) => {}
            AppendDecision::Wait(PlacementError::NeedsSegment) => {
                let rows = state.roll(partition(number)).unwrap();
                apply(state, rows);
                continue;
            }
            AppendDecision::Wait(PlacementError::NeedsSpace { allocated_end }) => {
                let known = state.partition(partition(number)).unwrap();
                let base = known.active().unwrap().base;
                state.segment_ready(partition(number), base, *allocated_end);
                continue;
            }
        }
        return Ok(decision);
    }
}

#[track_caller]
fn check_accepted(state: &mut State, life: ProducerLife, number: u32, sequence: u64) {
    let sent = send(state, life, number, sequence);
    assert!(matches!(sent, Ok(AppendDecision::Append(_))), "{sent:?}");
}

#[track_caller]
fn check_fenced(state: &mut State, life: ProducerLife, number: u32, sequence: u64, epoch: u32) {
    let fenced = ProducerFenced::ByLife {
        name: name("relay"),
        epoch,
    };
    let sent = send(state, life, number, sequence);
    assert_eq!(sent, Err(AppendRefusal::ProducerFenced(fenced.clone())));
    let stamp = request(life, number, sequence).producer.unwrap();
    let spent = state.spend_sequence(partition(number), stamp, 3, 5);
    assert_eq!(spent, Err(AppendRefusal::ProducerFenced(fenced.clone())));
    assert_eq!(state.check_life(life), Err(fenced));
}

/// As it is after a checkpoint and a start.
fn reloaded(state: &mut State) -> State {
    let mut rows: Vec<_> = state.take_changed();
    rows.sort_by(|a, b| (a.key.table, &a.key.key).cmp(&(b.key.table, &b.key.key)));
    let mut again = State::new(state.limits().clone());
    apply(
        &mut again,
        rows.into_iter().filter(|it| it.value.is_some()).collect(),
    );
    again.checkpoint_loaded();
    again
}

#[test]
fn a_newer_life_shuts_the_older_ones_out_of_every_partition_before_it_writes() {
    let mut state = state();
    let first = open(&mut state, "relay", 1);
    assert_eq!(first.epoch, 1);
    check_accepted(&mut state, first, 0, 0);
    let waits = decide(&state, &request(first, 1, 0));
    assert!(matches!(waits, Ok(AppendDecision::Wait(_))), "{waits:?}");
    let second = open(&mut state, "relay", 2);
    assert_eq!((second.id, second.epoch), (first.id, 2), "the same name");
    // The one it wrote to, the one in which it waits, and one that nobody has written to.
    for number in 0..3 {
        check_fenced(&mut state, first, number, 0, 2);
        check_fenced(&mut state, first, number, 1, 2);
    }
    check_accepted(&mut state, second, 0, 0);
    let again = send(&mut state, second, 0, 0);
    assert!(
        matches!(again, Ok(AppendDecision::Repeated(_))),
        "{again:?}"
    );
    let third = open(&mut state, "relay", 3);
    check_fenced(&mut state, first, 0, 0, 3);
    check_fenced(&mut state, second, 0, 1, 3);
    check_accepted(&mut state, third, 1, 0);
}

#[test]
fn what_a_client_makes_of_the_epoch_helps_it_nothing() {
    let mut state = state();
    let life = open(&mut state, "relay", 1);
    let with_epoch = |epoch| ProducerLife { epoch, ..life };
    check_fenced(&mut state, with_epoch(0), 0, 0, 1);
    check_fenced(&mut state, with_epoch(2), 0, 0, 1);
    check_fenced(&mut state, with_epoch(u32::MAX), 0, 0, 1);
    let foreign = ProducerLife {
        id: ProducerId::new([9; 16]),
        epoch: 1,
    };
    let fenced = AppendRefusal::ProducerFenced(ProducerFenced::ByDeletion);
    assert_eq!(send(&mut state, foreign, 0, 0), Err(fenced));
    check_accepted(&mut state, with_epoch(1), 0, 0);
    check_accepted(
        &mut state,
        ProducerLife {
            epoch: 0,
            ..foreign
        },
        0,
        0,
    );
}

#[test]
fn numbers_of_its_own_let_a_life_begin_anew_and_are_fenced_with_it() {
    let mut state = state();
    let life = open(&mut state, "relay", 1);
    check_accepted(&mut state, life, 0, 0);
    let other = ProducerLife {
        id: NamedProducerId::of(life.id).producer([0, 0, 0, 1]),
        ..life
    };
    check_accepted(&mut state, other, 0, 0);
    check_accepted(&mut state, life, 0, 1);
    open(&mut state, "relay", 2);
    check_fenced(&mut state, other, 0, 1, 2);
    check_fenced(&mut state, life, 1, 0, 2);
}

#[test]
fn the_lives_of_a_deleted_name_stay_shut_out_also_beside_those_of_the_next() {
    let mut state = state();
    let first = open(&mut state, "relay", 1);
    check_accepted(&mut state, first, 0, 0);
    delete(&mut state, "relay");
    let gone = AppendRefusal::ProducerFenced(ProducerFenced::ByDeletion);
    for (number, sequence) in [(0, 0), (0, 1), (1, 0)] {
        let sent = send(&mut state, first, number, sequence);
        assert_eq!(sent, Err(gone.clone()));
    }
    let missing = ProducerNotFound {
        name: name("relay"),
    };
    assert_eq!(state.delete_producer(&name("relay")), Err(missing));
    let second = open(&mut state, "relay", 2);
    assert_ne!(second.id, first.id, "another id, whose lives count from 1");
    assert_eq!(send(&mut state, first, 0, 1), Err(gone));
    check_accepted(&mut state, second, 0, 0);
}

#[test]
fn lives_without_end() {
    let mut state = state();
    let first = open(&mut state, "relay", 1);
    let last = NamedProducerRow {
        name: "relay".to_owned(),
        epoch: u32::MAX,
        create_time_ms: 5,
        open_time_ms: 6,
    };
    let id = NamedProducerId::of(first.id);
    state.apply_row(RowId::NamedProducer(id).put(&last));
    let last = ProducerLife {
        epoch: u32::MAX,
        ..first
    };
    check_accepted(&mut state, last, 0, 0);
    let next = open(&mut state, "relay", 2);
    assert_ne!(next.id, first.id);
    assert_eq!(next.epoch, 1);
    let gone = AppendRefusal::ProducerFenced(ProducerFenced::ByDeletion);
    assert_eq!(send(&mut state, last, 0, 1), Err(gone));
    let mut state = reloaded(&mut state);
    check_accepted(&mut state, next, 0, 0);
    assert_eq!(state.named_producers_after(None).count(), 1);
}

#[test]
fn names_are_bounded_and_make_room_when_they_go() {
    let mut state = state_with(CoreLimits {
        producer_name_count_max: 2,
        ..CoreLimits::default()
    });
    open(&mut state, "a", 1);
    open(&mut state, "b", 2);
    let refused = state.open_producer(&name("c"), NamedProducerId::new([3; 12]), 7);
    assert_eq!(refused, Err(OpenProducerRefusal::TooManyNames { count: 2 }));
    assert_eq!(open(&mut state, "a", 3).epoch, 2, "one that there is");
    delete(&mut state, "b");
    open(&mut state, "c", 4);
    let names = |after: Option<&str>| -> Vec<String> {
        let after = after.map(name);
        let found = state.named_producers_after(after.as_ref());
        found.map(|it| it.name().to_string()).collect()
    };
    assert_eq!(names(None), ["a", "c"]);
    assert_eq!(names(Some("a")), ["c"]);
}

#[test]
fn a_name_survives_a_checkpoint_whatever_is_forgotten_of_its_partitions() {
    let mut state = state_with(CoreLimits {
        named_producer_rows_bytes_max: 0,
        ..CoreLimits::default()
    });
    let first = open(&mut state, "relay", 1);
    let second = open(&mut state, "relay", 2);
    check_accepted(&mut state, second, 0, 0);
    assert!(state.has_surplus_producers(), "no row may stay");
    let rows = state.forget_producers(5, 5, 9);
    assert_eq!(rows.len(), 1);
    apply(&mut state, rows);
    let mut state = reloaded(&mut state);
    assert_eq!(
        send(&mut state, second, 0, 1),
        Err(AppendRefusal::ProducerUnknown)
    );
    check_fenced(&mut state, first, 0, 0, 2);
    check_accepted(&mut state, second, 1, 0);
}

#[test]
fn what_a_life_has_written_is_known_for_as_long_as_it_lives() {
    let mut state = state();
    let life = open(&mut state, "relay", 1);
    check_accepted(&mut state, life, 2, 0);
    let year = 365 * 24 * 60 * 60 * 1000;
    assert_eq!(state.forget_producers(year, 0, 9), [], "however long idle");
    let mut state = reloaded(&mut state);
    assert_eq!(
        state.last_sequences(life, TOPIC).collect::<Vec<_>>(),
        [(2, 0)]
    );
    let next = open(&mut state, "relay", 2);
    assert_eq!(state.last_sequences(next, TOPIC).count(), 0, "a new life");
    assert_eq!(state.last_sequences(life, TOPIC).count(), 0, "an old one");
}

/// One step of several programs that use two names.
#[derive(Debug, Clone)]
enum Step {
    /// A program begins a life of a name.
    Open(u8),
    /// A life that was ever begun sends its next batch for a partition.
    Send {
        life: prop::sample::Index,
        partition: u32,
    },
    /// It sends one again that it sent before.
    Repeat {
        life: prop::sample::Index,
        partition: u32,
    },
    /// A name is deleted.
    Delete(u8),
    /// A checkpoint, and a start from it.
    Reload,
    /// The broker forgets what it may.
    Forget,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_u8).prop_map(Step::Open),
        10 => (any::<prop::sample::Index>(), 0..3_u32)
            .prop_map(|(life, partition)| Step::Send { life, partition }),
        4 => (any::<prop::sample::Index>(), 0..3_u32)
            .prop_map(|(life, partition)| Step::Repeat { life, partition }),
        1 => (0..2_u8).prop_map(Step::Delete),
        2 => Just(Step::Reload),
        1 => Just(Step::Forget),
    ]
}

/// Which life of which name is the newest, and what each has written: nothing else counts.
#[derive(Debug, Default)]
struct Naive {
    lives: Vec<(u8, ProducerLife)>,
    newest: BTreeMap<u8, usize>,
    /// By life and partition: how many batches were accepted.
    written: BTreeMap<(usize, u32), u64>,
    /// Of which the broker may have forgotten.
    forgotten: BTreeSet<(usize, u32)>,
}

impl Naive {
    fn check(&mut self, life: usize, partition: u32, repeat: bool, state: &mut State) {
        let (named, stamp) = self.lives[life];
        let count = *self.written.entry((life, partition)).or_default();
        if repeat && count == 0 {
            return;
        }
        let sequence = if repeat { count - 1 } else { count };
        let sent = send(state, stamp, partition, sequence);
        if self.newest.get(&named) != Some(&life) {
            let is_fenced = matches!(sent, Err(AppendRefusal::ProducerFenced(_)));
            assert!(is_fenced, "life {life}: {sent:?}");
            return;
        }
        if self.forgotten.contains(&(life, partition)) {
            // What is repeated from the very first may be taken for new; it is known again then.
            return;
        }
        match sent {
            Ok(AppendDecision::Append(_)) if !repeat => {
                *self.written.entry((life, partition)).or_default() += 1;
            }
            Ok(AppendDecision::Repeated(_)) if repeat => {}
            other => panic!("life {life}, repeated {repeat}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However lives, deletions and starts follow each other: a batch is written if and only if its life
    /// is the newest of its name, and its sequence the next one.
    #[test]
    fn only_the_newest_life_of_a_name_writes(steps in prop::collection::vec(steps(), 1..80)) {
        let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
        let (mut state, mut naive) = (state(), Naive::default());
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Open(named) => {
                    let life = open(&mut state, ["relay", "other"][usize::from(named)], number);
                    naive.newest.insert(named, naive.lives.len());
                    naive.lives.push((named, life));
                }
                Step::Send { life, partition } if !naive.lives.is_empty() => {
                    let life = life.index(naive.lives.len());
                    naive.check(life, partition, false, &mut state);
                }
                Step::Repeat { life, partition } if !naive.lives.is_empty() => {
                    let life = life.index(naive.lives.len());
                    naive.check(life, partition, true, &mut state);
                }
                Step::Send { .. } | Step::Repeat { .. } => {}
                Step::Delete(named) => {
                    if naive.newest.remove(&named).is_some() {
                        delete(&mut state, ["relay", "other"][usize::from(named)]);
                    }
                }
                Step::Reload => {
                    for row in state.take_changed() {
                        match row.value {
                            Some(_) => drop(rows.insert(row.key.clone(), row)),
                            None => drop(rows.remove(&row.key)),
                        }
                    }
                    state = State::new(CoreLimits::default());
                    apply(&mut state, rows.values().cloned().collect());
                    state.checkpoint_loaded();
                }
                Step::Forget => {
                    let forgotten = state.producers.forgettable(Naming::Named, 0, 1);
                    let forgotten: Vec<_> = forgotten
                        .into_iter()
                        .map(|(producer, partition)| (producer, partition.partition))
                        .collect();
                    for (producer, partition) in forgotten {
                        let lives = (0..).zip(&naive.lives);
                        let known = lives.filter(|(_, (_, life))| life.id == producer);
                        naive.forgotten.extend(known.map(|(life, _)| (life, partition)));
                        let place = self::partition(partition);
                        state.apply_row(RowId::Producer(producer, place).gone());
                    }
                }
            }
        }
    }
}
