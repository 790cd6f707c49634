//! When the next checkpoint is due.

/// How long a checkpoint waits after something was dropped, so that it takes more of them.
const DROP_DELAY_MS: i64 = 1_000;
/// How long after a failed checkpoint the next one is taken.
const RETRY_MS: i64 = 1_000;
/// How long after files could not be removed they are tried again.
const REMOVAL_RETRY_MS: i64 = 10_000;

/// What has come together since the last checkpoint was taken, and what is under way. All times are
/// broker time, milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct CheckpointState {
    due: Due,
    /// What the one that is under way was taken for; none if none is.
    taken: Option<Due>,
    /// None is taken before: one has just failed.
    not_before_ms: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Due {
    /// Oldest journal file that is in use.
    first_file: u64,
    appended_bytes: u64,
    /// When files wait to be removed, or segments to be compacted.
    removal_at_ms: Option<i64>,
}

impl CheckpointState {
    /// None is due; the journal begins with this file.
    pub(super) fn new(first_file: u64) -> Self {
        let due = Due {
            first_file,
            ..Due::default()
        };
        Self {
            due,
            ..Self::default()
        }
    }

    /// Oldest journal file that the last checkpoint has not freed.
    pub(super) fn first_file(&self) -> u64 {
        self.due.first_file
    }

    /// Bytes of payload that were appended since the last one was taken.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.due.appended_bytes
    }

    pub(super) fn add_appended(&mut self, bytes: u64) {
        self.due.appended_bytes += bytes;
    }

    /// Notes that something was dropped whose files a checkpoint lets go.
    pub(super) fn add_dropped(&mut self, now_ms: i64) {
        self.due.want_removal(now_ms + DROP_DELAY_MS);
    }

    /// Notes that somebody waits for one.
    pub(super) fn add_wanted(&mut self, now_ms: i64) {
        self.due.want_removal(now_ms);
    }

    /// Notes that files could not be removed, which the next one tries again.
    pub(super) fn add_left(&mut self, now_ms: i64) {
        self.due.want_removal(now_ms + REMOVAL_RETRY_MS);
    }

    /// Whether files have waited long enough to be removed.
    pub(super) fn is_removal_due(&self, now_ms: i64) -> bool {
        self.due.removal_at_ms.is_some_and(|at_ms| now_ms >= at_ms)
    }

    /// Whether one is under way.
    pub(super) fn is_running(&self) -> bool {
        self.taken.is_some()
    }

    /// Whether the last one failed just now.
    pub(super) fn is_held_back(&self, now_ms: i64) -> bool {
        now_ms < self.not_before_ms
    }

    /// Notes that one is taken, which continues in this journal file.
    pub(super) fn take(&mut self, continuation: u64) {
        self.taken = Some(std::mem::take(&mut self.due));
        self.due.first_file = continuation;
    }

    /// Notes that it is durable.
    pub(super) fn complete(&mut self) {
        self.taken = None;
    }

    /// Notes that it failed: everything for which it was taken is due again, and the journal behind it
    /// is still in use.
    pub(super) fn fail(&mut self, now_ms: i64) {
        if let Some(taken) = self.taken.take() {
            self.due.first_file = taken.first_file;
            self.due.appended_bytes += taken.appended_bytes;
            if let Some(at_ms) = taken.removal_at_ms {
                self.due.want_removal(at_ms);
            }
        }
        self.not_before_ms = now_ms + RETRY_MS;
    }
}

impl Due {
    fn want_removal(&mut self, at_ms: i64) {
        let sooner = self.removal_at_ms.map_or(at_ms, |known| known.min(at_ms));
        self.removal_at_ms = Some(sooner);
    }
}
