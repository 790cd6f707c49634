//! What goes wrong, and when.

use std::time::Duration;

use fastrand::Rng;

use super::crew::KILLABLE_COUNT;
use super::notes::Lane;
use super::{KILLING_TENTHS, SoakOptions};
use crate::fault::{Hoarder, Hoarding};

/// Readers that stand still, on so many connections.
const STALLED_COUNT: usize = 10;

/// The plan of what goes wrong.
#[derive(Debug)]
pub(super) struct Troubles {
    random: Rng,
    /// The longest time from one to the next of a kind.
    pause: Duration,
    killing_until: Duration,
    next_kill: Duration,
    next_client: Duration,
    next_stall: Duration,
    stalled: Option<Hoarder>,
}

impl Troubles {
    /// The plan of a run of this length.
    pub(super) fn new(options: &SoakOptions) -> Self {
        let pause = (options.duration / 20).clamp(Duration::from_secs(2), Duration::from_secs(40));
        Self {
            random: Rng::with_seed(options.seed),
            pause,
            killing_until: options.duration * KILLING_TENTHS / 10,
            next_kill: pause,
            next_client: pause / 2,
            next_stall: pause,
            stalled: None,
        }
    }

    /// Whether the broker is to be killed now.
    pub(super) fn is_kill_due(&mut self, elapsed: Duration) -> bool {
        let is_due = elapsed >= self.next_kill && elapsed < self.killing_until;
        if is_due {
            self.next_kill = elapsed + self.some_time();
        }
        is_due
    }

    /// Which client is to be killed now.
    pub(super) fn client_to_kill(&mut self, elapsed: Duration) -> Option<usize> {
        if elapsed < self.next_client {
            return None;
        }
        self.next_client = elapsed + self.some_time() / 4;
        Some(self.random.usize(..KILLABLE_COUNT))
    }

    /// Has readers stand still, or lets those go that did.
    pub(super) fn stall(&mut self, elapsed: Duration, url: &str) {
        if elapsed < self.next_stall {
            return;
        }
        self.next_stall = elapsed + self.some_time() / 2;
        if self.stalled.take().is_none() {
            let topic = Lane::Plain.topic().to_owned();
            let kind = match self.random.bool() {
                true => Hoarding::NoReading(topic),
                false => Hoarding::NoWindow(topic),
            };
            self.stalled = Some(Hoarder::start(url, STALLED_COUNT, 1, &kind));
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn end(&mut self) {
        self.stalled = None;
    }

    fn some_time(&mut self) -> Duration {
        self.pause.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}
