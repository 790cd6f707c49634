//! What the user or the system does to end the process early: SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::children::Children;
use crate::exit::{Exit, exit_now};
use crate::failure::Failure;

/// Tells once that the process is to end; a second signal ends it at once, and its children with it.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    token: CancellationToken,
    children: Children,
}

impl Interrupt {
    /// Takes over the signals. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// The operating system refuses.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let on =
            |kind| signal(kind).map_err(|error| Failure::io("cannot wait for signals", &error));
        let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        let token = CancellationToken::new();
        let children = Children::default();
        tokio::spawn(tell(terminate, interrupt, token.clone(), children.clone()));
        Ok(Self { token, children })
    }

    /// Those who end with this process however it is interrupted.
    pub(crate) const fn children(&self) -> &Children {
        &self.children
    }

    /// Whether the process is to end.
    pub(crate) fn has_come(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the process is to end. Safe to drop.
    pub(crate) async fn wait(&self) {
        self.token.cancelled().await;
    }
}

async fn tell(
    mut terminate: Signal,
    mut interrupt: Signal,
    token: CancellationToken,
    children: Children,
) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    token.cancel();
    next().await;
    children.kill_all();
    exit_now(Exit::Interrupted);
}
