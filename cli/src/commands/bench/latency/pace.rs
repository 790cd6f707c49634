//! Sends records when they are due, to a tenth of a millisecond.
//!
//! The timers of the runtime are exact to a millisecond, more than a record takes to be durable; so
//! each client has a thread that sleeps by itself. Records that are due closer to each other than that tenth
//! are sent together: woken for each of 100,000 a second, client and threads took a core that was the
//! broker's. What a record waits for this is part of its latency, as it counts from when it was due.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Sent;
use crate::commands::bench::writer::Writer;
use crate::failure::Failure;

/// Of a thread, of which there may be a thousand.
const STACK_BYTES: usize = 256 * 1024;

/// From one time that the thread wakes to the next, at least.
const TICK: Duration = Duration::from_micros(100);

/// When the records of one client are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    first: Instant,
    /// Between two records of all clients.
    interval: Duration,
    /// Clients that take turns.
    client_count: u64,
}

impl Pace {
    /// The turns of the client with this number, at so many records a second over all clients.
    pub(super) fn of_client(
        start: Instant,
        rate: NonZeroU64,
        client: usize,
        client_count: usize,
    ) -> Self {
        let interval = Duration::from_secs(1).div_f64(rate_of(rate));
        let turn = u32::try_from(client).unwrap_or(u32::MAX);
        Self {
            first: start + interval * turn,
            interval,
            client_count: client_count as u64,
        }
    }

    /// When the client's record with this number is due, from 0.
    fn due(&self, index: u64) -> Instant {
        let turns = index.saturating_mul(self.client_count);
        let nanos = self.interval.as_nanos().saturating_mul(turns.into());
        self.first + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[expect(clippy::cast_precision_loss, reason = "no rate has more than 52 bits")]
const fn rate_of(rate: NonZeroU64) -> f64 {
    rate.get() as f64
}

/// Begins to send records on a thread of their own.
///
/// # Errors
///
/// The operating system has no thread.
pub(super) fn send_paced(
    mut writer: Writer,
    pace: Pace,
    sender: mpsc::Sender<Vec<Sent>>,
) -> Result<(), Failure> {
    let runtime = Handle::current();
    let send = move || {
        // Sleeps end when they should instead of up to 50 us later.
        if let Err(error) = set_current_timer_slack(NonZeroU64::new(1)) {
            debug!(%error, "timers stay inexact");
        }
        let mut index = 0;
        while index < writer.records {
            let now = sleep_until(pace.due(index));
            let mut tick = Vec::new();
            while index < writer.records && pace.due(index) <= now {
                let due = pace.due(index);
                let (mark, record) = writer.next_record_due(due);
                let receipt = match writer.producer.try_enqueue(record) {
                    Ok(receipt) => Ok(receipt),
                    // No room: it waits, and that counts; those before it wait for nothing.
                    Err(error) => {
                        if sender.blocking_send(std::mem::take(&mut tick)).is_err() {
                            return;
                        }
                        runtime.block_on(writer.producer.enqueue(error.into_record()))
                    }
                };
                let receipt = receipt.map_err(Into::into);
                tick.push(Sent { due, mark, receipt });
                index += 1;
            }
            if sender.blocking_send(tick).is_err() {
                return;
            }
            sleep_until(now + TICK);
        }
    };
    std::thread::Builder::new()
        .name("pace".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(send)
        .map_err(|error| Failure::io("cannot start a thread", &error))?;
    Ok(())
}

/// Returns what time it is then.
fn sleep_until(due: Instant) -> Instant {
    loop {
        let now = Instant::now();
        let left = due.saturating_duration_since(now);
        if left.is_zero() {
            return now;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_at_the_rate() {
        let start = Instant::now();
        let rate = NonZeroU64::new(1_000).expect("a rate");
        let due = |client, index| Pace::of_client(start, rate, client, 2).due(index) - start;
        assert_eq!(due(0, 0), Duration::ZERO, "first of all");
        assert_eq!(due(1, 0), Duration::from_millis(1), "first of the other");
        assert_eq!(due(0, 1), Duration::from_millis(2), "second");
        assert_eq!(due(1, 500), Duration::from_millis(1_001), "later");
    }
}
