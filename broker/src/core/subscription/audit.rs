//! Whether everything that a subscription knows fits together. For tests.

use std::collections::BTreeMap;

use towpath_storage::Offset;

use super::Subscription;
use super::consumer::ConsumerId;
use super::lease::Held;
use super::partition::SubscriptionPartition;
use super::settled::{bit_of, offset_of, offsets_in, word_of};
use super::waiting::Handling;

impl SubscriptionPartition {
    /// Whether a record is settled, or nobody is to get it.
    pub(super) fn is_over(&self, offset: Offset) -> bool {
        let is_passed = self.window.passed(word_of(offset)) & bit_of(offset) != 0;
        is_passed || self.settled.contains(offset)
    }
}

impl Subscription {
    /// Checks that every record is in exactly one place, and that all that is known twice agrees.
    pub(super) fn audit(&self) {
        let mut in_flight: BTreeMap<ConsumerId, u64> = BTreeMap::new();
        for (_, lease) in self.leases.iter() {
            assert_ne!(lease.records, 0, "an empty lease: {lease:?}");
            assert_eq!(lease.started & !lease.records, 0, "{lease:?}");
            let count = u64::from(lease.records.count_ones());
            *in_flight.entry(lease.consumer).or_default() += count;
        }
        for (id, consumer) in self.consumers.iter() {
            let leased = in_flight.remove(&id).unwrap_or(0);
            assert_eq!(consumer.in_flight, leased, "in flight at {id:?}");
        }
        assert!(in_flight.is_empty(), "leases of nobody: {in_flight:?}");
        for number in (0..).take(self.partitions.len()) {
            if self.source_of(number).is_none() {
                self.audit_window(number);
            }
            self.audit_rows(number);
        }
    }

    fn audit_window(&self, number: u32) {
        let partition = &self.partitions[number as usize];
        let window = &partition.window;
        let floor = partition.settled.floor();
        let (mut ready_count, mut listed_count, mut moving_count) = (0, 0, 0);
        for word in word_of(floor)..=word_of(window.end()) {
            let leases = window.leases(word).iter().map(|id| {
                let lease = self.leases.get(*id).expect("a lease of a word exists");
                assert_eq!((lease.word, lease.partition), (word, number));
                assert_eq!(lease.held, Held::Window);
                lease.records
            });
            let leased = leases.fold(0, |all, records| {
                assert_eq!(all & records, 0, "two leases of a record in word {word}");
                all | records
            });
            assert_eq!(leased, window.leased(word), "leased in word {word}");
            let (ready, passed) = (window.ready(word), window.passed(word));
            ready_count += u64::from(ready.count_ones());
            let settled = partition.settled.word(word);
            assert_eq!(ready & leased, 0, "word {word}");
            assert_eq!(passed & (ready | leased), 0, "word {word}");
            assert_eq!(settled & (ready | leased), 0, "word {word}");
            let moving = window.moving(word);
            moving_count += u64::from(moving.count_ones());
            assert_eq!(moving & (ready | leased | settled), 0, "word {word}");
            let known = offsets_in(word, u64::MAX);
            for offset in known.filter(|it| *it >= floor && *it < window.end()) {
                let places = ready | leased | passed | settled | moving;
                assert_ne!(places & bit_of(offset), 0, "offset {offset} is nowhere");
            }
            for offset in offsets_in(word, ready | leased | moving) {
                assert!(floor <= offset && offset < window.end(), "offset {offset}");
            }
            listed_count += u64::from((ready | leased | moving).count_ones());
        }
        assert_eq!(ready_count, window.ready_count(), "ready records");
        assert_eq!(moving_count, window.moving_count(), "moving records");
        if partition.is_ordered {
            for key in window.keys.iter() {
                for offset in window.records_of(key) {
                    assert_eq!(window.key(offset), key, "offset {offset}");
                    let word = word_of(offset);
                    let open = window.ready(word) | window.leased(word) | window.moving(word);
                    assert_ne!(open & bit_of(offset), 0, "offset {offset} is listed");
                    listed_count -= 1;
                }
            }
            assert_eq!(listed_count, 0, "records in no list");
        }
        assert!(partition.settled.floor() <= window.end());
    }

    fn audit_rows(&self, number: u32) {
        let partition = &self.partitions[number as usize];
        let rows = || partition.waiting.iter();
        let living = rows().filter(|(_, record, _)| record.death.is_none());
        assert_eq!(living.count() as u64, partition.waiting.living_count());
        let leased = rows().filter(|(_, _, it)| matches!(it, Handling::Leased(_)));
        assert_eq!(leased.count() as u64, partition.waiting.leased_count());
        for (offset, record, handling) in rows() {
            assert!(
                partition.settled.contains(offset),
                "offset {offset} has a row and is in the window"
            );
            let is_ready = partition.waiting.ready.contains(&offset);
            let is_suspect = partition.waiting.suspects.contains(&offset);
            match handling {
                Handling::Leased(id) => {
                    let lease = self.leases.get(id).expect("a lease of a row exists");
                    assert_eq!(lease.held, Held::Rows);
                    assert_eq!(lease.records, bit_of(offset), "{offset}");
                    assert_eq!(
                        offset_of(lease.word, lease.records.trailing_zeros()),
                        offset
                    );
                    assert!(!is_ready && !is_suspect, "{offset}");
                }
                Handling::None => {
                    assert!(!is_suspect || record.is_suspect, "{offset}");
                }
                Handling::Moving => assert!(!is_ready && !is_suspect, "{offset}"),
            }
            if partition.is_ordered && record.death.is_none() {
                let is_locked = partition.window.keys.is_locked(record.key);
                let mut of_key = partition.waiting.of_key(record.key);
                let leased = of_key
                    .any(|it| matches!(partition.waiting.handling(it), Some(Handling::Leased(_))));
                assert!(!leased || is_locked, "key of {offset} is not locked");
            }
        }
    }

    /// What of a partition survives a restart.
    pub(super) fn durable(&self, number: u32) -> (Offset, Vec<u64>, Vec<(Offset, u32)>) {
        let partition = &self.partitions[number as usize];
        let settled = &partition.settled;
        let end = settled.block_numbers().last().unwrap_or(0) * super::settled::BLOCK_RECORDS;
        // A lane of dead letters has no window.
        let end = partition
            .window
            .end()
            .max(Offset::new(end))
            .max(settled.floor());
        let words = word_of(settled.floor())..word_of(end) + 1;
        let words = words.map(|word| match word == word_of(settled.floor()) {
            true => settled.word(word) | (bit_of(settled.floor()) - 1),
            false => settled.word(word),
        });
        let rows = partition.waiting.iter();
        let rows = rows.map(|(offset, record, _)| (offset, record.attempts));
        (settled.floor(), words.collect(), rows.collect())
    }
}
