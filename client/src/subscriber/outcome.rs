//! What becomes of a delivered record.

use std::fmt::Display;
use std::time::Duration;

/// What became of a record that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryOutcome {
    /// It was handled.
    Ack,
    /// Handling it failed: it is tried again.
    Nack {
        /// How long to wait before that, up to a day; none for the back-off of the subscription.
        delay: Option<Duration>,
        /// Why, for people; cut after 200 bytes.
        reason: String,
    },
    /// It was not handled, which is nobody's fault: it is delivered again at once, and this counts no
    /// attempt.
    Release,
    /// It cannot be handled: it goes to the dead letters.
    DeadLetter {
        /// Why, for people; cut after 200 bytes.
        reason: String,
    },
}

impl DeliveryOutcome {
    /// Handling it failed: it is tried again after the back-off of the subscription.
    pub fn nack(reason: impl Into<String>) -> Self {
        Self::Nack {
            delay: None,
            reason: reason.into(),
        }
    }

    /// Handling it failed: it is tried again after `delay`, which is up to a day.
    pub fn retry_after(delay: Duration, reason: impl Into<String>) -> Self {
        Self::Nack {
            delay: Some(delay),
            reason: reason.into(),
        }
    }

    /// It cannot be handled: it goes to the dead letters.
    pub fn dead_letter(reason: impl Into<String>) -> Self {
        Self::DeadLetter {
            reason: reason.into(),
        }
    }

    /// Whether the record is to be delivered to somebody again, or not to be handled at all.
    pub(super) const fn is_given_back(&self) -> bool {
        !matches!(self, Self::Ack)
    }
}

/// What a handler may return: nothing on success and any error, or an outcome of its own choice.
pub trait IntoDeliveryOutcome {
    /// What becomes of the record that was handled.
    fn into_delivery_outcome(self) -> DeliveryOutcome;
}

impl IntoDeliveryOutcome for DeliveryOutcome {
    fn into_delivery_outcome(self) -> DeliveryOutcome {
        self
    }
}

/// Success is an ack, an error a nack with the text of the error as its reason.
impl<E: Display> IntoDeliveryOutcome for Result<(), E> {
    fn into_delivery_outcome(self) -> DeliveryOutcome {
        self.map(|()| DeliveryOutcome::Ack).into_delivery_outcome()
    }
}

/// An error is a nack with the text of the error as its reason.
impl<E: Display> IntoDeliveryOutcome for Result<DeliveryOutcome, E> {
    fn into_delivery_outcome(self) -> DeliveryOutcome {
        // The alternate form is the whole chain of causes, for errors that know it.
        self.unwrap_or_else(|error| DeliveryOutcome::nack(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_handlers_return_says_what_becomes_of_the_record() {
        let ok: Result<(), &str> = Ok(());
        assert_eq!(ok.into_delivery_outcome(), DeliveryOutcome::Ack, "handled");
        let failed: Result<(), _> = Err("billing is down");
        let nack = DeliveryOutcome::nack("billing is down");
        assert_eq!(failed.into_delivery_outcome(), nack, "failed");
        let chosen: Result<_, &str> = Ok(DeliveryOutcome::Release);
        let release = DeliveryOutcome::Release;
        assert_eq!(chosen.into_delivery_outcome(), release, "chosen");
        let poison = DeliveryOutcome::dead_letter("no such order");
        assert_eq!(poison.clone().into_delivery_outcome(), poison, "itself");
    }
}
