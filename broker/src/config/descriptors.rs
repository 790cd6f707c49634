//! How the descriptors that the operating system gives are shared.

use super::Config;
use crate::admin::CONNECTION_COUNT_MAX;
use crate::server::refused_count_max;

/// Descriptors besides connections and segments: listener, its reserve and polling, lock and root, journal and
/// checkpoint files, segments that are being made, folders that are being synced.
const FIXED_COUNT: u64 = 41;
/// The admin listener and its connections, if there is one.
const ADMIN_COUNT: u64 = 1 + CONNECTION_COUNT_MAX as u64;
/// Part of all descriptors that is for open segments, and how many these are at most.
const OPEN: (u64, usize) = (8, 1024);
/// Part of all descriptors that segments with unsynced writes may be; each pins two.
const DIRTY: (u64, usize) = (16, 1024);
/// The same during recovery, when there are no connections.
const RECOVERY_DIRTY: (u64, usize) = (4, 16 * 1024);
/// Part of all descriptors that is for runs of index rows. There are few: at most three of each power of
/// four of their size, 36 for a terabyte of rows however many topics these are about; and what is merged stays
/// open for those who read it.
const RUNS: (u64, u64) = (8, 64);

impl Config {
    /// Shares what a process may have that may open `count` descriptors: segments get their part of them,
    /// and the number of connections is lowered to what is left. Without this, connections could take
    /// the last ones, and a file that cannot be opened ends the broker.
    #[must_use]
    pub fn within_descriptors(mut self, count: u64) -> Self {
        let storage = &mut self.engine.storage;
        share(&mut storage.open_file_count_max, count, OPEN);
        share(&mut storage.dirty_segment_count_max, count, DIRTY);
        let in_recovery = &mut storage.recovery_dirty_segment_count_max;
        share(in_recovery, count, RECOVERY_DIRTY);
        let files = storage.open_file_count_max + 2 * storage.dirty_segment_count_max;
        let admin = match self.admin_listen {
            Some(_) => ADMIN_COUNT,
            None => 0,
        };
        let (part, runs_max) = RUNS;
        let runs = (count / part).min(runs_max);
        let left = count.saturating_sub(FIXED_COUNT + admin + runs + files as u64);
        let connections = &mut self.limits.connection_count_max;
        let left = at_least_one(left);
        let left = left.saturating_sub(refused_count_max(left)).max(1);
        *connections = left.min(*connections);
        self
    }
}

/// Raises or lowers a number to its part, but raises it no further than to `most`.
fn share(number: &mut usize, count: u64, (divisor, most): (u64, usize)) {
    *number = at_least_one(count / divisor).min(most.max(*number));
}

fn at_least_one(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> [usize; 4] {
        let config = Config::default().within_descriptors(count);
        let storage = config.engine.storage;
        [
            config.limits.connection_count_max,
            storage.open_file_count_max,
            storage.dirty_segment_count_max,
            storage.recovery_dirty_segment_count_max,
        ]
    }

    #[test]
    fn a_machine_that_gives_many_gives_segments_more() {
        assert_eq!(counts(1 << 20), [1024, 1024, 1024, 16_384]);
    }

    #[test]
    fn connections_of_admins_have_theirs() {
        let mut config = Config::default();
        config.admin_listen = config.listen;
        let limits = config.within_descriptors(1024).limits;
        assert_eq!(limits.connection_count_max, 647 - 9);
    }

    #[test]
    fn few_are_shared() {
        assert_eq!(counts(1024), [647, 128, 64, 256]);
        assert_eq!(counts(160), [52, 20, 10, 40]);
        assert_eq!(counts(64), [1, 8, 4, 16]);
        assert_eq!(counts(0), [1, 1, 1, 1]);
    }
}
