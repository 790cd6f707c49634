//! What a command says on its standard error: passed on, and its last line kept.

use std::sync::{Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStderr;

use crate::output::{Output, printable};

/// Longest line that is passed on in one piece.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// So much is kept of the last line: more than a broker keeps.
const LAST_LINE_BYTES_MAX: usize = 400;

/// The last line that a command said.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    line: Mutex<Vec<u8>>,
}

impl LastWords {
    /// Passes on what is said, line by line, to the end.
    pub(super) async fn listen(&self, stderr: Option<ChildStderr>, output: &Output) {
        let Some(mut stderr) = stderr else { return };
        let mut gathered = Vec::new();
        // An error is an end as well: nothing more can be heard.
        while let Ok(1..) = stderr.read_buf(&mut gathered).await {
            let whole = match memchr::memrchr(b'\n', &gathered) {
                Some(last) => last + 1,
                None if gathered.len() >= LINE_BYTES_MAX => gathered.len(),
                None => continue,
            };
            self.pass_on(&gathered[..whole], output);
            gathered.drain(..whole);
        }
        if !gathered.is_empty() {
            self.pass_on(&gathered, output);
            output.pass_on(b"\n");
        }
    }

    /// Adds it to why something failed.
    pub(super) fn behind(&self, mut why: String) -> String {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() {
            why.push_str(": ");
            why.push_str(&printable(&line));
        }
        why
    }

    fn pass_on(&self, lines: &[u8], output: &Output) {
        output.pass_on(lines);
        let mut lines = lines.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        if let Some(last) = lines.find(|line| !line.is_empty()) {
            let last = last.get(..LAST_LINE_BYTES_MAX).unwrap_or(last);
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            line.clear();
            line.extend_from_slice(last);
        }
    }
}
