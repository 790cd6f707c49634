//! Ending a subscriber from somewhere else.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::receiving::Receiving;
use super::seat::Seat;
use crate::shutdown::Drain;
use crate::time::later;

/// Ends the subscriber that it was taken from. Cheap to clone; dropping it ends nothing.
#[derive(Clone)]
pub struct SubscriberShutdownHandle {
    pub(super) seat: Arc<Seat>,
}

impl SubscriberShutdownHandle {
    /// Ends it: its stream ends, and what nobody has begun with is given to others.
    ///
    /// With [`Drain::FinishWithin`] what was begun can still be settled, also after the subscriber was
    /// dropped, and the rest is released when the time is over; with [`Drain::StopNow`] it is released
    /// at once. [`Subscriber::for_each`](crate::Subscriber::for_each) waits for its handlers as long,
    /// and drops those that are not done.
    ///
    /// Returns at once; [`Subscriber::close`](crate::Subscriber::close) waits for the end. May be called
    /// again, to lose patience.
    pub fn shutdown(&self, drain: Drain) {
        match drain {
            Drain::FinishWithin(time) => {
                let until = later(Instant::now(), time);
                self.seat.drain(until);
            }
            Drain::StopNow => self.seat.with(Receiving::leave),
        }
    }
}

impl fmt::Debug for SubscriberShutdownHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberShutdownHandle")
            .finish_non_exhaustive()
    }
}
