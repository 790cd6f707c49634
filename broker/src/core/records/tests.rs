//! Against a model that keeps every record that was ever accepted.

use std::collections::BTreeMap;

use proptest::prelude::*;
use towpath_proto::names::TopicName;
use towpath_storage::{
    Lsn, Offset, PartitionRef, Placing, ProducerId, ProducerStamp, RowKey, StateMachine, TopicId,
};

use super::*;
use crate::core::{
    AppendDecision, AppendRequest, CoreLimits, CreateTopic, StaleRecords, is_index_row_needed,
};

const DEDUPE_WINDOW_MS: u64 = 10_000;
const TOPIC: TopicId = TopicId::new(1);

/// A record as it is sent.
#[derive(Debug, Clone)]
struct Sent {
    key: Option<u8>,
    event: Option<u8>,
    entity_version: u8,
    /// How much the version that is expected differs from the one that is right.
    expected: Option<i8>,
}

#[derive(Debug, Clone)]
enum Step {
    Batch {
        partition: u32,
        records: Vec<Sent>,
        is_redriven: bool,
    },
    Wait(i64),
    /// A checkpoint takes the rows; `merge` leaves out what nobody needs.
    Checkpoint {
        merge: bool,
    },
}

/// A record that was accepted.
#[derive(Debug, Clone)]
struct Accepted {
    place: (u32, u64),
    key: Option<u8>,
    event: Option<u8>,
    entity_version: u64,
    is_newest: bool,
    time_ms: i64,
}

fn sent() -> impl Strategy<Value = Sent> {
    let expected = prop_oneof![6 => Just(None), 3 => Just(Some(0)), 1 => (-2..3_i8).prop_map(Some)];
    let key = proptest::option::weighted(0.9, 0..3_u8);
    (key, proptest::option::of(0..4_u8), 0..20_u8, expected).prop_map(
        |(key, event, entity_version, expected)| Sent {
            key,
            event,
            entity_version,
            expected,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let batch = (
        0..2_u32,
        proptest::collection::vec(sent(), 1..6),
        prop::bool::weighted(0.1),
    );
    prop_oneof![
        8 => batch.prop_map(|(partition, records, is_redriven)| Step::Batch { partition, records, is_redriven }),
        2 => (1..9_000_i64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(|merge| Step::Checkpoint { merge }),
    ]
}

fn hash(number: u8) -> [u8; 16] {
    [number; 16]
}

/// The state with what checkpoints have written, as a broker has them.
struct Bench {
    state: State,
    config: TopicConfig,
    runs: BTreeMap<RowKey, Bytes>,
    now_ms: i64,
    next_lsn: u64,
    accepted: Vec<Accepted>,
}

impl Bench {
    fn new(config: TopicConfig) -> Self {
        let mut state = State::new(CoreLimits::default());
        let wish = CreateTopic {
            name: TopicName::new("orders").unwrap(),
            partition_count: 2,
            config,
        };
        let (topic, rows) = state.create_topic(&wish, 0).unwrap();
        assert_eq!(topic, TOPIC);
        rows.into_iter().for_each(|row| state.apply_row(row));
        Self {
            state,
            config,
            runs: BTreeMap::new(),
            now_ms: 1_000,
            next_lsn: 2,
            accepted: Vec::new(),
        }
    }

    fn on_disk(&self, key: &RowKey, hash: [u8; 16]) -> Remembered {
        Remembered {
            hash,
            on_disk: self.runs.get(key).cloned(),
        }
    }

    fn facts(&self, records: &[Sent], is_redriven: bool) -> BatchFacts {
        let config = self.config;
        let mut facts = BatchFacts {
            is_redriven,
            ..BatchFacts::default()
        };
        let mut versions: BTreeMap<u8, u64> = BTreeMap::new();
        for sent in records {
            let event = sent.event.filter(|_| config.dedupe_window_ms.is_some());
            let key = sent.key.filter(|_| config.has_key_heads());
            let expected = sent.key.zip(sent.expected).map(|(key, difference)| {
                let before = self.version(key) + versions.get(&key).copied().unwrap_or(0);
                before.saturating_add_signed(difference.into())
            });
            if let Some(key) = sent.key {
                *versions.entry(key).or_default() += 1;
            }
            facts.records.push(RecordFacts {
                origin: 7,
                event: event.map(|it| self.on_disk(&EventRow::row_key(TOPIC, &hash(it)), hash(it))),
                key: key.map(|it| self.on_disk(&KeyHead::row_key(TOPIC, &hash(it)), hash(it))),
                entity_version: config.stale_records.map(|_| sent.entity_version.into()),
                expected_version: expected.filter(|_| config.has_key_versions),
            });
        }
        facts
    }

    fn version(&self, key: u8) -> u64 {
        self.accepted
            .iter()
            .filter(|it| it.key == Some(key))
            .count() as u64
    }

    /// What should become of a batch, record by record; none if it is refused.
    fn expect(
        &self,
        partition: u32,
        records: &[Sent],
        facts: &BatchFacts,
    ) -> Option<(Admission, Vec<Accepted>)> {
        let mut accepted = self.accepted.clone();
        let mut admission = Admission::default();
        let end = self.end(partition);
        for (index, (sent, facts_of)) in (0..).zip(records.iter().zip(&facts.records)) {
            let window_ms = i64::try_from(self.config.dedupe_window_ms.unwrap_or(0)).unwrap();
            let first = accepted.iter().rev().find(|it| {
                it.event.is_some() && it.event == sent.event && it.time_ms + window_ms > self.now_ms
            });
            if let Some(first) = first.filter(|_| !facts.is_redriven) {
                let of_key = accepted.iter().filter(|it| it.key == sent.key);
                let current = of_key.count() as u64;
                if let Some(expected) = facts_of.expected_version.filter(|it| *it != current) {
                    admission.not_held.get_or_insert(ExpectedVersionMismatch {
                        origin: 7,
                        expected,
                        current,
                    });
                }
                let cause = UnwrittenCause::RepeatedEvent(EventRow {
                    partition: first.place.0,
                    offset: Offset::new(first.place.1),
                    time_ms: first.time_ms,
                });
                admission.unwritten.push(UnwrittenRecord { index, cause });
                continue;
            }
            let of_key = accepted
                .iter()
                .filter(|it| sent.key.is_some() && it.key == sent.key);
            let current = of_key.clone().count() as u64;
            if facts_of
                .expected_version
                .is_some_and(|expected| expected != current)
            {
                return None;
            }
            let greatest = of_key.map(|it| it.entity_version).max();
            let brought = u64::from(sent.entity_version);
            let stale = greatest.filter(|it| brought <= *it);
            let mut is_newest = true;
            match (stale, self.config.stale_records) {
                (Some(current), Some(StaleRecords::Refuse)) => {
                    let cause = UnwrittenCause::StaleEntityVersion { current };
                    admission.unwritten.push(UnwrittenRecord { index, cause });
                    continue;
                }
                (Some(current), Some(StaleRecords::Mark)) => {
                    admission.marked.push((index, current));
                    is_newest = false;
                }
                _ => {}
            }
            accepted.push(Accepted {
                place: (partition, end + u64::from(admission.written_count)),
                key: sent.key,
                event: sent.event.filter(|_| !facts.is_redriven),
                entity_version: brought,
                is_newest,
                time_ms: self.now_ms,
            });
            admission.written_count += 1;
        }
        Some((admission, accepted))
    }

    fn end(&self, partition: u32) -> u64 {
        let place = PartitionRef {
            topic: TOPIC,
            partition,
        };
        self.state.partition(place).unwrap().end().get()
    }

    fn take_batch(
        &mut self,
        partition: u32,
        records: &[Sent],
        is_redriven: bool,
    ) -> Result<(), TestCaseError> {
        let place = PartitionRef {
            topic: TOPIC,
            partition,
        };
        let facts = self.facts(records, is_redriven);
        let mut rows = EntryRows::new(&self.state);
        let decided = rows.admit(place, &facts, self.now_ms);
        let Some((admission, accepted)) = self.expect(partition, records, &facts) else {
            prop_assert!(decided.is_err(), "{decided:?}");
            return Ok(());
        };
        prop_assert_eq!(decided, Ok(admission.clone()));
        let rows = rows.into_rows();
        let sizes = rows
            .iter()
            .map(|row| row.key.key.len() + row.value.as_ref().map_or(0, Bytes::len));
        let overhead = 20 * rows.len();
        prop_assert!(sizes.sum::<usize>() + overhead <= records.len() * RECORD_ROW_BYTES);
        self.accepted = accepted;
        rows.into_iter().for_each(|row| self.state.apply_row(row));
        if admission.written_count > 0 {
            self.append(place, admission.written_count);
        }
        Ok(())
    }

    fn append(&mut self, partition: PartitionRef, record_count: u32) {
        let request = AppendRequest {
            partition,
            producer: None,
            payload_bytes: 10,
            payload_crc: 0,
            codec: None,
            record_count,
            expected: None,
        };
        loop {
            let lsn = Lsn::new(self.next_lsn);
            let decision = self
                .state
                .append(&request, Placing::Inline, lsn, self.now_ms);
            match decision.unwrap() {
                AppendDecision::Append(line) => {
                    self.next_lsn += 1;
                    return self.state.apply_append(&line);
                }
                AppendDecision::Wait(_) => {
                    let rows = self.state.roll(partition);
                    let rows = rows.into_iter().flatten();
                    rows.for_each(|row| self.state.apply_row(row));
                    let base = self.state.partition(partition).unwrap().end();
                    self.state.segment_ready(partition, base, 1 << 20);
                }
                AppendDecision::Repeated(_) => unreachable!("nobody numbers it"),
            }
        }
    }

    fn checkpoint(&mut self, merge: bool) {
        for row in self.state.take_changed() {
            if row.key.table >= towpath_storage::INDEX_TABLES {
                match row.value {
                    Some(value) => drop(self.runs.insert(row.key, value)),
                    None => drop(self.runs.remove(&row.key)),
                }
            }
        }
        while self.state.index_checkpoint_count() > 0 {
            self.state.forget_index_rows();
        }
        if merge {
            let config = self.config;
            let now_ms = self.now_ms;
            self.runs.retain(|key, value| {
                is_index_row_needed(key, value, 0, now_ms, |_, _| {
                    let topic = IndexedTopic {
                        dedupe_window_ms: config.dedupe_window_ms,
                    };
                    Some((topic, Offset::ZERO))
                })
            });
        }
    }

    /// Everything that can be asked about keys agrees with the model.
    fn check(&self) -> Result<(), TestCaseError> {
        if !self.config.has_key_heads() {
            return Ok(());
        }
        for key in 0..3 {
            let of_key = self.accepted.iter().filter(|it| it.key == Some(key));
            let places: Vec<_> = of_key.clone().map(|it| it.place).collect();
            let changed = self.state.changed_key(&FindKey {
                topic: TOPIC,
                hash: hash(key),
                versions: 1..u64::MAX,
            });
            let on_disk = self.runs.get(&KeyHead::row_key(TOPIC, &hash(key)));
            let head = changed.head.or_else(|| on_disk.map(KeyHead::from_bytes));
            prop_assert_eq!(head.map_or(0, |it| it.version), places.len() as u64);
            let newest = of_key.rev().find(|it| it.is_newest);
            prop_assert_eq!(
                head.map(|it| (it.partition, it.offset.get())),
                newest.map(|it| it.place)
            );
            if self.config.has_key_versions {
                let start = KeyVersion::row_key(TOPIC, &hash(key), 0);
                let end = KeyVersion::row_key(TOPIC, &hash(key), u64::MAX);
                let on_disk = self.runs.range(start..=end);
                let mut versions: BTreeMap<_, _> = on_disk
                    .filter_map(|(key, value)| KeyVersion::from_row(key, value))
                    .collect();
                versions.extend(changed.versions);
                let numbered = (1..).zip(places);
                let expected: BTreeMap<u64, KeyVersion> = numbered
                    .map(|(version, (partition, offset))| {
                        (
                            version,
                            KeyVersion {
                                partition,
                                offset: Offset::new(offset),
                            },
                        )
                    })
                    .collect();
                prop_assert_eq!(versions, expected);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn records_are_admitted_as_by_a_model_that_forgets_nothing(
        (has_dedupe, has_key_versions) in any::<(bool, bool)>(),
        stale_records in prop_oneof![
            Just(None), Just(Some(StaleRecords::Refuse)), Just(Some(StaleRecords::Mark))
        ],
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut bench = Bench::new(TopicConfig {
            dedupe_window_ms: has_dedupe.then_some(DEDUPE_WINDOW_MS),
            has_key_versions,
            stale_records,
            ..TopicConfig::default()
        });
        for step in steps {
            match step {
                Step::Batch { partition, records, is_redriven } => {
                    bench.take_batch(partition, &records, is_redriven)?;
                }
                Step::Wait(ms) => bench.now_ms += ms,
                Step::Checkpoint { merge } => bench.checkpoint(merge),
            }
            bench.check()?;
        }
    }
}

#[test]
fn versions_of_trimmed_records_and_old_events_are_not_kept_and_heads_are() {
    let topic = IndexedTopic {
        dedupe_window_ms: Some(DEDUPE_WINDOW_MS),
    };
    let is_needed = |key: &RowKey, value: &Bytes, now_ms, log_start| {
        is_index_row_needed(key, value, 0, now_ms, |id, partition| {
            assert_eq!((id, partition), (TOPIC, 1));
            Some((topic, Offset::new(log_start)))
        })
    };
    let version = KeyVersion {
        partition: 1,
        offset: Offset::new(5),
    };
    let key = KeyVersion::row_key(TOPIC, &hash(3), 9);
    assert!(is_needed(&key, &version.to_bytes(), 0, 5));
    assert!(!is_needed(&key, &version.to_bytes(), 0, 6), "trimmed");
    let event = EventRow {
        partition: 1,
        offset: Offset::new(5),
        time_ms: 1_000,
    };
    let key = EventRow::row_key(TOPIC, &hash(3));
    assert!(
        is_needed(&key, &event.to_bytes(), 10_999, 6),
        "also of a trimmed record"
    );
    assert!(
        !is_needed(&key, &event.to_bytes(), 11_000, 0),
        "past its window"
    );
    let head = KeyHead {
        version: 9,
        newest_version: 9,
        partition: 1,
        offset: Offset::new(5),
        entity_version: None,
    };
    let key = KeyHead::row_key(TOPIC, &hash(3));
    assert!(is_needed(&key, &head.to_bytes(), i64::MAX, 1_000));
    let is_kept = is_index_row_needed(&key, &head.to_bytes(), 0, 0, |_, _| None);
    assert!(!is_kept, "the topic was deleted");
}

#[test]
fn a_batch_that_is_sent_again_is_told_what_was_left_out_of_it() {
    let mut state = State::new(CoreLimits::default());
    let partition = PartitionRef {
        topic: TOPIC,
        partition: 1,
    };
    let stamp = ProducerStamp {
        id: ProducerId::new([3; 16]),
        epoch: 2,
        sequence: 5,
    };
    let first = EventRow {
        partition: 0,
        offset: Offset::new(17),
        time_ms: 9,
    };
    let records = [
        UnwrittenRecord {
            index: 2,
            cause: UnwrittenCause::RepeatedEvent(first),
        },
        UnwrittenRecord {
            index: 4,
            cause: UnwrittenCause::StaleEntityVersion { current: 0 },
        },
    ];
    let row = UnwrittenRecord::row(partition, stamp, &records, 1_000);
    let value = row.value.clone();
    assert_eq!(
        state.unwritten(partition, stamp, value.as_ref()),
        records,
        "on disk"
    );
    state.apply_row(row.clone());
    assert_eq!(state.unwritten(partition, stamp, None), records, "of late");
    let next = ProducerStamp {
        sequence: 6,
        ..stamp
    };
    assert_eq!(state.unwritten(partition, next, None), [], "another batch");
    let day_ms = 24 * 60 * 60 * 1000;
    for (now_ms, expected) in [(999 + day_ms, true), (1_000 + day_ms, false)] {
        let topic = IndexedTopic {
            dedupe_window_ms: None,
        };
        let value = value.as_ref().unwrap();
        let is_needed = is_index_row_needed(&row.key, value, 0, now_ms, |_, _| {
            Some((topic, Offset::ZERO))
        });
        assert_eq!(is_needed, expected, "{now_ms}");
    }
}
