//! Commands of the binary, run to their end.

use std::ffi::OsStr;
use std::process::Stdio;

use towpath_tests::process::spawn_cli;

use crate::PATIENCE;

/// What a command has said and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command against the broker at a URL.
pub(crate) fn cli(url: &str, args: &[&str]) -> Answer {
    cli_with(url, args, Stdio::null())
}

/// The same with something on its standard input.
pub(crate) fn cli_with(url: &str, args: &[&str], stdin: impl Into<Stdio>) -> Answer {
    let mut running = spawn_cli(url, args.iter().map(OsStr::new), stdin);
    let stdout = running.stdout.rest(PATIENCE);
    let stdout = stdout.unwrap_or_else(|| panic!("{args:?} goes on after {PATIENCE:?}"));
    let ended = running.wait(PATIENCE).expect("it ends with its output");
    Answer {
        code: ended.code(),
        stdout,
        stderr: ended.stderr,
    }
}

impl Answer {
    /// The output of a command that succeeds.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// What a command says that fails in this way.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }
}
