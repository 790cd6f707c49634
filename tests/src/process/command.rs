//! Commands of the binary.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use super::{Running, towpath};

/// The binary, under another program where one is given, without what the environment says for other
/// brokers. Its log tells warnings unless `TOWPATH_LOG` asks for something else.
pub fn command(wrapper: &[OsString]) -> Command {
    let mut command = match wrapper {
        [] => Command::new(towpath()),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(towpath());
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        let is_for_others = name.to_string_lossy().starts_with("TOWPATH_");
        if is_for_others && name != "TOWPATH_LOG" {
            command.env_remove(name);
        }
    }
    if std::env::var_os("TOWPATH_LOG").is_none() {
        command.env("TOWPATH_LOG", "warn");
    }
    command
}

/// Starts a command of the binary against the broker at a URL.
///
/// # Panics
///
/// It cannot be started.
pub fn spawn_cli<S: AsRef<OsStr>>(
    url: &str,
    args: impl IntoIterator<Item = S>,
    stdin: impl Into<Stdio>,
) -> Running {
    let mut command = command(&[]);
    command.env("TOWPATH_URL", url).args(args).stdin(stdin);
    Running::spawn(&mut command)
}
