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
                segments.map(move |segment| {
                    let (base, generation) = (segment.base.get(), segment.generation);
                    (topic.id().get(), number, base, generation)
                })
            })
        })
        .collect();
    for path in disk.paths() {
        // topics/<id>-<name>/<partition>/<base>.log, or <base>-<generation>.log
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
        let (_, name) = path.rsplit_once('/').unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        let generation = stem
            .split_once('-')
            .map_or(0, |(_, it)| it.parse().unwrap());
        assert!(
            known.contains(&(topic, partition, base, generation)),
            "{path} belongs to nothing"
        );
    }
}
