//! `towpath subscription pending`.

use clap::{Args, ValueEnum};
use towpath_client::{PartitionId, PendingList, RecordState, SubscriptionName};

/// Which records to list.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath subscription pending email
  towpath subscription pending email -p 3 --state waiting
  towpath subscription pending email --state in-flight -o json | jq -r .client_name | sort | uniq -c
")]
pub(crate) struct PendingArgs {
    /// Name of the subscription
    pub(crate) name: SubscriptionName,
    /// Only these partitions
    #[arg(long = "partition", short, value_name = "N")]
    partitions: Vec<u32>,
    /// Only records in this state: in-flight, a consumer has it; waiting, for its next attempt or behind
    /// one of its key; dying, on its way to the dead letters
    #[arg(long, value_name = "STATE", hide_possible_values = true)]
    state: Option<State>,
    /// At most so many records
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100,
          value_parser = super::super::number::parse_count::<u32>)]
    pub(crate) limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// A consumer has it.
    InFlight,
    /// It waits.
    Waiting,
    /// It goes to the dead letters.
    Dying,
}

impl PendingArgs {
    /// What the SDK is to list.
    pub(crate) fn to_list(&self) -> PendingList {
        let partitions = self.partitions.iter().copied().map(PartitionId::new);
        let list = PendingList::new(self.name.as_str())
            .partitions(partitions)
            .page_size(self.limit);
        match self.state {
            None => list,
            Some(State::InFlight) => list.state(RecordState::InFlight),
            Some(State::Waiting) => list.state(RecordState::Waiting),
            Some(State::Dying) => list.state(RecordState::Dying),
        }
    }
}
