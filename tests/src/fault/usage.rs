//! What a process uses.

use std::path::PathBuf;
use std::time::Duration;

/// Unit of the times in `/proc/<pid>/stat`, the same on every machine.
const TICKS_PER_SECOND: u32 = 100;
/// Places of the user and system time behind the name in `/proc/<pid>/stat`.
const TIME_PLACES: [usize; 2] = [11, 12];

/// Processor time that a process has used since its start, all threads together.
///
/// # Panics
///
/// The process is gone.
pub fn cpu_time(pid: i32) -> Duration {
    let stat = read(pid, "stat");
    // pid (name, which may hold anything) state parent ...
    let (_, behind_name) = stat.rsplit_once(')').expect("a name in brackets");
    let words: Vec<_> = behind_name.split_whitespace().collect();
    let ticks = TIME_PLACES.map(|place| words[place].parse::<u32>().expect("a number"));
    Duration::from_secs(1) * ticks.iter().sum() / TICKS_PER_SECOND
}

/// Memory that a process holds, bytes.
///
/// # Panics
///
/// The process is gone.
pub fn resident_bytes(pid: i32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Most memory that a process has held since its start, bytes.
///
/// # Panics
///
/// The process is gone.
pub fn resident_bytes_peak(pid: i32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: i32, name: &str) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let text = line.expect("a running process holds memory");
    let kibibytes = text.split_whitespace().next().expect("a number");
    kibibytes.parse::<u64>().expect("a number") * 1024
}

/// Number of descriptors that a process has open.
///
/// # Panics
///
/// The process is gone.
pub fn descriptor_count(pid: i32) -> usize {
    let entries = std::fs::read_dir(path(pid, "fd")).expect("a running process");
    entries.count()
}

fn read(pid: i32, name: &str) -> String {
    std::fs::read_to_string(path(pid, name)).expect("a running process")
}

fn path(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}
