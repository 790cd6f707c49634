//! What a call tells while it goes on.

use towpath_storage::Offset;

use super::Job;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: u64,
    /// Done with before, or on their way.
    pub(super) passed: u64,
    /// Left to the consumers that have them.
    pub(super) kept: u64,
}

/// What is told of a call.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) counts: Counts,
    /// None with the last one.
    pub(super) token: Option<String>,
    /// Why it stands still; empty while it goes on.
    pub(super) waiting_for: String,
    /// Letters that are named and that there are not; only told once.
    pub(super) missing: Vec<(u32, Offset)>,
}

impl Job {
    /// Tells how far it is. Waits while nobody listens.
    pub(super) async fn tell(&mut self, waiting_for: &str) {
        let token = Some(self.token.to_string());
        self.send(token, waiting_for).await;
    }

    /// Tells that it has come to the end.
    pub(super) async fn tell_done(&mut self) {
        self.send(None, "").await;
    }

    async fn send(&mut self, token: Option<String>, waiting_for: &str) {
        let told = Told {
            counts: self.counts,
            token,
            waiting_for: waiting_for.to_owned(),
            missing: std::mem::take(&mut self.missing),
        };
        drop(self.progress.send(Ok(told)).await);
    }
}
