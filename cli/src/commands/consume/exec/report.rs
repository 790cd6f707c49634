//! What became of a record that a command has handled.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Serialize;
use towpath_client::{Address, DeliveredRecord, DeliveryOutcome};

use crate::failure::Failure;
use crate::output::{Output, Report, json_line};

/// A record and what became of it.
#[derive(Debug)]
pub(super) struct Handled {
    address: Address,
    attempt: u32,
    /// None if the command was not started.
    status: Option<ExitStatus>,
    outcome: DeliveryOutcome,
    took: Duration,
}

/// The same as JSON shows it.
#[derive(Debug, Serialize)]
struct HandledReport<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    attempt: u32,
    outcome: &'static str,
    exit_status: Option<i32>,
    signal: Option<i32>,
    reason: Option<&'a str>,
    duration_ms: u64,
}

impl Handled {
    pub(super) fn new(
        record: &DeliveredRecord,
        status: Option<ExitStatus>,
        outcome: DeliveryOutcome,
    ) -> Self {
        Self {
            address: record.address(),
            attempt: record.attempt(),
            status,
            outcome,
            took: Duration::ZERO,
        }
    }

    /// The same, and how long it took.
    pub(super) fn after(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    /// Whether the record was given back.
    pub(super) fn is_released(&self) -> bool {
        self.outcome == DeliveryOutcome::Release
    }

    /// What becomes of the record.
    pub(super) fn into_outcome(self) -> DeliveryOutcome {
        self.outcome
    }

    /// Tells of it: as JSON always, for people if it failed.
    ///
    /// # Errors
    ///
    /// Standard output does not take it.
    pub(super) fn tell(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.report(self);
        }
        if let DeliveryOutcome::Nack { reason, .. } = &self.outcome {
            let (address, attempt) = (&self.address, self.attempt);
            output.warning(format_args!(
                "{address} failed, attempt {attempt}: {reason}"
            ));
        }
        Ok(())
    }
}

impl Report for Handled {
    fn write_text(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let (outcome, reason) = match &self.outcome {
            DeliveryOutcome::Ack => ("ack", None),
            DeliveryOutcome::Nack { reason, .. } => ("nack", Some(reason.as_str())),
            _ => ("release", None),
        };
        let report = HandledReport {
            topic: self.address.topic.as_str(),
            partition: self.address.partition.get(),
            offset: self.address.offset.get(),
            attempt: self.attempt,
            outcome,
            exit_status: self.status.and_then(|it| it.code()),
            signal: self.status.and_then(|it| it.signal()),
            reason,
            duration_ms: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        };
        json_line(out, &report)
    }
}
