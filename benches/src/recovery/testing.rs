//! Restarts that were never measured.

use super::{PageCache, Recovery, RecoverySetting, Stop};

/// A restart with what rows and charts show of it.
pub(super) fn restart(
    size_bytes: u64,
    stop: Stop,
    replayed_megabytes: u64,
    ready_ms: f64,
) -> (RecoverySetting, Recovery) {
    let setting = RecoverySetting {
        benchmark: "recovery",
        size_bytes,
        record_bytes: 1024,
        partitions: 8,
        stop,
        page_cache: PageCache::Dropped,
    };
    let recovery = Recovery {
        stored_bytes: size_bytes + replayed_megabytes * 1_000_000,
        entry_count: 10,
        journal_bytes: replayed_megabytes * 900_000,
        referenced_bytes: replayed_megabytes * 100_000,
        ready_ms,
        first_write_ms: ready_ms + 5.0,
        server_cpu_seconds: 0.5,
        steal_percent: 0.0,
        others_percent: 1.0,
    };
    (setting, recovery)
}
