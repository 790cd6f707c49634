//! Programs of the operating system.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Runs a program to its end.
///
/// # Errors
///
/// It is not there or fails; says what it said.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no {program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program}: {}", said.trim()))
        }
    }
}
