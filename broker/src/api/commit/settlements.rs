//! The settlements of a commit.

use std::collections::BTreeMap;

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::OffsetRange;

use super::{Shared, status, subscription};
use crate::core::{CommitSettlement, DeliveryOutcome, SubscriptionId};

/// Records that one commit may settle.
pub(super) const SETTLED_RECORDS_MAX: u64 = 10_000;
/// Records that may have failed among them: each has a row with its reasons.
const FAILED_RECORDS_MAX: u64 = 1_000;

/// The settlements that were read so far.
#[derive(Debug, Default)]
pub(super) struct Settlements {
    /// Subscriptions that were found by their names, with the number of partitions of their topics.
    found: BTreeMap<String, (SubscriptionId, u32)>,
    /// What is named, to see whether anything is named twice.
    named: BTreeMap<(SubscriptionId, u32), Vec<OffsetRange>>,
    settled_count: u64,
    failed_count: u64,
}

impl Settlements {
    /// Reads the settlement of operation `number`.
    ///
    /// # Errors
    /// What is wrong with it, or that there is no such subscription.
    pub(super) async fn read(
        &mut self,
        shared: &Shared,
        number: usize,
        asked: &v1::SettleRecords,
    ) -> Result<CommitSettlement, Problem> {
        let field = |name: &str| format!("operations[{number}].settle.{name}");
        let (id, partition_count) = self.find(shared, number, &asked.subscription).await?;
        let Some(settlement) = &asked.settlement else {
            let message = "it is not said what to settle";
            return Err(Problem::invalid_field(field("settlement"), message));
        };
        let within = |name: &str| field(&format!("settlement.{name}"));
        let settlement = subscription::settlement(within, settlement, partition_count)?;
        if settlement.ranges.is_empty() {
            let message = "there is no record to settle";
            return Err(Problem::invalid_field(within("ranges"), message));
        }
        let counts = settlement.ranges.iter().map(|it| it.end.since(it.start));
        let count = counts.fold(0, u64::saturating_add);
        match settlement.outcome {
            DeliveryOutcome::Ack | DeliveryOutcome::Release => {}
            DeliveryOutcome::Nack { .. } | DeliveryOutcome::DeadLetter { .. } => {
                self.failed_count = self.failed_count.saturating_add(count);
            }
            DeliveryOutcome::Start | DeliveryOutcome::Extend => {
                let message = "a commit acks, nacks, releases or dead-letters";
                return Err(Problem::invalid_field(within("outcome"), message)
                    .with_hint("the others settle nothing: send them with Settle"));
            }
        }
        self.settled_count = self.settled_count.saturating_add(count);
        let too_many = [
            (self.settled_count, SETTLED_RECORDS_MAX, "settled"),
            (self.failed_count, FAILED_RECORDS_MAX, "nacked or dead"),
        ];
        for (count, count_max, what) in too_many {
            if count > count_max {
                let message = format!("at most {count_max} records are {what} by one commit");
                return Err(Problem::invalid_field(within("ranges"), message));
            }
        }
        let named = self.named.entry((id, settlement.partition)).or_default();
        let is_named = |range: &OffsetRange| {
            named
                .iter()
                .any(|other| range.start < other.end && other.start < range.end)
        };
        if settlement.ranges.iter().any(is_named) {
            let message = "a record is settled twice in one commit";
            return Err(Problem::invalid_field(within("ranges"), message));
        }
        named.extend(&settlement.ranges);
        Ok(CommitSettlement {
            operation: number,
            subscription: id,
            settlement,
        })
    }

    async fn find(
        &mut self,
        shared: &Shared,
        number: usize,
        name: &str,
    ) -> Result<(SubscriptionId, u32), Problem> {
        if let Some(known) = self.found.get(name) {
            return Ok(*known);
        }
        let field = format!("operations[{number}].settle.subscription");
        let found = subscription::find(shared, &field, name).await;
        let (found, _) = found.map_err(|problem| problem.with("operation", number))?;
        let partition_count = u32::try_from(found.partitions.len()).unwrap_or(u32::MAX);
        let Some(id) = found.id else {
            return Err(status::subscription_deleted(&found.name));
        };
        self.found.insert(name.to_owned(), (id, partition_count));
        Ok((id, partition_count))
    }
}
