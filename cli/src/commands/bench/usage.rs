//! What a process has used, as Linux tells it.

use std::fs;
use std::time::Duration;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time, in user mode and in the kernel.
    pub(super) cpu: Duration,
    /// Memory in use now.
    pub(super) memory_bytes: u64,
    /// Most memory that was in use at any time.
    pub(super) memory_bytes_max: u64,
}

/// Looks at a process; none if it cannot be looked at.
pub(super) fn usage_of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu: cpu_of(&stat, rustix::param::clock_ticks_per_second())?,
        memory_bytes: kibibytes_of(&status, "VmRSS:")? * 1024,
        memory_bytes_max: kibibytes_of(&status, "VmHWM:")? * 1024,
    })
}

fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name of the program stands in brackets and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    let millis = (user + kernel)
        .checked_mul(1_000)?
        .checked_div(ticks_per_second)?;
    Some(Duration::from_millis(millis))
}

fn kibibytes_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 5 0 100 0 0";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(2)), "time");
        assert_eq!(cpu_of("nonsense", 100), None, "nonsense");
    }

    #[test]
    fn memory_is_read_by_its_name() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(kibibytes_of(status, "VmRSS:"), Some(1_024), "now");
        assert_eq!(kibibytes_of(status, "VmHWM:"), Some(2_048), "most");
        assert_eq!(kibibytes_of(status, "VmX:"), None, "missing");
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let usage = usage_of(std::process::id()).expect("usage");
        assert!(
            usage.memory_bytes > 0 && usage.memory_bytes_max >= usage.memory_bytes,
            "{usage:?}"
        );
        assert_eq!(usage_of(u32::MAX), None, "no such process");
    }
}
