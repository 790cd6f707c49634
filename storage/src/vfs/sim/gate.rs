//! What stands between a caller and the simulated file system: the count of operations, the power
//! switch, the faults, virtual time and the trace.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::fault::{Fault, Injection, OperationKind};
use super::{Latency, Trace};
use crate::environment::SimClock;
use crate::environment::random::SplitMix;

/// Lets operations through, or not.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// Number of mutating operations that were begun with the power on.
    pub(super) operations: u64,
    pub(super) stop: Option<Stop>,
    is_off: bool,
    pub(super) faults: Vec<Injection>,
    pub(super) random: SplitMix,
    pub(super) counts: BTreeMap<OperationKind, u64>,
    pub(super) trace: Trace,
    pub(super) lines: Vec<Arc<str>>,
    pub(super) clock: Option<Arc<SimClock>>,
    pub(super) latency: Latency,
}

/// When the power goes off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) operation: u64,
    /// If that operation is a write, it gets so far.
    pub(super) bytes: usize,
}

/// What happens to an operation that was let through.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Pass,
    Fault(Fault),
    /// The power goes off after so many bytes of a write.
    Cut(usize),
}

/// One operation, for faults and the trace.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: OperationKind,
    pub(super) path: String,
    pub(super) detail: Detail,
}

/// What the trace says of an operation besides its kind and path.
#[derive(Debug)]
pub(super) enum Detail {
    None,
    To(String),
    Length(u64),
    Range {
        position: u64,
        length: u64,
        crc: Option<u32>,
    },
}

/// The error of every call once the power is off.
#[derive(Debug, thiserror::Error)]
#[error("the power of the simulated disk is off")]
struct PowerOff;

/// Whether an error says that the power of the simulated disk is off, after
/// [`SimDisk::stop_before`](super::SimDisk::stop_before).
pub fn is_power_off(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<PowerOff>())
}

impl Gate {
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        Self {
            operations: 0,
            stop: None,
            is_off: false,
            faults: Vec::new(),
            random: SplitMix::new(seed),
            counts: BTreeMap::new(),
            trace,
            lines: Vec::new(),
            clock: None,
            latency: Latency::default(),
        }
    }

    /// As after a restart of the machine: power on, no faults, counts from zero.
    pub(super) fn restarted(&self) -> Self {
        Self {
            random: self.random.clone(),
            clock: self.clock.clone(),
            latency: self.latency,
            ..Self::new(0, self.trace)
        }
    }

    /// Whether paths and checksums of operations are looked at by anything.
    pub(super) fn needs_paths(&self) -> bool {
        self.trace != Trace::Off || !self.faults.is_empty()
    }

    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }

    /// Counts an operation and decides about it.
    pub(super) fn enter(&mut self, call: &Call) -> io::Result<Verdict> {
        if self.is_off {
            return Err(power_off());
        }
        let number = call.kind.is_mutating().then_some(self.operations);
        if let Some(stop) = self.stop
            && number == Some(stop.operation)
        {
            return self.cut(call, stop.bytes);
        }
        self.operations += u64::from(number.is_some());
        *self.counts.entry(call.kind).or_default() += 1;
        self.pass_time(self.latency.of(call.kind));
        Ok(match self.fault(call, number) {
            Some(Fault::Slow(span)) => {
                self.pass_time(span);
                Verdict::Pass
            }
            Some(fault) => Verdict::Fault(fault),
            None => Verdict::Pass,
        })
    }

    fn cut(&mut self, call: &Call, bytes: usize) -> io::Result<Verdict> {
        self.is_off = true;
        if call.kind == OperationKind::Write && bytes > 0 {
            return Ok(Verdict::Cut(bytes));
        }
        Err(power_off())
    }

    fn fault(&mut self, call: &Call, number: Option<u64>) -> Option<Fault> {
        let random = &mut self.random;
        let mut draw = |bound| random.below(bound);
        let mut hit = None;
        // Every injection sees every operation, so that its count does not depend on the others.
        for injection in &mut self.faults {
            if injection.hits(call.kind, &call.path, number, &mut draw) && hit.is_none() {
                hit = Some(injection.fault);
            }
        }
        hit
    }

    fn pass_time(&self, span: Duration) {
        if let Some(clock) = &self.clock {
            clock.advance(span);
        }
    }

    /// Writes an operation into the trace, with its outcome.
    pub(super) fn leave<T: Outcome>(&mut self, call: &Call, result: &io::Result<T>) {
        let is_traced = match self.trace {
            Trace::Off => false,
            Trace::Mutations => call.kind.is_mutating(),
            Trace::All => true,
        };
        if is_traced {
            let outcome = match result {
                Ok(value) => value.outcome(&call.detail),
                Err(error) if is_power_off(error) => " -> power off".to_owned(),
                Err(error) => format!(" -> {}", describe(error)),
            };
            self.lines.push(format!("{call}{outcome}").into());
        }
    }
}

/// The kind of an error, or its name in the system where the standard library has none.
fn describe(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::IO) => "EIO".to_owned(),
        Some(Errno::MFILE) => "EMFILE".to_owned(),
        Some(Errno::BADF) => "EBADF".to_owned(),
        _ => format!("{:?}", error.kind()),
    }
}

pub(super) fn power_off() -> io::Error {
    io::Error::other(PowerOff)
}

/// What the trace says of a success.
pub(super) trait Outcome {
    fn outcome(&self, _detail: &Detail) -> String {
        String::new()
    }
}

impl Outcome for () {}
impl Outcome for super::names::NodeId {}
impl Outcome for u64 {}
impl Outcome for crate::vfs::Space {}
impl Outcome for Vec<crate::vfs::DirEntry> {}

impl Outcome for usize {
    fn outcome(&self, detail: &Detail) -> String {
        match detail {
            Detail::Range { length, .. } if *length == *self as u64 => String::new(),
            _ => format!(" -> {self}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "."
        } else {
            &self.path
        };
        write!(f, "{} {path}", self.kind.as_str())?;
        match &self.detail {
            Detail::None => Ok(()),
            Detail::To(to) => write!(f, " -> {to}"),
            Detail::Length(length) => write!(f, " ={length}"),
            Detail::Range {
                position,
                length,
                crc: None,
            } => write!(f, " @{position} +{length}"),
            Detail::Range {
                position,
                length,
                crc: Some(crc),
            } => {
                write!(f, " @{position} +{length} crc={crc:08x}")
            }
        }
    }
}
