//! A broker in the same process, for tests and for programs that bring their own.

use std::path::Path;

use towpath_broker::{Broker, Config};
use towpath_client::Client;

use crate::Error;

/// A broker without a port, and a client of it.
#[derive(Debug)]
pub struct InProcess {
    /// The broker; [`Broker::shutdown`] ends it in order.
    pub broker: Broker,
    /// Connected in memory.
    pub client: Client,
}

impl InProcess {
    /// Starts a broker on a folder. What it acknowledges is on disk, as with any other broker.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub async fn start(data_dir: &Path) -> Result<Self, Error> {
        let config = Config {
            listen: None,
            data_dir: data_dir.to_owned(),
            ..Config::default()
        };
        let broker = Broker::start(config).await?;
        let client = client_of(&broker)?;
        Ok(Self { broker, client })
    }
}

/// Makes a client whose connections never leave the process.
///
/// # Errors
///
/// None but those of a builder that was given more than this.
pub fn client_of(broker: &Broker) -> Result<Client, Error> {
    let connector = broker.connector();
    let client = Client::builder()
        // Only a name, for messages.
        .url("http://in-process:0")
        .dial_with(move || {
            let connector = connector.clone();
            async move { connector.connect().await }
        });
    Ok(client.build()?)
}
