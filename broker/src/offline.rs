//! What can be done with a data folder that no broker uses: checking it, and getting over damage that
//! refuses the start.

use std::ops::ControlFlow;
use std::sync::Arc;

use towpath_storage::repair::{self, Plan};
use towpath_storage::verify::{self, Summary, Told, VerifiedState};
use towpath_storage::vfs::Vfs;
use towpath_storage::{Environment, OpenError, PartitionBounds, PartitionRef, StorageOptions};

use crate::core::{CoreLimits, State, index_filter_key_bytes};

impl VerifiedState for State {
    fn partitions(&self) -> Vec<(PartitionRef, PartitionBounds)> {
        let topics = self.topics();
        let partitions = topics.flat_map(|topic| {
            let topic_id = topic.id();
            let numbered = (0..).zip(topic.partitions());
            numbered.map(move |(number, partition)| {
                let at = PartitionRef {
                    topic: topic_id,
                    partition: number,
                };
                (at, partition.bounds(at))
            })
        });
        partitions.collect()
    }
}

/// Checks every byte of a data folder that means something, and changes nothing. `tell` may break off.
///
/// # Errors
/// [`OpenError`]: it is no data folder of this or an older release, or a broker uses it.
pub fn verify_folder(
    vfs: Arc<dyn Vfs>,
    tell: &mut dyn FnMut(Told<'_>) -> ControlFlow<()>,
) -> Result<Summary, OpenError> {
    verify::verify(vfs, &mut empty(), tell)
}

/// Says what would be given up so that the broker starts again; none if nothing need be.
///
/// # Errors
/// As [`repair::plan`].
pub fn plan_repair(environment: &Environment) -> Result<Option<Plan>, OpenError> {
    repair::plan(environment, &mut empty())
}

/// Gives up what the plan says, and nothing else.
///
/// # Errors
/// As [`repair::carry_out`].
pub fn repair_folder(environment: &Environment, plan: &Plan) -> Result<(), OpenError> {
    let mut options = StorageOptions::default();
    options.index.filter_key_bytes = index_filter_key_bytes;
    repair::carry_out(environment, &options, &mut empty(), plan).map(drop)
}

fn empty() -> State {
    State::new(CoreLimits::default())
}
