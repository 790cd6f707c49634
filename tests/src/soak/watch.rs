//! What the broker uses, as seen from outside.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::growth::Sample;
use crate::fault::{descriptor_count, resident_bytes};
use crate::process::{BrokerProcess, BrokerSetup};

/// Looks at a broker again and again.
#[derive(Debug)]
pub(super) struct Watch {
    /// Keeps the port of the admin listener.
    admin: BrokerSetup,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            admin: BrokerSetup::new("unused"),
        }
    }

    /// Where the broker is to tell its metrics.
    pub(super) fn admin_listen(&self) -> String {
        self.admin.url().trim_start_matches("http://").to_owned()
    }

    /// What a life of the broker uses now.
    pub(super) fn look(&self, elapsed: Duration, broker: &BrokerProcess, dir: &Path) -> Sample {
        let ready = broker.ready();
        Sample {
            elapsed,
            life: ready.incarnation,
            age: broker.started_at().elapsed(),
            resident_bytes: resident_bytes(ready.pid),
            descriptors: descriptor_count(ready.pid) as u64,
            open_calls: self.metric("towpath_open_calls ").unwrap_or(0),
            disk_bytes: used_bytes(dir),
        }
    }

    fn metric(&self, series: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.admin_listen()).ok()?;
        let request = b"GET /metrics HTTP/1.1\r\nhost: soak\r\n\r\n";
        stream.write_all(request).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let line = answer.lines().find_map(|line| line.strip_prefix(series));
        line?.trim().parse().ok()
    }
}

/// Bytes of all files below a folder, some of which go meanwhile.
fn used_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let used = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => used_bytes(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    used.sum()
}
