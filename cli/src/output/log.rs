//! Logs: human on a terminal, JSON lines otherwise, always on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::failure::Failure;

/// What the log is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogUse {
    /// A broker that runs for long: what an operator reads.
    Broker,
    /// A command: only what explains why it takes long or fails.
    Command,
    /// A command that, when it fails, drops producers with all that is under way, and says why.
    Measurement,
    /// A command that tells by itself what matters, or breaks things on purpose.
    Quiet,
}

const VARIABLE: &str = "TOWPATH_LOG";

/// Begins to log what `TOWPATH_LOG` asks for; without it, `info` of a broker and `warn` of a
/// command.
///
/// # Errors
///
/// The variable holds something that is no filter.
pub(crate) fn start_logging(log_use: LogUse) -> Result<(), Failure> {
    let default = match log_use {
        LogUse::Broker => "info",
        LogUse::Command => "warn",
        LogUse::Measurement => "warn,towpath_client::producer=off",
        LogUse::Quiet => "error",
    };
    let directives = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let directives = directives.as_deref().unwrap_or(default);
    let filter = EnvFilter::builder().parse(directives).map_err(|error| {
        Failure::usage(format!("{VARIABLE} is not a filter: {directives}")).because(&error)
    })?;
    let is_terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_timer(SystemTime)
        .with_ansi(is_terminal);
    // A log that was set up before stays as it is.
    drop(match (log_use, is_terminal) {
        (LogUse::Broker, false) => builder.json().flatten_event(true).try_init(),
        (LogUse::Broker, true) => builder.try_init(),
        (LogUse::Command | LogUse::Measurement | LogUse::Quiet, _) => {
            builder.without_time().with_target(false).try_init()
        }
    });
    Ok(())
}
