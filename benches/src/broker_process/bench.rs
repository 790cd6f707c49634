//! Measurements of a running broker by `towpath bench`, each in a process of its own.

use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::{BrokerProcess, command};
use crate::{Error, Result};

/// What is taken of the row that `towpath bench -o json` prints.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BenchRow {
    pub(crate) records_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// None in a short run.
    pub(crate) worst_second_megabytes_per_second: Option<f64>,
    /// None in a short run.
    pub(crate) median_second_megabytes_per_second: Option<f64>,
    pub(crate) latency_us: BenchLatencyUs,
    /// None where the broker does not tell.
    pub(crate) checkpoints: Option<u64>,
    pub(crate) server: Option<BenchServer>,
}

/// Quantiles of latencies, in microseconds.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub struct BenchLatencyUs {
    /// Median.
    pub p50: f64,
    /// 99 of 100 are not above.
    pub p99: f64,
}

/// What the broker has used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BenchServer {
    pub(crate) cpu_seconds_per_gigabyte: f64,
}

impl BrokerProcess {
    /// Runs `program bench` with these arguments; dropping the future kills it.
    ///
    /// # Errors
    /// [`Error::Void`] if it fails: it has said why on stderr.
    pub(crate) async fn bench(&self, program: &Path, arguments: &[&str]) -> Result<BenchRow> {
        let pid = self.child.id().unwrap_or_default().to_string();
        let admin = self.admin_listen.iter();
        let output = command(program)
            .arg("bench")
            .args(arguments)
            .args(admin.flat_map(|address| ["--server-admin", address]))
            .args(["-o", "json", "--url", &self.url, "--server-pid", &pid])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(Error::io("start a measurement"))?
            .wait_with_output()
            .await
            .map_err(Error::io("wait for a measurement"))?;
        if !output.status.success() {
            let what = arguments.join(" ");
            return Err(Error::Void(format!(
                "bench {what} ended with {}",
                output.status
            )));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
