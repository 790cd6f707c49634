//! What every command works with: the broker's address, the output, the signals.

use std::time::Duration;

use towpath_client::{Client, ClientBuilder};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;

/// How long a command tries to reach the broker before it gives up: long enough for one that is just
/// being restarted.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    url: Option<&'a str>,
    /// Prints what cannot wait for the end.
    pub(crate) output: &'a Output,
    /// Tells that the command is to end.
    pub(crate) interrupt: Interrupt,
}

impl<'a> Session<'a> {
    pub(crate) const fn new(
        url: Option<&'a str>,
        output: &'a Output,
        interrupt: Interrupt,
    ) -> Self {
        Self {
            url,
            output,
            interrupt,
        }
    }

    /// Carries out what needs nothing more at its end than to be dropped, unless the user interrupts.
    ///
    /// # Errors
    ///
    /// As `work`, or the interrupt.
    pub(super) async fn until_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            outcome = work => outcome,
            () = self.interrupt.wait() => Err(Failure::interrupted()),
        }
    }

    /// A client with connections of its own; connects nothing yet.
    ///
    /// # Errors
    ///
    /// What was given is not the URL of a broker.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        client_of(self.url)
    }

    /// The same, one of many: it has as few connections as a client can have.
    ///
    /// # Errors
    ///
    /// As [`Session::client`].
    pub(super) fn client_of_many(&self) -> Result<Client, Failure> {
        build(builder_of(self.url).data_connections(1))
    }

    /// The same, for a command that the user gives only so long.
    ///
    /// # Errors
    ///
    /// As [`Session::client`].
    pub(crate) fn client_within(&self, patience: Duration) -> Result<Client, Failure> {
        build(builder_of(self.url).give_up_after(patience.min(GIVE_UP_AFTER)))
    }
}

/// A client for the broker at this URL, by default the one that the environment names.
///
/// # Errors
///
/// `url` is not the URL of a broker.
pub(super) fn client_of(url: Option<&str>) -> Result<Client, Failure> {
    build(builder_of(url))
}

fn builder_of(url: Option<&str>) -> ClientBuilder {
    let builder = Client::builder().from_env().give_up_after(GIVE_UP_AFTER);
    match url {
        Some(url) => builder.url(url),
        None => builder,
    }
}

fn build(builder: ClientBuilder) -> Result<Client, Failure> {
    Ok(builder.build()?)
}
