//! Waiting until there is something to read, or until it is time to say that there is nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::Source;
use crate::runtime::published::TopicView;
use crate::shutdown::Drain;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// There may be something to read, or the broker stops.
    Woken,
    /// Nothing was told for as long as a client is left without a sign.
    Silence,
}

/// Wakes one fetch: by rounds that append to its partitions, by time, by a stop.
///
/// Its timers are made once for the stream and not once for each wait.
pub(super) struct Waiter {
    appended: Arc<Notify>,
    /// Partitions that wake it.
    subscribed: Vec<(Arc<TopicView>, u32)>,
    heartbeat_interval: Duration,
    heartbeat: Pin<Box<Sleep>>,
    /// Something was told since the last wait began.
    was_told: bool,
    last_told: Instant,
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Waiter {
    /// Has itself woken by the partitions of these sources until it is dropped.
    pub(super) fn new(sources: &[Source], heartbeat_interval: Duration, drain: &Drain) -> Self {
        let appended = Arc::new(Notify::new());
        let mut subscribed = Vec::new();
        for source in sources {
            for (partition, _) in &source.starts {
                if let Some(handle) = source.topic.partition(*partition) {
                    handle.subscribe(&appended);
                    subscribed.push((Arc::clone(&source.topic), *partition));
                }
            }
        }
        Self {
            appended,
            subscribed,
            heartbeat_interval,
            heartbeat: Box::pin(sleep(heartbeat_interval)),
            was_told: false,
            last_told: Instant::now(),
            drain: Box::pin(drain.begun()),
        }
    }

    /// Has itself woken by one more partition.
    pub(super) fn subscribe(&mut self, topic: &Arc<TopicView>, partition: u32) {
        if let Some(handle) = topic.partition(partition) {
            handle.subscribe(&self.appended);
            self.subscribed.push((Arc::clone(topic), partition));
        }
    }

    /// Is not woken by a partition any more.
    pub(super) fn unsubscribe(&mut self, topic: &TopicView, partition: u32) {
        let is_it = |it: &(Arc<TopicView>, u32)| it.0.id() == topic.id() && it.1 == partition;
        if let Some(place) = self.subscribed.iter().position(is_it) {
            self.subscribed.swap_remove(place);
            if let Some(handle) = topic.partition(partition) {
                handle.unsubscribe(&self.appended);
            }
        }
    }

    /// Notes that something was told.
    pub(super) fn note_told(&mut self) {
        self.was_told = true;
    }

    /// Waits. A wake that came before is not lost. Safe to drop.
    pub(super) async fn wait(&mut self) -> Waited {
        if std::mem::take(&mut self.was_told) {
            self.last_told = Instant::now();
        }
        loop {
            tokio::select! {
                () = self.appended.notified() => return Waited::Woken,
                () = &mut self.drain => return Waited::Woken,
                () = &mut self.heartbeat => {}
            }
            // The timer was set before something was told: it is moved only when it fires.
            let due = self.last_told + self.heartbeat_interval;
            let now = Instant::now();
            if now >= due {
                self.heartbeat.as_mut().reset(now + self.heartbeat_interval);
                return Waited::Silence;
            }
            self.heartbeat.as_mut().reset(due);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        for (topic, partition) in &self.subscribed {
            if let Some(handle) = topic.partition(*partition) {
                handle.unsubscribe(&self.appended);
            }
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("subscribed_count", &self.subscribed.len())
            .field("last_told", &self.last_told)
            .finish_non_exhaustive()
    }
}
