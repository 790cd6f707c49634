//! What a running process prints, a line at a time, waited for with a bound.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};

use crate::harness::COMMAND_WAIT;

/// Lines as they come; a thread reads them until the process ends.
pub(crate) struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            // Whoever listened has gone: nothing is to be read any more.
            lines.map(|line| sender.send(line)).find(Result::is_err)
        });
        Self { lines }
    }

    /// Waits for the next line.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        self.lines
            .recv_timeout(COMMAND_WAIT)
            .expect("a line in time")
    }
}
