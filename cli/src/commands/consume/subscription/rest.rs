//! What a subscription has not settled when it hands nothing out.

use towpath_client::{Subscription, SubscriptionConsumer};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, count_of};

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
