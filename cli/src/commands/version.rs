//! `towpath version`.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use towpath_client::ServerInfo;

use super::{Outcome, Session};
use crate::failure::Failure;
use crate::output::{Report, json_line};

/// Version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the broker is waited for: nobody asks for the version to wait.
const BROKER_WAIT: Duration = Duration::from_millis(500);

/// Tells the version of this program, and of the broker if it answers at once.
pub(super) async fn run(session: &Session<'_>) -> Result<Outcome, Failure> {
    let client = session.client()?;
    let info = async { client.admin().server_info().await.ok() };
    let broker = tokio::time::timeout(BROKER_WAIT, info).await.ok().flatten();
    Ok(Outcome::of(VersionReport {
        version: VERSION,
        broker: broker.map(BrokerVersion::from),
    }))
}

#[derive(Debug, Serialize)]
struct VersionReport {
    version: &'static str,
    broker: Option<BrokerVersion>,
}

#[derive(Debug, Serialize)]
struct BrokerVersion {
    version: String,
    broker_id: String,
    incarnation: u64,
    durability: String,
}

impl From<ServerInfo> for BrokerVersion {
    fn from(info: ServerInfo) -> Self {
        Self {
            version: info.version,
            broker_id: info.broker_id,
            incarnation: info.incarnation,
            durability: info.durability,
        }
    }
}

impl Report for VersionReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "towpath {}", self.version)?;
        if let Some(broker) = &self.broker {
            let BrokerVersion {
                version,
                broker_id,
                incarnation,
                durability,
            } = broker;
            writeln!(
                out,
                "broker  {version}, id {broker_id}, incarnation {incarnation}"
            )?;
            writeln!(out, "        {durability}")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
