//! Records of a partition that are with consumers: finding them, and taking them back.

use towpath_storage::{Offset, OffsetRange};

use super::keys::KeyHash;
use super::lease::{Held, LeaseId, Leases};
use super::partition::SubscriptionPartition;
use super::repeat::FailedDeliveries;
use super::settle::Settlement;
use super::settled::{bit_of, offsets_in, word_of, words_in};
use super::waiting::Handling;

/// Records of one word that a settlement has found with whom it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lease: LeaseId,
    pub(super) held: Held,
    pub(super) word: u64,
    pub(super) records: u64,
}

impl SubscriptionPartition {
    /// The records of a range that were delivered with `delivery` and are with its consumer still.
    pub(super) fn find(&self, leases: &Leases, range: OffsetRange, delivery: u64) -> Vec<Found> {
        let mut found = Vec::new();
        let is_of_delivery = |id| leases.get(id).is_some_and(|it| it.delivery == delivery);
        for offset in self.waiting.offsets_in(range) {
            if let Some(Handling::Leased(lease)) = self.waiting.handling(offset)
                && is_of_delivery(lease)
            {
                found.push(Found {
                    lease,
                    held: Held::Rows,
                    word: word_of(offset),
                    records: bit_of(offset),
                });
            }
        }
        let known = OffsetRange {
            start: range.start.max(self.settled.floor()),
            end: range.end.min(self.window.end()),
        };
        for (word, bits) in words_in(known) {
            for id in self.window.leases(word).iter().copied() {
                let records = leases.get(id).map_or(0, |it| it.records & bits);
                if records != 0 && is_of_delivery(id) {
                    found.push(Found {
                        lease: id,
                        held: Held::Window,
                        word,
                        records,
                    });
                }
            }
        }
        found
    }

    /// Those of a range that are neither found nor settled, and those that are only because they died; not
    /// those whose failure the settlement repeats.
    pub(super) fn not_found(
        &self,
        range: OffsetRange,
        found: &[Found],
        settlement: &Settlement,
    ) -> Vec<Offset> {
        let known = OffsetRange {
            start: range.start.max(self.settled.floor()),
            end: range.end,
        };
        let missing = words_in(known).flat_map(|(word, bits)| {
            let of_word = found.iter().filter(|it| it.word == word);
            let have = of_word.fold(0, |have, it| have | it.records);
            offsets_in(word, bits & !have & !self.settled.word(word))
        });
        let mut missing: Vec<_> = missing.collect();
        // What has a row is not settled.
        let rows = self.waiting.offsets_in(range);
        let others = rows.chain(self.recently_dead.in_range(range));
        missing.extend(others.filter(|row| {
            let is_found = |it: &Found| it.word == word_of(*row) && it.records & bit_of(*row) != 0;
            !found.iter().any(is_found)
        }));
        missing.retain(|it| !self.repeats_failure(*it, settlement));
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Whether a consumer says of a record what it has said of the same delivery before.
    fn repeats_failure(&self, offset: Offset, settlement: &Settlement) -> bool {
        match self.waiting.get(offset) {
            Some(row) => FailedDeliveries::of(row).has(settlement),
            None => { self.recently_dead.failed(offset) }.is_some_and(|it| it.has(settlement)),
        }
    }

    /// Those of a range that are not among the found.
    pub(super) fn not_among(range: OffsetRange, found: &[Found]) -> impl Iterator<Item = Offset> {
        words_in(range).flat_map(|(word, bits)| {
            let of_word = found.iter().filter(|it| it.word == word);
            let have = of_word.fold(0, |have, it| have | it.records);
            offsets_in(word, bits & !have)
        })
    }

    /// The lease of a record of the window.
    pub(super) fn lease_of(&self, leases: &Leases, offset: Offset) -> Option<LeaseId> {
        let mut ids = self.window.leases(word_of(offset)).iter().copied();
        ids.find(|id| {
            let lease = leases.get(*id);
            lease.is_some_and(|lease| lease.records & bit_of(offset) != 0)
        })
    }

    /// Takes records off their lease; their consumer has them no more. Returns how many.
    pub(super) fn unlease(&mut self, leases: &mut Leases, found: &Found) -> u64 {
        let Some(lease) = leases.get_mut(found.lease) else {
            return 0;
        };
        lease.records &= !found.records;
        lease.started &= !found.records;
        if lease.records == 0 {
            leases.remove(found.lease);
            if found.held == Held::Window {
                self.window.forget_lease(found.word, found.lease);
            }
        }
        u64::from(found.records.count_ones())
    }

    /// Makes records that were taken off their lease ready for others.
    pub(super) fn release(&mut self, found: &Found) {
        match found.held {
            Held::Window => self.window.release(found.word, found.records),
            Held::Rows => {
                for offset in offsets_in(found.word, found.records) {
                    self.waiting.set_handling(offset, Handling::None);
                    self.unlock_row(offset);
                }
            }
        }
    }

    /// A record that has a row is not with a consumer any more.
    pub(super) fn unlock_row(&mut self, offset: Offset) {
        if self.is_ordered
            && let Some(record) = self.waiting.get(offset)
        {
            let key = record.key;
            self.window.unlock_key(key);
        }
    }

    /// The records of the key of `offset` behind it that are with a consumer.
    pub(super) fn leased_behind(
        &self,
        leases: &Leases,
        offset: Offset,
        key: KeyHash,
    ) -> Vec<Found> {
        if !self.is_ordered {
            return Vec::new();
        }
        let rows = self.waiting.of_key(key).filter(|it| *it > offset);
        let rows = rows.filter_map(|it| match self.waiting.handling(it) {
            Some(Handling::Leased(lease)) => Some(Found {
                lease,
                held: Held::Rows,
                word: word_of(it),
                records: bit_of(it),
            }),
            _ => None,
        });
        let in_window = self.window.records_of(key).filter(|it| *it > offset);
        let in_window = in_window.filter_map(|it| {
            self.lease_of(leases, it).map(|lease| Found {
                lease,
                held: Held::Window,
                word: word_of(it),
                records: bit_of(it),
            })
        });
        rows.chain(in_window).collect()
    }
}
