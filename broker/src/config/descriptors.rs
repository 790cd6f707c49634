//! How the descriptors that the operating system gives are shared.

use super::Config;

/// Descriptors besides connections and segments: listener and polling, lock and root, journal and
/// checkpoint files, folders that are being synced.
const FIXED_COUNT: u64 = 24;
/// Part of all descriptors that is for open segments.
const OPEN_DIVISOR: u64 = 8;
/// Part of all descriptors that segments with unsynced writes may be; each pins two.
const DIRTY_DIVISOR: u64 = 16;

impl Config {
    /// Lowers what takes descriptors to what a process may have that may open `count`. Without this,
    /// connections could take the last ones, and a file that cannot be opened ends the broker.
    #[must_use]
    pub fn within_descriptors(mut self, count: u64) -> Self {
        let storage = &mut self.engine.storage;
        lower(&mut storage.open_file_count_max, count / OPEN_DIVISOR);
        lower(&mut storage.dirty_segment_count_max, count / DIRTY_DIVISOR);
        let files = storage.open_file_count_max + 2 * storage.dirty_segment_count_max;
        let left = count.saturating_sub(FIXED_COUNT + files as u64);
        lower(&mut self.limits.connection_count_max, left);
        self
    }
}

/// Lowers a number to what there is, and to no less than one.
fn lower(number: &mut usize, max: u64) {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    *number = max.min(*number).max(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> [usize; 3] {
        let config = Config::default().within_descriptors(count);
        let storage = config.engine.storage;
        [
            config.limits.connection_count_max,
            storage.open_file_count_max,
            storage.dirty_segment_count_max,
        ]
    }

    #[test]
    fn a_machine_that_gives_many_lowers_nothing() {
        assert_eq!(counts(1 << 20), [1024, 256, 256]);
    }

    #[test]
    fn few_are_shared() {
        assert_eq!(counts(1024), [744, 128, 64]);
        assert_eq!(counts(64), [24, 8, 4]);
        assert_eq!(counts(0), [1, 1, 1]);
    }
}
