//! System calls that fail, lie or are slow: `strace` changes what a process is told.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempPath;

use super::tool::run;
use crate::process::Running;

/// Longest time that `strace` may take to attach itself; reached only when something hangs.
const ATTACH_PATIENCE: Duration = Duration::from_secs(30);

/// Which calls are changed. Each thread counts its own calls of each name, from 1.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// One.
    Nth(u32),
    /// All from this one on.
    From(u32),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nth(number) => write!(f, "{number}"),
            Self::From(number) => write!(f, "{number}+"),
        }
    }
}

/// A change to system calls, for a process that is started under it or that it attaches itself to.
///
/// The kernel's filter (`--seccomp-bpf`) would make it faster and is not used: with it, some versions
/// inject nothing and do not say so. [`Strace::change_count`] tells whether anything was changed.
#[derive(Debug)]
pub struct Strace {
    rules: Vec<OsString>,
    output: TempPath,
}

impl Strace {
    /// Why this machine cannot change system calls; none if it can.
    pub fn missing() -> Option<&'static str> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        let try_it = || {
            let strace = Self::lying("fsync");
            let (program, args) = strace
                .wrapper()
                .split_first()
                .map(|(first, rest)| (first.clone(), rest.to_vec()))?;
            let program = program.to_str()?.to_owned();
            run(&program, args.into_iter().chain(["true".into()])).err()
        };
        MISSING.get_or_init(try_it).as_deref()
    }

    /// Calls of these names (`a,b`) fail with an error such as `EIO`, and do nothing.
    pub fn failing(calls: &str, error: &str, when: When) -> Self {
        Self::new(calls, &format!("error={error}:when={when}"))
    }

    /// Calls of these names do nothing and say that they have.
    pub fn lying(calls: &str) -> Self {
        Self::new(calls, "retval=0")
    }

    /// Calls of these names begin only after a delay.
    pub fn slow(calls: &str, delay: Duration) -> Self {
        Self::new(calls, &format!("delay_enter={}ms", delay.as_millis()))
    }

    fn new(calls: &str, change: &str) -> Self {
        let output = tempfile::NamedTempFile::new().expect("a file");
        let rules = [
            "-e".to_owned(),
            format!("trace={calls}"),
            "-e".to_owned(),
            format!("inject={calls}:{change}"),
        ];
        Self {
            rules: rules.map(OsString::from).to_vec(),
            output: output.into_temp_path(),
        }
    }

    /// Changes only calls that have to do with one of these paths: as an argument, word for word, or
    /// through a descriptor.
    #[must_use]
    pub fn on<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        for path in paths {
            self.rules.push("-P".into());
            self.rules.push(path.as_ref().into());
        }
        self
    }

    /// The program and its arguments, for a process that is started under it.
    pub fn wrapper(&self) -> Vec<OsString> {
        let mut wrapper: Vec<OsString> = ["strace", "-f", "-qq", "-o"].map(OsString::from).to_vec();
        wrapper.push(self.output.as_os_str().to_owned());
        wrapper.extend(self.rules.iter().cloned());
        wrapper
    }

    /// Attaches itself to a process, all its threads, and is at work on return. Dropping the result
    /// lets the process go on unchanged.
    ///
    /// # Panics
    ///
    /// It cannot attach itself.
    #[track_caller]
    pub fn attach(&self, pid: i32) -> Running {
        let mut command = Command::new("sh");
        // It tells on standard error that it is attached; only standard output can be waited for.
        command
            .args(["-c", "exec strace \"$@\" 2>&1", "sh", "-f", "-o"])
            .arg(self.output.as_os_str())
            .args(&self.rules)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null());
        let mut strace = Running::spawn(&mut command);
        let line = strace.stdout.line(ATTACH_PATIENCE).unwrap_or_default();
        assert!(line.contains("attached"), "strace is not attached: {line}");
        strace
    }

    /// How many calls were changed up to now.
    pub fn change_count(&self) -> usize {
        let trace = std::fs::read_to_string(&self.output).unwrap_or_default();
        let is_changed = |line: &&str| line.contains("(INJECTED)") || line.contains("(DELAYED)");
        trace.lines().filter(is_changed).count()
    }

    /// What it has written down, for a person who looks into a failure.
    pub fn trace(&self) -> PathBuf {
        self.output.to_path_buf()
    }
}
