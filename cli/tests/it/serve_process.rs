//! A broker in a process of its own.

use std::path::Path;

use serde_json::Value;

use crate::harness::json;
use crate::running::Running;

/// A running `towpath serve`, ready.
pub(crate) struct ServeProcess {
    pub(crate) process: Running,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

impl ServeProcess {
    /// Starts a broker on this folder and any free port, and waits until it is ready.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, "127.0.0.1:0", &[])
    }

    pub(crate) fn start_on(data_dir: &Path, listen: &str, args: &[&str]) -> Self {
        let data_dir = data_dir.to_str().expect("a path in UTF-8");
        let own = [
            "serve",
            "-o",
            "json",
            "--listen",
            listen,
            "--data-dir",
            data_dir,
        ];
        let process = Running::start(&[&own, args].concat());
        let ready = json(&process.stdout.next());
        Self { process, ready }
    }

    pub(crate) fn url(&self) -> &str {
        self.ready["url"].as_str().expect("a url")
    }

    pub(crate) fn listen(&self) -> &str {
        self.ready["listen"].as_str().expect("an address")
    }
}
