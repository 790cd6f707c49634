//! The terminal: stdout takes rows, stderr takes everything else.

use std::error::Error;
use std::process::ExitCode;

/// Says on stderr that figures do not mean what was asked for.
#[expect(clippy::print_stderr, reason = "the one place that prints to stderr")]
pub fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// Runs a program to its end, on a runtime of its own; returns its exit code as [`exit_code`] does.
pub fn run(program: impl Future<Output = crate::Result<()>>) -> ExitCode {
    let outcome = tokio::runtime::Runtime::new()
        .map_err(crate::Error::io("start the runtime"))
        .and_then(|runtime| runtime.block_on(program));
    exit_code(outcome)
}

/// Turns the outcome of a program into its exit code; an error is printed with all its causes.
#[expect(clippy::print_stderr, reason = "the one place that prints to stderr")]
pub fn exit_code(outcome: crate::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    eprint!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
