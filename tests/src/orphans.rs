//! Files that belong to nothing.

use std::collections::BTreeSet;

use towpath_broker::core::State;
use towpath_storage::vfs::sim::SimDisk;

/// Checks that every segment file on the disk is one of the state's.
pub fn check_none(state: &State, disk: &SimDisk) {
    let known: BTreeSet<_> = state
        .topics()
        .flat_map(|topic| {
            let partitions = (0..).zip(topic.partitions());
            partitions.flat_map(move |(number, partition)| {
                let segments = partition.segments().iter();
                segments.map(move |segment| (topic.id().get(), number, segment.base.get()))
            })
        })
        .collect();
    for path in disk.paths() {
        // topics/<id>-<name>/<partition>/<base>.log
        let Some(rest) = path.strip_prefix("topics/") else {
            continue;
        };
        let numbers = rest.split('/').map(|part| {
            let digits = part.split(['-', '.']).next().unwrap_or_default();
            digits.parse::<u64>().unwrap()
        });
        let [topic, partition, base] = numbers.collect::<Vec<_>>()[..] else {
            continue;
        };
        assert!(
            known.contains(&(topic, partition, base)),
            "{path} belongs to nothing"
        );
    }
}
