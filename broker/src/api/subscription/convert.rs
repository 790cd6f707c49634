//! Between the messages about subscriptions and the broker's own types.

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Lsn, Offset, OffsetRange};

use super::place::Place;
use super::status;
use crate::core::{
    CaughtUp, DeliveryOutcome, Mode, OnDeadLetter, OnFilterError, RetryPolicy, Settlement,
    SubscriptionConfig,
};
use crate::filter::Filter;

const ACK_DEADLINE_MS_DEFAULT: u64 = 30_000;
const ACK_DEADLINE_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;
const BACKOFF_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
const ATTEMPTS_MAX: u32 = 1_000_000;
/// Longest reason that is kept.
const REASON_BYTES_MAX: usize = 200;

/// Tells that nothing can be handed out to a consumer now.
pub(super) fn caught_up(it: &CaughtUp, lsn: Lsn) -> v1::SubscriptionCaughtUp {
    v1::SubscriptionCaughtUp {
        lsn: lsn.get(),
        broker_time_ms: it.broker_time_ms,
        in_flight_records: it.in_flight_count,
        elsewhere_in_flight_records: it.elsewhere_count,
        waiting_records: it.waiting_count,
        redriven_records: it.redriven_count,
        next_due_ms: it.next_due_ms,
        parked_keys: it.parked_count,
        halted_partitions: it.halted_count,
        full_partitions: it.full_count,
        is_paused: it.is_paused,
        has_dead_letter_problem: it.has_dead_letter_problem,
    }
}

/// Reads settings from the field `config`.
pub(super) fn config(config: &v1::SubscriptionConfig) -> Result<SubscriptionConfig, Problem> {
    let mode = match v1::SubscriptionMode::try_from(config.mode) {
        Ok(v1::SubscriptionMode::Unspecified | v1::SubscriptionMode::KeyShared) => Mode::KeyShared,
        Ok(v1::SubscriptionMode::Shared) => Mode::Shared,
        Ok(v1::SubscriptionMode::Exclusive) => Mode::Exclusive,
        Err(_unknown) => {
            let message = "this broker does not know the mode";
            return Err(Problem::invalid_field("config.mode", message));
        }
    };
    let on_dead_letter = match v1::OnDeadLetter::try_from(config.on_dead_letter) {
        Ok(v1::OnDeadLetter::Unspecified) if mode == Mode::Shared => OnDeadLetter::Skip,
        Ok(v1::OnDeadLetter::Park) if mode == Mode::Shared => {
            let message = "keys are parked only in modes that keep their order";
            return Err(Problem::invalid_field("config.on_dead_letter", message));
        }
        Ok(v1::OnDeadLetter::Unspecified | v1::OnDeadLetter::Park) => OnDeadLetter::Park,
        Ok(v1::OnDeadLetter::Skip) => OnDeadLetter::Skip,
        Err(_unknown) => {
            let message = "this broker does not know what that is";
            return Err(Problem::invalid_field("config.on_dead_letter", message));
        }
    };
    let ack_deadline_ms = config.ack_deadline_ms.unwrap_or(ACK_DEADLINE_MS_DEFAULT);
    if !ACK_DEADLINE_MS.contains(&ack_deadline_ms) {
        let message = format!(
            "an ack deadline has {} to {} ms, not {ack_deadline_ms}",
            ACK_DEADLINE_MS.start(),
            ACK_DEADLINE_MS.end()
        );
        return Err(Problem::invalid_field("config.ack_deadline_ms", message));
    }
    Ok(SubscriptionConfig {
        mode,
        on_dead_letter,
        retry: retry(config)?,
        ack_deadline_ms,
        filter: filter(&config.filter)?,
        on_filter_error: on_filter_error(config.on_filter_error)?,
    })
}

/// Reads a filter, which has to be one; empty for none.
fn filter(expression: &str) -> Result<Option<String>, Problem> {
    if expression.is_empty() {
        return Ok(None);
    }
    let compiled = Filter::compile(expression);
    compiled.map_err(|error| status::invalid_filter("config.filter", &error))?;
    Ok(Some(expression.to_owned()))
}

fn on_filter_error(on_error: i32) -> Result<OnFilterError, Problem> {
    match v1::OnFilterError::try_from(on_error) {
        Ok(v1::OnFilterError::Unspecified | v1::OnFilterError::Deliver) => {
            Ok(OnFilterError::Deliver)
        }
        Ok(v1::OnFilterError::DeadLetter) => Ok(OnFilterError::DeadLetter),
        Err(_unknown) => {
            let message = "this broker does not know what that is";
            Err(Problem::invalid_field("config.on_filter_error", message))
        }
    }
}

fn retry(config: &v1::SubscriptionConfig) -> Result<RetryPolicy, Problem> {
    let default = RetryPolicy::default();
    let backoff_ms_max = config.backoff_max_ms.unwrap_or(default.backoff_ms_max);
    if backoff_ms_max > BACKOFF_MS_MAX {
        let message = format!("a back-off has at most {BACKOFF_MS_MAX} ms");
        return Err(Problem::invalid_field("config.backoff_max_ms", message));
    }
    let backoff_ms_min = config
        .backoff_min_ms
        .unwrap_or(default.backoff_ms_min.min(backoff_ms_max));
    if backoff_ms_min > backoff_ms_max {
        let message = format!("the shortest back-off is above the longest, {backoff_ms_max} ms");
        return Err(Problem::invalid_field("config.backoff_min_ms", message));
    }
    let attempts_max = config.attempts_max.unwrap_or(default.attempts_max);
    if !(1..=ATTEMPTS_MAX).contains(&attempts_max) {
        let message = format!("there are 1 to {ATTEMPTS_MAX} attempts, not {attempts_max}");
        return Err(Problem::invalid_field("config.attempts_max", message));
    }
    if config.age_max_ms == Some(0) {
        let message = "an age has at least 1 ms; leave it out for any age";
        return Err(Problem::invalid_field("config.age_max_ms", message));
    }
    Ok(RetryPolicy {
        backoff_ms_min,
        backoff_ms_max,
        attempts_max,
        age_ms_max: config.age_max_ms,
    })
}

/// Settings as they are told: all of them set.
pub(super) fn told_config(config: &SubscriptionConfig) -> v1::SubscriptionConfig {
    let on_dead_letter = match config.on_dead_letter {
        OnDeadLetter::Park => v1::OnDeadLetter::Park,
        OnDeadLetter::Skip => v1::OnDeadLetter::Skip,
    };
    v1::SubscriptionConfig {
        mode: mode(config.mode).into(),
        on_dead_letter: on_dead_letter.into(),
        ack_deadline_ms: Some(config.ack_deadline_ms),
        backoff_min_ms: Some(config.retry.backoff_ms_min),
        backoff_max_ms: Some(config.retry.backoff_ms_max),
        attempts_max: Some(config.retry.attempts_max),
        age_max_ms: config.retry.age_ms_max,
        filter: config.filter.clone().unwrap_or_default(),
        on_filter_error: match config.on_filter_error {
            OnFilterError::Deliver => v1::OnFilterError::Deliver,
            OnFilterError::DeadLetter => v1::OnFilterError::DeadLetter,
        }
        .into(),
    }
}

pub(super) fn mode(mode: Mode) -> v1::SubscriptionMode {
    match mode {
        Mode::KeyShared => v1::SubscriptionMode::KeyShared,
        Mode::Shared => v1::SubscriptionMode::Shared,
        Mode::Exclusive => v1::SubscriptionMode::Exclusive,
    }
}

pub(super) fn range(range: OffsetRange) -> v1::OffsetRange {
    v1::OffsetRange {
        start: range.start.get(),
        end: range.end.get(),
    }
}

/// Reads one settlement, of records of a topic of so many partitions.
pub(in crate::api) fn settlement(
    field: impl Fn(&str) -> String,
    settlement: &v1::Settlement,
    partition_count: u32,
) -> Result<Settlement, Problem> {
    use v1::settlement::Outcome;
    let outcome = match &settlement.outcome {
        Some(Outcome::Ack(_)) => DeliveryOutcome::Ack,
        Some(Outcome::Nack(nack)) => {
            if nack
                .delay_ms
                .is_some_and(|delay_ms| delay_ms > BACKOFF_MS_MAX)
            {
                let message = format!("a delay has at most {BACKOFF_MS_MAX} ms");
                return Err(Problem::invalid_field(field("nack.delay_ms"), message));
            }
            DeliveryOutcome::Nack {
                delay_ms: nack.delay_ms,
                reason: cut(&nack.reason),
            }
        }
        Some(Outcome::Release(_)) => DeliveryOutcome::Release,
        Some(Outcome::DeadLetter(dead)) => DeliveryOutcome::DeadLetter {
            reason: cut(&dead.reason),
        },
        Some(Outcome::Start(_)) => DeliveryOutcome::Start,
        Some(Outcome::Extend(_)) => DeliveryOutcome::Extend,
        None => {
            let message = "it is not said what became of the records";
            return Err(Problem::invalid_field(field("outcome"), message));
        }
    };
    let ranges = settlement.ranges.iter().enumerate().map(|(number, it)| {
        if it.start > it.end {
            let message = format!("a range ends at {} before its start {}", it.end, it.start);
            let field = field(&format!("ranges[{number}]"));
            return Err(Problem::invalid_field(field, message));
        }
        Ok(OffsetRange {
            start: Offset::new(it.start),
            end: Offset::new(it.end),
        })
    });
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    let place = Place {
        partition: settlement.partition,
        is_dead_letter: settlement.is_dead_letter,
    };
    Ok(Settlement {
        delivery: settlement.delivery,
        partition: place.number(partition_count),
        ranges: distinct(ranges),
        outcome,
    })
}

/// The same records as ranges that do not overlap, ascending.
fn distinct(mut ranges: Vec<OffsetRange>) -> Vec<OffsetRange> {
    ranges.retain(|it| it.start < it.end);
    ranges.sort_by_key(|it| it.start);
    let mut merged: Vec<OffsetRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The beginning of a reason, as much as is kept.
fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "\u{e4}".repeat(150);
        assert_eq!(cut(&reason).len(), 200);
        assert_eq!(cut(&format!("x{reason}")).len(), 199);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_record_that_is_named_twice_is_settled_once() {
        let range = |start, end| OffsetRange {
            start: Offset::new(start),
            end: Offset::new(end),
        };
        let named = vec![
            range(5, 7),
            range(0, 1),
            range(0, 1),
            range(9, 9),
            range(6, 8),
            range(1, 2),
        ];
        assert_eq!(distinct(named), [range(0, 2), range(5, 8)]);
    }

    #[test]
    fn settings_that_are_told_are_read_back() {
        let given = v1::SubscriptionConfig {
            mode: v1::SubscriptionMode::Exclusive.into(),
            attempts_max: Some(3),
            ..v1::SubscriptionConfig::default()
        };
        let read = config(&given).unwrap();
        assert_eq!(config(&told_config(&read)).unwrap(), read);
        assert_eq!(read.retry.attempts_max, 3);
        assert_eq!(read.retry.backoff_ms_max, 300_000);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |change: fn(&mut v1::SubscriptionConfig), field: &str| {
            let mut given = v1::SubscriptionConfig::default();
            change(&mut given);
            let problem = config(&given).unwrap_err();
            assert_eq!(problem.metadata().get("field").map(|it| &**it), Some(field));
        };
        refused(|it| it.mode = 9, "config.mode");
        refused(
            |it| it.ack_deadline_ms = Some(999),
            "config.ack_deadline_ms",
        );
        refused(|it| it.attempts_max = Some(0), "config.attempts_max");
        refused(
            |it| it.backoff_max_ms = Some(u64::MAX),
            "config.backoff_max_ms",
        );
        refused(
            |it| it.backoff_min_ms = Some(300_001),
            "config.backoff_min_ms",
        );
        refused(|it| it.age_max_ms = Some(0), "config.age_max_ms");
        refused(
            |it| {
                it.mode = v1::SubscriptionMode::Shared.into();
                it.on_dead_letter = v1::OnDeadLetter::Park.into();
            },
            "config.on_dead_letter",
        );
    }
}
