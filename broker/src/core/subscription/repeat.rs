//! Settlements that are said again: who lost the answer repeats what has taken effect, and hears that it has.
//!
//! What was acked is settled for whoever says so. That handling a record failed stands in its row with the
//! delivery, and for a while with the records that died. What was given back leaves nothing behind, so the last
//! of that is remembered here. Whatever else is said of a lease that is over comes too late.

use std::collections::{BTreeMap, VecDeque};

use towpath_storage::Offset;

use super::settle::{DeliveryOutcome, Settlement};
use super::settled::{bit_of, word_of};
use super::waiting::WaitingRecord;

/// So many are remembered of a subscription: records of a word that were given back alike.
const REMEMBERED_MAX: usize = 1_024;

/// What a consumer says that does not want its records any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    Nack,
    Release,
    DeadLetter,
}

impl Said {
    fn of(outcome: &DeliveryOutcome) -> Option<Self> {
        match outcome {
            DeliveryOutcome::Nack { .. } => Some(Self::Nack),
            DeliveryOutcome::Release => Some(Self::Release),
            DeliveryOutcome::DeadLetter { .. } => Some(Self::DeadLetter),
            DeliveryOutcome::Ack | DeliveryOutcome::Start | DeliveryOutcome::Extend => None,
        }
    }
}

/// Deliveries of a record of which consumers said that handling it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FailedDeliveries {
    numbers: Box<[u64]>,
    /// The one with which it died.
    last: Option<u64>,
}

impl FailedDeliveries {
    /// Those that are known of a record with a row.
    pub(super) fn of(record: &WaitingRecord) -> Self {
        let failures = record.failures.iter();
        let last = record.death.as_ref().and(record.failures.last());
        Self {
            numbers: failures.filter_map(|it| it.delivery).collect(),
            last: last.and_then(|it| it.delivery),
        }
    }

    /// Whether a settlement says what was said of one of them.
    pub(super) fn has(&self, settlement: &Settlement) -> bool {
        match settlement.outcome {
            DeliveryOutcome::Nack { .. } => self.numbers.contains(&settlement.delivery),
            DeliveryOutcome::DeadLetter { .. } => self.last == Some(settlement.delivery),
            DeliveryOutcome::Ack
            | DeliveryOutcome::Release
            | DeliveryOutcome::Start
            | DeliveryOutcome::Extend => false,
        }
    }
}

/// Records of a word of which something was said: number of the partition, the delivery, the word, and what.
type Place = (u32, u64, u64, Said);

/// What consumers gave back lately: released, or behind one of the key of which they said with the same words
/// that it failed. Volatile.
#[derive(Debug, Default)]
pub(super) struct RecentlyGivenBack {
    known: BTreeMap<Place, u64>,
    /// Oldest first.
    line: VecDeque<Place>,
}

impl RecentlyGivenBack {
    /// Notes records of a word that were given back.
    pub(super) fn note(
        &mut self,
        (partition, delivery): (u32, u64),
        word: u64,
        records: u64,
        said: Said,
    ) {
        let place = (partition, delivery, word, said);
        if let Some(known) = self.known.get_mut(&place) {
            *known |= records;
            return;
        }
        self.known.insert(place, records);
        self.line.push_back(place);
        if self.line.len() > REMEMBERED_MAX
            && let Some(oldest) = self.line.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether a settlement says of a record that was given back what was said of it then.
    pub(super) fn has(&self, settlement: &Settlement, offset: Offset) -> bool {
        let Settlement {
            partition,
            delivery,
            ref outcome,
            ..
        } = *settlement;
        let said = Said::of(outcome);
        let place = said.map(|said| (partition, delivery, word_of(offset), said));
        let known = place.and_then(|place| self.known.get(&place));
        known.is_some_and(|records| records & bit_of(offset) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_that_were_given_back_are_remembered() {
        let mut given_back = RecentlyGivenBack::default();
        for delivery in [0, 0].into_iter().chain(0..1_030) {
            given_back.note((3, delivery), 2, 0b10, Said::Release);
        }
        let has = |given_back: &RecentlyGivenBack, partition, delivery, offset, outcome| {
            let settlement = Settlement {
                delivery,
                partition,
                ranges: Vec::new(),
                outcome,
            };
            given_back.has(&settlement, Offset::new(offset))
        };
        let released = |delivery| has(&given_back, 3, delivery, 129, DeliveryOutcome::Release);
        let known: Vec<_> = (0..1_030).filter(|it| released(*it)).collect();
        assert_eq!(known, (6..1_030).collect::<Vec<_>>());
        assert_eq!(given_back.line.len(), given_back.known.len());
        for (partition, delivery, offset, outcome) in [
            (2, 1_000, 129, DeliveryOutcome::Release),
            (3, 1_030, 129, DeliveryOutcome::Release),
            (3, 1_000, 128, DeliveryOutcome::Release),
            (3, 1_000, 129, DeliveryOutcome::Ack),
        ] {
            let said = has(&given_back, partition, delivery, offset, outcome.clone());
            assert!(!said, "{outcome:?} of {delivery}: {partition}@{offset}");
        }
        given_back.note((3, 1_000), 2, 0b1, Said::Release);
        assert!(has(&given_back, 3, 1_000, 128, DeliveryOutcome::Release));
    }
}
