//! What a figure cost and where it was taken: processor time, stolen time, machine.
//!
//! Reads `/proc`, so it works on Linux only.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The machine a run was made on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub processor: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Main memory in GiB.
    pub memory_gib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Type of the file system that was measured, for example `ext4`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
}

impl Machine {
    /// Describes this machine and the file system of `dir`, if a file system is measured.
    ///
    /// # Errors
    /// Those of `/proc` and of `dir`.
    pub fn describe(dir: Option<&Path>) -> Result<Self> {
        let processors = read("/proc/cpuinfo")?;
        let memory = read("/proc/meminfo")?;
        let memory_kib: u64 = field(&memory, "MemTotal")
            .and_then(first_number)
            .unwrap_or(0);
        Ok(Self {
            processor: field(&processors, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (memory_kib + KIB_PER_GIB / 2) / KIB_PER_GIB,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: dir.map(file_system).transpose()?,
        })
    }
}

/// Processor time spent between two moments, and how much of the machine others had.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Wall clock time in seconds.
    pub seconds: f64,
    /// Seconds of the server process, user and system, if there is one to watch.
    pub server_cpu_seconds: Option<f64>,
    /// Seconds of this process, user and system.
    pub client_cpu_seconds: f64,
    /// Share of all processor time that the hypervisor gave to others, in percent.
    pub steal_percent: f64,
    /// Share of all processor time that other processes of this machine had, in percent.
    pub others_percent: f64,
}

/// Measures a [`Usage`] from its start to each [`Meter::stop`].
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    server_pid: Option<u32>,
    server_ticks: u64,
    /// What counts as the client.
    client: fn() -> Result<u64>,
    client_ticks: u64,
    host: HostTicks,
}

impl Meter {
    /// Starts to measure this process and, if given, the server's.
    ///
    /// # Errors
    /// Those of `/proc`: the server may have ended.
    pub fn start(server_pid: Option<u32>) -> Result<Self> {
        Self::start_with(server_pid, || process_ticks(std::process::id()))
    }

    /// The same, with all processes that this one starts and that end before [`Meter::stop`] as
    /// clients.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub(crate) fn start_with_children(server_pid: Option<u32>) -> Result<Self> {
        Self::start_with(server_pid, || {
            let (own, children) = ticks_with_children(std::process::id())?;
            Ok(own + children)
        })
    }

    fn start_with(server_pid: Option<u32>, client: fn() -> Result<u64>) -> Result<Self> {
        Ok(Self {
            server_pid,
            server_ticks: server_pid.map_or(Ok(0), process_ticks)?,
            client,
            client_ticks: client()?,
            host: HostTicks::read()?,
            start: Instant::now(),
        })
    }

    /// Measures up to now.
    ///
    /// # Errors
    /// Those of `/proc`: the server may have ended.
    pub fn stop(&self) -> Result<Usage> {
        let seconds = self.start.elapsed().as_secs_f64();
        let server_ticks = self.server_pid.map_or(Ok(0), process_ticks)? - self.server_ticks;
        let client_ticks = (self.client)()? - self.client_ticks;
        let host = HostTicks::read()?.since(&self.host);
        let other_ticks = host.busy.saturating_sub(server_ticks + client_ticks);
        Ok(Usage {
            seconds,
            server_cpu_seconds: self.server_pid.map(|_| ticks_to_seconds(server_ticks)),
            client_cpu_seconds: ticks_to_seconds(client_ticks),
            steal_percent: host.percent(host.stolen),
            others_percent: host.percent(other_ticks),
        })
    }
}

/// The counters of `/proc/stat` over all processors, in clock ticks.
#[derive(Debug)]
struct HostTicks {
    total: u64,
    /// Neither idle nor stolen.
    busy: u64,
    stolen: u64,
}

impl HostTicks {
    fn read() -> Result<Self> {
        Ok(Self::parse(&read("/proc/stat")?))
    }

    /// The first line is `cpu user nice system idle iowait irq softirq steal guest guest_nice`;
    /// guest time is part of user time.
    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map_while(first_number)
            .collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
        let (user, nice, system, interrupts) = (at(0), at(1), at(2), at(5) + at(6));
        let (idle, stolen) = (at(3) + at(4), at(7));
        let busy = user + nice + system + interrupts;
        Self {
            total: busy + idle + stolen,
            busy,
            stolen,
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            busy: self.busy.saturating_sub(earlier.busy),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    fn percent(&self, ticks: u64) -> f64 {
        100.0 * ticks_to_seconds(ticks) / ticks_to_seconds(self.total.max(1))
    }
}

/// User and system time of a process with all its threads, in clock ticks.
pub(crate) fn process_ticks(pid: u32) -> Result<u64> {
    ticks_with_children(pid).map(|(own, _children)| own)
}

/// The same, and beside it that of its children that have ended.
fn ticks_with_children(pid: u32) -> Result<(u64, u64)> {
    parse_process_ticks(&read(&format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| Error::Report(format!("/proc/{pid}/stat has an unknown form")))
}

/// The name in parentheses may hold anything, so fields count from the last `)`.
fn parse_process_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields
        .split_whitespace()
        .skip(FIELDS_BETWEEN_NAME_AND_UTIME)
        .map_while(|field| field.parse::<u64>().ok());
    let mut user_and_system = || Some(ticks.next()? + ticks.next()?);
    Some((user_and_system()?, user_and_system()?))
}

/// Most resident memory that a process has had.
///
/// # Errors
/// Those of `/proc`: it may have ended.
pub(crate) fn memory_bytes_max(pid: u32) -> Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = field(&status, "VmHWM").and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Error::Report(format!("/proc/{pid}/status does not tell its memory")))
}

const FIELDS_BETWEEN_NAME_AND_UTIME: usize = 11;
const KIB_PER_GIB: u64 = 1 << 20;

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of one run are far below 2^52"
)]
fn ticks_to_seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Names the file system that holds `dir`: the longest mount point above it.
fn file_system(dir: &Path) -> Result<String> {
    let dir = fs::canonicalize(dir).map_err(Error::io("find the folder"))?;
    let mounts = read("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (_, point, name) = (fields.next()?, fields.next()?, fields.next()?);
            dir.starts_with(point).then_some((point, name))
        })
        .max_by_key(|(point, _)| point.len());
    Ok(mount.map_or("unknown", |(_, name)| name).to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read /proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 2 3 20 0 1 0 5 6 7";
        assert_eq!(parse_process_ticks(stat), Some((42, 5)));
        assert_eq!(parse_process_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn host_time_is_split_into_busy_idle_and_stolen_without_guests() {
        let before = HostTicks::parse("cpu  10 0 10 80 0 0 0 0 5 0\ncpu0 1 1 1\n");
        let after = HostTicks::parse("cpu  60 1 20 110 3 1 1 4 9 0\ncpu0 1 1 1\n");
        let between = after.since(&before);
        assert_eq!((between.total, between.busy, between.stolen), (100, 63, 4));
        assert!((between.percent(between.stolen) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn busy_work_shows_in_the_time_of_this_process() {
        let meter = Meter::start(None).unwrap();
        while meter.start.elapsed().as_millis() < 50 {
            std::hint::black_box(crc32fast::hash(&[7; 4096]));
        }
        let usage = meter.stop().unwrap();
        assert!(
            usage.client_cpu_seconds > 0.0,
            "no processor time was counted"
        );
        assert!(usage.server_cpu_seconds.is_none());
    }

    #[test]
    fn the_machine_has_a_file_system_and_a_core() {
        let machine = Machine::describe(Some(Path::new("/proc"))).unwrap();
        assert_eq!(machine.file_system.as_deref(), Some("proc"));
        assert!(machine.cores > 0 && machine.memory_gib > 0);
    }
}
