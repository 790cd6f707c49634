//! What the demo has shown.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::check::Check;
use crate::output::{Report, count, json_line};

/// What the demo has shown.
#[derive(Debug)]
pub(super) struct DemoReport {
    pub(super) check: Check,
    pub(super) partition_count: u32,
    pub(super) acknowledged_before_kill: u64,
    pub(super) start_time: Duration,
    pub(super) restart_time: Duration,
    /// Where the data is, if it was kept.
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    is_ok: bool,
    records: u64,
    partitions: u32,
    keys: u64,
    acknowledged_before_kill: u64,
    acknowledged: u64,
    missing: u64,
    doubled: u64,
    foreign: u64,
    keys_out_of_order: u64,
    start_ms: u128,
    restart_ms: u128,
    data_dir: Option<&'a PathBuf>,
}

impl Report for DemoReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Check {
            read,
            keys,
            missing,
            doubled,
            foreign,
            keys_out_of_order,
            ..
        } = &self.check;
        writeln!(
            out,
            "read back {} records: {} missing, {} doubled, {} foreign; {} of {} aircraft out of order",
            count(*read),
            count(*missing),
            count(*doubled),
            count(*foreign),
            count(*keys_out_of_order),
            count(*keys)
        )?;
        if let Some(data_dir) = &self.data_dir {
            writeln!(out, "kept: towpath serve --data-dir {}", data_dir.display())?;
        }
        if self.check.is_ok() {
            writeln!(out, "ok: what was acknowledged is there, once and in order")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let Check {
            acknowledged,
            read,
            keys,
            missing,
            doubled,
            foreign,
            keys_out_of_order,
        } = self.check;
        let shown = Shown {
            is_ok: self.check.is_ok(),
            records: read,
            partitions: self.partition_count,
            keys,
            acknowledged_before_kill: self.acknowledged_before_kill,
            acknowledged,
            missing,
            doubled,
            foreign,
            keys_out_of_order,
            start_ms: self.start_time.as_millis(),
            restart_ms: self.restart_time.as_millis(),
            data_dir: self.data_dir.as_ref(),
        };
        json_line(out, &shown)
    }
}
