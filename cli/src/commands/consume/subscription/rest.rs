//! What a subscription has not settled, and whether any of it is to be handed out now.

use towpath_client::{Subscription, SubscriptionConsumer};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, count_of};

/// So many looks have to find the same where one could be too early: what waits may be due just now.
const LOOKS: u32 = 2;
/// The same where records are kept unsettled, or dead letters of their keys are, and more may or may not be on
/// its way.
const LOOKS_UNSETTLED: u32 = 5;

/// What a subscription has not settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::commands::consume) struct Rest {
    /// Name of the subscription.
    name: String,
    /// Records, those that follow included, but not those in partitions that are halted.
    unsettled: u64,
    /// Wait for another attempt, or behind one of their key that does. May be in flight again.
    waiting: u64,
    /// Dead letters that were given back, and are delivered or wait for that.
    redriven: u64,
    /// Are with consumers.
    in_flight: u64,
    /// Are with the consumer that looks; none if it is not connected.
    own: Option<u64>,
    is_paused: bool,
    parked_keys: u64,
    dead_letter_topic: String,
    dead_letter_problem: Option<String>,
    /// Partitions that are not gone on with, and why.
    halted: Vec<(u32, String)>,
}

impl Rest {
    pub(super) fn of(found: &Subscription, consumer_id: &str) -> Self {
        let consumers = found.consumers.iter();
        let is_own = |it: &&_| is_connected_as(it, consumer_id);
        let mut rest = Self {
            name: found.name.to_string(),
            in_flight: consumers.clone().map(|it| it.in_flight_records).sum(),
            own: consumers
                .clone()
                .find(is_own)
                .map(|it| it.in_flight_records),
            is_paused: found.is_paused,
            dead_letter_problem: found.dead_letter_problem.clone(),
            ..Self::default()
        };
        if let Some(topic) = &found.dead_letter_topic {
            rest.dead_letter_topic = topic.to_string();
        }
        for it in &found.partitions {
            rest.parked_keys += it.parked_keys;
            rest.redriven += it.redriven_records;
            match &it.halt_reason {
                Some(reason) => rest.halted.push((it.partition.get(), reason.clone())),
                None => {
                    rest.unsettled += it.lag_records;
                    rest.waiting += it.waiting_records;
                }
            }
        }
        rest
    }

    /// How often this has to be found to mean that nothing is left; none if something is.
    pub(super) fn looks_needed(&self, held: u64) -> Option<u32> {
        let is_all_known = self.own == Some(held);
        match (held, self.is_paused) {
            _ if !is_all_known => None,
            (_, true) => Some(1),
            // Others may give back what they have.
            (0, false) if self.in_flight > 0 => None,
            // The others may wait for dead letters of their keys.
            (0, false) if self.unsettled > self.waiting && self.parked_keys == 0 => None,
            (0, false) if self.unsettled > self.waiting => Some(LOOKS_UNSETTLED),
            (0, false) if self.waiting == 0 && self.redriven == 0 => Some(1),
            (0, false) => Some(LOOKS),
            (_, false) => Some(LOOKS_UNSETTLED),
        }
    }

    /// Whether others have records, and this consumer none.
    pub(super) fn is_with_others(&self) -> bool {
        self.own == Some(0) && self.in_flight > 0
    }

    pub(super) fn tell_of_others(&self, output: &Output) {
        let (name, records) = (&self.name, count_of(self.in_flight, "record"));
        output.note(format_args!(
            "other consumers of subscription {name} have {records}; this one ends when they are \
             settled, or takes them when they are given back"
        ));
    }

    /// Tells of what is left although nothing is handed out.
    pub(in crate::commands::consume) fn tell(&self, output: &Output) {
        let name = &self.name;
        if self.is_paused && self.unsettled > 0 {
            let records = count_of(self.unsettled, "record");
            output.note(format_args!(
                "subscription {name} is paused: {records} left"
            ));
        } else if self.own.is_some_and(|own| own > 0) && self.unsettled > self.in_flight {
            let records = count_of(self.unsettled - self.in_flight, "record");
            output.note(format_args!(
                "{records} left, behind what was printed and not acked, or to be tried again later"
            ));
        } else if self.waiting > 0 {
            let records = count_of(self.waiting, "record");
            output.note(format_args!(
                "{records} left, to be tried again later, or behind one of the same key that is"
            ));
        }
        let behind_letters = self.unsettled.saturating_sub(self.waiting + self.in_flight);
        if self.own == Some(0) && !self.is_paused && self.parked_keys > 0 && behind_letters > 0 {
            let records = count_of(behind_letters, "record");
            output.note(format_args!(
                "{records} left, until the dead letters of their keys are redriven or discarded"
            ));
        }
        if self.redriven > 0 {
            let records = count_of(self.redriven, "redriven record");
            output.note(format_args!("{records} left, to be tried again later"));
        }
        if self.parked_keys > 0 {
            let keys = count_of(self.parked_keys, "key");
            let topic = &self.dead_letter_topic;
            output.note(format_args!(
                "{keys} parked behind dead letters, in topic {topic}"
            ));
        }
        if let Some(problem) = &self.dead_letter_problem {
            output.warning(format_args!("dead letters stay where they are: {problem}"));
        }
    }

    /// What is told if partitions are halted.
    pub(in crate::commands::consume) fn halt_failure(&self) -> Option<Failure> {
        let name = &self.name;
        let (partition, reason) = self.halted.first()?;
        let message = format!("partition {partition} is not gone on with: {reason}");
        let failure = Failure::new(Exit::Failed, message);
        Some(failure.hint(format!(
            "to see where it is: towpath subscription get {name}"
        )))
    }
}

fn is_connected_as(consumer: &SubscriptionConsumer, id: &str) -> bool {
    consumer.is_connected && consumer.consumer_id == id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(unsettled: u64, waiting: u64, in_flight: u64, own: u64) -> Rest {
        Rest {
            unsettled,
            waiting,
            in_flight,
            own: Some(own),
            ..Rest::default()
        }
    }

    #[test]
    fn nothing_is_left_when_all_is_settled_or_waits_and_nobody_has_a_record() {
        let check = |rest: Rest, expected: Option<u32>| {
            assert_eq!(rest.looks_needed(0), expected, "{rest:?}");
        };
        check(rest(0, 0, 0, 0), Some(1));
        check(rest(3, 3, 0, 0), Some(LOOKS));
        let redriven = Rest {
            redriven: 1,
            ..rest(0, 0, 0, 0)
        };
        check(redriven, Some(LOOKS));
        check(rest(1, 0, 0, 0), None);
        check(rest(3, 2, 0, 0), None);
        let behind_letters = Rest {
            parked_keys: 1,
            ..rest(3, 2, 0, 0)
        };
        check(behind_letters, Some(LOOKS_UNSETTLED));
        check(rest(1, 0, 1, 0), None);
        check(rest(1, 1, 1, 0), None);
        check(rest(1, 0, 1, 1), None);
        let paused = Rest {
            is_paused: true,
            ..rest(5, 0, 0, 0)
        };
        check(paused, Some(1));
        let unknown = Rest {
            own: None,
            ..rest(0, 0, 0, 0)
        };
        check(unknown, None);
    }

    #[test]
    fn who_settles_nothing_looks_again_and_again() {
        assert_eq!(rest(9, 0, 2, 2).looks_needed(2), Some(LOOKS_UNSETTLED));
        assert_eq!(rest(9, 0, 3, 3).looks_needed(2), None, "one is on its way");
    }
}
