//! Records as a subscription delivers them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::outcome::DeliveryOutcome;
use super::receiving::{SettleAnswer, Ticket};
use super::seat::Seat;
use crate::error::Effects;
use crate::{Error, ReceivedRecord};

/// A record, with the number of the attempt to handle it.
#[derive(Debug, Clone)]
pub struct DeliveredRecord {
    record: ReceivedRecord,
    attempt: u32,
    is_redriven: bool,
}

impl DeliveredRecord {
    pub(super) const fn new(record: ReceivedRecord, attempt: u32, is_redriven: bool) -> Self {
        Self {
            record,
            attempt,
            is_redriven,
        }
    }

    /// Which attempt to handle the record this is, from 1; only failed ones count.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it was among the dead letters and was given back: topic, partition and offset are those of
    /// the dead letter then, and the headers behind its own say where it comes from
    /// ([`dead_letter`](crate::dead_letter)). Attempts are counted anew.
    pub const fn is_redriven(&self) -> bool {
        self.is_redriven
    }

    /// A header of a record that is redriven, by one of the names in
    /// [`dead_letter`](crate::dead_letter): what says where it comes from, and not what headers of the
    /// record itself say. None for any other record.
    pub fn dead_letter_header(&self, name: &str) -> Option<&str> {
        if !self.is_redriven {
            return None;
        }
        let mut found = None;
        for (of, value) in self.record.headers() {
            if of == crate::dead_letter::KIND {
                found = None;
            }
            if of == name && found.is_none() {
                found = std::str::from_utf8(value).ok();
            }
        }
        found
    }

    /// The record without the number of the attempt.
    pub fn into_record(self) -> ReceivedRecord {
        self.record
    }
}

impl Deref for DeliveredRecord {
    type Target = ReceivedRecord;

    fn deref(&self) -> &ReceivedRecord {
        &self.record
    }
}

/// A record that is this consumer's to handle, until it says what became of it.
///
/// None of the methods that say so waits for anything: what is said is gathered, sent in as few requests
/// as the connection takes, and repeated after a reconnect until the broker has confirmed it.
/// [`Subscriber::confirmed`](crate::Subscriber::confirmed) waits for that.
///
/// While it is held its lease is extended, for up to an hour. Dropping it says that handling it failed,
/// as [`Delivery::nack`] does.
#[must_use = "dropping it says that handling it failed"]
pub struct Delivery {
    record: DeliveredRecord,
    pub(super) lease: Lease,
}

impl Delivery {
    pub(super) const fn new(record: DeliveredRecord, lease: Lease) -> Self {
        Self { record, lease }
    }

    pub(super) fn into_parts(self) -> (DeliveredRecord, Lease) {
        (self.record, self.lease)
    }

    /// It was handled.
    pub fn ack(self) {
        self.settle(DeliveryOutcome::Ack);
    }

    /// It was handled, which is durable once the future succeeds. It is sent whether or not the future
    /// is awaited.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::LeaseExpired`](crate::ErrorReason::LeaseExpired) if the record was not this
    /// consumer's any more: it is delivered again. [`ErrorKind::Closed`](crate::ErrorKind::Closed), or
    /// what the subscriber ended with, if it ended before the answer:
    /// [`Error::may_have_happened`] tells whether it was certainly in vain.
    pub fn confirmed_ack(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.lease.settle(DeliveryOutcome::Ack, Some(answer));
        async move {
            let text = "the subscriber ended before the ack was confirmed";
            let gone = |_| Err(Error::closed(Effects::Possible, text));
            answered.await.unwrap_or_else(gone)
        }
    }

    /// Handling it failed, for a reason that people are to see: it is tried again after `delay`, which is
    /// up to a day, or after the back-off of the subscription.
    pub fn nack(self, delay: Option<Duration>, reason: impl Into<String>) {
        let reason = reason.into();
        self.settle(DeliveryOutcome::Nack { delay, reason });
    }

    /// It was not handled, which is nobody's fault: it is delivered again at once, and this counts no
    /// attempt.
    pub fn release(self) {
        self.settle(DeliveryOutcome::Release);
    }

    /// It cannot be handled, for a reason that people are to see: it goes to the dead letters.
    pub fn dead_letter(self, reason: impl Into<String>) {
        self.settle(DeliveryOutcome::dead_letter(reason));
    }

    /// Says what became of it.
    pub fn settle(self, outcome: DeliveryOutcome) {
        self.lease.settle(outcome, None);
    }
}

impl Deref for Delivery {
    type Target = DeliveredRecord;

    fn deref(&self) -> &DeliveredRecord {
        &self.record
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.record).finish()
    }
}

/// The right to say what became of a record. Whoever drops it has failed.
pub(super) struct Lease {
    /// None once that was said.
    pub(super) ticket: Option<Ticket>,
    pub(super) seat: Arc<Seat>,
}

impl Lease {
    pub(super) const fn new(ticket: Ticket, seat: Arc<Seat>) -> Self {
        Self {
            ticket: Some(ticket),
            seat,
        }
    }

    /// Says what became of the record. `answer` is told when that is durable, or why it is not.
    pub(super) fn settle(mut self, outcome: DeliveryOutcome, answer: Option<SettleAnswer>) {
        self.settle_once(outcome, answer);
    }

    fn settle_once(&mut self, outcome: DeliveryOutcome, answer: Option<SettleAnswer>) {
        if let Some(ticket) = self.ticket.take() {
            self.seat.with(|it| it.settle(ticket, outcome, answer));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            "the handler panicked"
        } else {
            "dropped before it was settled"
        };
        self.settle_once(DeliveryOutcome::nack(reason), None);
    }
}
