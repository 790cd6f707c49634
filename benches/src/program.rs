//! What the programs do around their measurements: a runtime, a folder, a report, and an end at ctrl-c.

use std::io::Stdout;
use std::path::Path;
use std::process::ExitCode;

use crate::host::Machine;
use crate::recovery::DataFolder;
use crate::report::{Format, Measured, Report};
use crate::{Error, Result, output};

/// Room for the broker's journal, and for what it leaves free before it refuses to write.
pub const ROOM_BYTES: u64 = 2 << 30;

/// Runs a measurement to its end, or until somebody presses ctrl-c, on a runtime of its own; returns its
/// exit code as [`output::exit_code`] does.
///
/// What is given up is dropped, so that it leaves neither a broker nor a folder.
pub fn run(measured: impl Future<Output = Result<()>>) -> ExitCode {
    output::run(async {
        tokio::select! {
            outcome = Box::pin(measured) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}

/// Makes the data folder, on a disk with so much room, and begins the report.
///
/// # Errors
/// As [`DataFolder::create`]; those of standard output.
pub fn prepare<M: Measured>(
    dir: &Path,
    room_bytes: u64,
    format: Format,
) -> Result<(DataFolder, Report<Stdout, M>)> {
    let folder = DataFolder::create(dir, room_bytes, false)?;
    let machine = Machine::describe(Some(folder.path()))?;
    let report = Report::start(std::io::stdout(), format, machine)?;
    Ok((folder, report))
}
