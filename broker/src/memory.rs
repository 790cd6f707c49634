//! Memory that clients make the broker hold: how much there is, who holds it, and who must let go.
//!
//! A [`Budget`] is a number of bytes that streams share. Who needs some waits in line. A holder that
//! waits for its client, to send the rest of a message or to read, is ended once it has kept others
//! waiting for too long: see [`Holder`]. [`MessageMemory`] is what one request holds, [`Unread`] what one
//! stream of responses does.

mod budget;
mod message;
mod pinned;
mod share;
mod unread;

pub(crate) use budget::{Budget, Held, Holder, Registered};
pub(crate) use message::{MessageMemory, MessageMemorySink};
pub(crate) use pinned::Pinned;
pub(crate) use share::{HeldShare, Share};
pub(crate) use unread::{Sent, TURN_BYTES_MAX, Unread, UnreadShare};
