//! Settlements, in commands that stay small.

use std::convert::Infallible;

use tokio::sync::mpsc;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Lsn, OffsetRange};

use super::{Shared, convert, show, status};
use crate::core::{DeliveryOutcome, Settlement, SubscriptionEvent, SubscriptionId};
use crate::runtime::command::{CommandError, ControlCommand};
use crate::runtime::subscription_command::{
    FAILED_RECORDS_MAX, SETTLED_RECORDS_MAX, SETTLEMENTS_MAX, SubscriptionCommand, SubscriptionSink,
};

/// Records that one request may name.
const RECORDS_PER_REQUEST_MAX: u64 = 65_536;
/// Settlements that one request may hold.
const SETTLEMENTS_PER_REQUEST_MAX: usize = 10_000;

/// A request taken apart into commands.
#[derive(Debug)]
pub(super) struct Parts {
    /// How many settlements it has.
    pub(super) settlement_count: usize,
    /// For each command what it says, with the number of the settlement that each part belongs to.
    pub(super) commands: Vec<(Vec<usize>, Vec<Settlement>)>,
}

impl Parts {
    /// Reads a request about a topic of so many partitions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(
        place: &str,
        settlements: &[v1::Settlement],
        partition_count: u32,
    ) -> Result<Self, Problem> {
        if settlements.len() > SETTLEMENTS_PER_REQUEST_MAX {
            let message = format!("at most {SETTLEMENTS_PER_REQUEST_MAX} settlements");
            return Err(Problem::invalid_field(place, message));
        }
        let mut parts = Self {
            settlement_count: settlements.len(),
            commands: Vec::new(),
        };
        let mut room = Room::default();
        let mut record_count = 0_u64;
        for (number, asked) in settlements.iter().enumerate() {
            let field = |name: &str| format!("{place}[{number}].{name}");
            let read = convert::settlement(field, asked, partition_count)?;
            let counts = read.ranges.iter().map(|it| it.end.since(it.start));
            record_count = counts.fold(record_count, u64::saturating_add);
            if record_count > RECORDS_PER_REQUEST_MAX {
                let message = format!("at most {RECORDS_PER_REQUEST_MAX} records in all");
                return Err(Problem::invalid_field(field("ranges"), message));
            }
            parts.add(number, read, &mut room);
        }
        Ok(parts)
    }

    fn add(&mut self, number: usize, settlement: Settlement, room: &mut Room) {
        let cost = match settlement.outcome {
            DeliveryOutcome::Nack { .. } | DeliveryOutcome::DeadLetter { .. } => {
                SETTLED_RECORDS_MAX.div_ceil(FAILED_RECORDS_MAX)
            }
            DeliveryOutcome::Ack
            | DeliveryOutcome::Release
            | DeliveryOutcome::Start
            | DeliveryOutcome::Extend => 1,
        };
        let ranges = settlement.ranges.clone();
        for range in ranges {
            let mut left = range;
            while left.start < left.end {
                let fitting = room.records / cost;
                if fitting == 0 || room.settlements == 0 || self.commands.is_empty() {
                    *room = Room::default();
                    self.commands.push((Vec::new(), Vec::new()));
                    continue;
                }
                let count = left.end.since(left.start).min(fitting);
                let end = left.start.advance(count);
                let part = OffsetRange {
                    start: left.start,
                    end,
                };
                room.records -= end.since(left.start) * cost;
                left.start = end;
                self.push(number, &settlement, part, room);
            }
        }
    }

    fn push(&mut self, number: usize, whole: &Settlement, part: OffsetRange, room: &mut Room) {
        let Some((numbers, settlements)) = self.commands.last_mut() else {
            return;
        };
        match (numbers.last(), settlements.last_mut()) {
            (Some(last), Some(settlement)) if *last == number => settlement.ranges.push(part),
            _ => {
                room.settlements -= 1;
                numbers.push(number);
                settlements.push(Settlement {
                    ranges: vec![part],
                    ..whole.clone()
                });
            }
        }
    }
}

/// What still fits into a command.
#[derive(Debug)]
struct Room {
    records: u64,
    settlements: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            records: SETTLED_RECORDS_MAX,
            settlements: SETTLEMENTS_MAX,
        }
    }
}

/// The results of a request as the answers to its commands come in.
#[derive(Debug)]
pub(super) struct Results {
    expired: Vec<Vec<OffsetRange>>,
    /// Numbers of the settlements of the commands that were not answered, in order.
    open: std::collections::VecDeque<Vec<usize>>,
}

impl Results {
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            expired: vec![Vec::new(); parts.settlement_count],
            open: parts.commands.iter().map(|(it, _)| it.clone()).collect(),
        }
    }

    /// Takes the answer to the next command.
    pub(super) fn take(&mut self, expired: Vec<Vec<OffsetRange>>) {
        let numbers = self.open.pop_front().unwrap_or_default();
        for (number, expired) in numbers.into_iter().zip(expired) {
            if let Some(result) = self.expired.get_mut(number) {
                result.extend(expired);
            }
        }
    }

    /// Whether all commands were answered.
    pub(super) fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// What the client is told.
    pub(super) fn told(self) -> Vec<v1::SettleResult> {
        let results = self.expired.into_iter();
        let results = results.map(|expired| v1::SettleResult {
            expired: expired.into_iter().map(convert::range).collect(),
        });
        results.collect()
    }
}

/// Pushes the commands of a request; a closed queue answers them as not begun.
pub(super) fn push(
    shared: &Shared,
    subscription: SubscriptionId,
    parts: Parts,
    sink: &std::sync::Arc<dyn SubscriptionSink>,
) {
    for (_, settlements) in parts.commands {
        let command = ControlCommand::Subscription(SubscriptionCommand::Settle {
            subscription,
            settlements,
            sink: std::sync::Arc::clone(sink),
        });
        if let Err(command) = shared.commands.push_control(command) {
            command.fail(false);
        }
    }
}

type Answer = Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>;

/// Hears of settlements that were made with one call.
#[derive(Debug)]
struct CallSink(mpsc::UnboundedSender<Answer>);

impl SubscriptionSink for CallSink {
    fn tell(&self, _event: SubscriptionEvent, _lsn: Lsn) {}

    fn answer(&self, expired: Answer) {
        drop(self.0.send(expired));
    }
}

/// Settles records with one call.
pub(super) async fn settle(
    shared: &Shared,
    request: &v1::SettleRequest,
) -> Result<v1::SettleResponse, Problem> {
    if request.settlements.is_empty() {
        let message = "there is nothing to settle";
        return Err(Problem::invalid_field("settlements", message));
    }
    let (found, _) = show::find(shared, "subscription", &request.subscription).await?;
    let partition_count = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
    let parts = Parts::of("settlements", &request.settlements, partition_count)?;
    shared.refuse_when_draining()?;
    let Some(subscription) = found.id else {
        return Err(status::subscription_deleted(&found.name));
    };
    let mut results = Results::of(&parts);
    let (sink, mut answers) = mpsc::unbounded_channel();
    let sink: std::sync::Arc<dyn SubscriptionSink> = std::sync::Arc::new(CallSink(sink));
    push(shared, subscription, parts, &sink);
    while !results.is_complete() {
        let answer = answers.recv().await.unwrap_or(Err(CommandError::Failed));
        let expired =
            answer.map_err(|error| status::command_failed(error, |never| match never {}))?;
        results.take(expired);
    }
    Ok(v1::SettleResponse {
        results: results.told(),
    })
}
