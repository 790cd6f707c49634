//! What a broker says when it is ready, and what `--check-config` says.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use towpath_broker::{Broker, Config};

use crate::commands::version::VERSION;
use crate::output::{Report, duration, json_line};

/// A broker that is ready.
#[derive(Debug)]
pub(super) struct ReadyReport {
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    data_dir: PathBuf,
    is_new: bool,
    broker_id: String,
    incarnation: u64,
    ready_after: Duration,
}

impl ReadyReport {
    pub(super) fn of(
        broker: &Broker,
        listen: SocketAddr,
        data_dir: &Path,
        ready_after: Duration,
    ) -> Self {
        let identity = broker.identity();
        Self {
            listen,
            admin_listen: broker.admin_addr(),
            data_dir: data_dir.to_owned(),
            is_new: broker.report().is_new,
            broker_id: identity.broker_id.to_string(),
            incarnation: identity.incarnation,
            ready_after,
        }
    }
}

impl Report for ReadyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let ready_after = duration(self.ready_after);
        let new = if self.is_new { " (new)" } else { "" };
        writeln!(out, "towpath {VERSION} ready in {ready_after}")?;
        writeln!(out, "  listening   {}", self.listen)?;
        if let Some(admin_listen) = self.admin_listen {
            writeln!(
                out,
                "  admin       http://{admin_listen}/metrics, /livez, /readyz"
            )?;
        }
        writeln!(out, "  data        {}{new}", self.data_dir.display())?;
        if Some(self.listen) != Config::default().listen {
            writeln!(out, "try: export TOWPATH_URL=http://{}", self.listen)?;
        }
        writeln!(
            out,
            "try: towpath topic create orders        towpath produce orders hello        \
             towpath consume orders --from beginning"
        )
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown<'a> {
            version: &'static str,
            listen: String,
            url: String,
            admin_listen: Option<String>,
            admin_url: Option<String>,
            data_dir: &'a Path,
            is_new: bool,
            broker_id: &'a str,
            incarnation: u64,
            pid: u32,
            ready_ms: u128,
        }
        let shown = Shown {
            version: VERSION,
            listen: self.listen.to_string(),
            url: format!("http://{}", self.listen),
            admin_listen: self.admin_listen.map(|it| it.to_string()),
            admin_url: self.admin_listen.map(|it| format!("http://{it}")),
            data_dir: &self.data_dir,
            is_new: self.is_new,
            broker_id: &self.broker_id,
            incarnation: self.incarnation,
            pid: std::process::id(),
            ready_ms: self.ready_after.as_millis(),
        };
        json_line(out, &shown)
    }
}

/// Settings that are allowed.
#[derive(Debug)]
pub(super) struct ConfigReport {
    /// Those that are not at their default, as flag and value.
    changed: Vec<(&'static str, String)>,
}

impl ConfigReport {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            changed: config.changed(),
        }
    }
}

impl Report for ConfigReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (flag, value) in &self.changed {
            writeln!(out, "{flag} {value}")?;
        }
        writeln!(out, "allowed; all other settings are at their defaults")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let settings = self.changed.iter();
        let settings: serde_json::Map<_, _> = settings
            .map(|(flag, value)| {
                let name = flag.trim_start_matches('-').replace('-', "_");
                (name, value.clone().into())
            })
            .collect();
        json_line(
            out,
            &serde_json::json!({ "is_allowed": true, "changed": settings }),
        )
    }
}
