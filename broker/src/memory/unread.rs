//! What one stream of responses holds: what is being made, and what its client has not taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_storage::Backing;

use super::pinned::PinnedBuffers;
use super::{HeldShare, Holder, Pinned, Registered, Share};

/// Most that a turn takes: the largest batch as it was read and as it is sent, or as much of smaller
/// ones.
pub(crate) const TURN_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX + 1024 * 1024;
/// A stream makes nothing more while its client has not taken so much.
const AHEAD_BYTES_MAX: usize = 512 * 1024;
/// What batches of a turn may pin; the rest of it is for a copy of the largest one.
const PINNED_BYTES_MAX: usize = TURN_BYTES_MAX - BATCH_BYTES_MAX;
/// Batches below this size are copied: pieces cost more than that.
const PINNING_BYTES_MIN: usize = 16 * 1024;
/// A buffer so many times as large as the slice of it is pinned only while there is plenty.
const PINNED_PER_BYTE: usize = 2;

/// The share of the streams of one connection, which comes with their requests.
#[derive(Debug, Clone)]
pub(crate) struct UnreadShare(pub(crate) Share);

/// The memory of one stream of responses.
///
/// The stream makes what it sends in turns. A turn has memory for the most that it may need before
/// anything is read, and keeps what it needed until the connection has written it.
#[derive(Debug)]
pub(crate) struct Unread {
    share: Share,
    holder: Arc<Holder>,
    _registered: [Registered; 2],
    state: Mutex<State>,
    /// Told when something was taken.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    /// Memory of the turn that is going on.
    turn: Option<HeldShare>,
    /// The turn waits for the disk.
    is_reading: bool,
    /// What stays between turns, of memory taken for earlier ones.
    kept: HeldShare,
    kept_bytes: usize,
    /// Buffers that slices of this turn and of earlier ones lie in.
    pinned: PinnedBuffers,
    /// What those take that this turn has added.
    turn_pinned_bytes: usize,
    /// Handed out and not taken.
    out_bytes: usize,
    /// Of that, what was copied.
    out_copied_bytes: usize,
    out_count: usize,
    /// The connection has asked for more than there was: it has room.
    is_asked: bool,
    /// When the client has taken something, or has made room for more.
    moved_at: Instant,
}

/// Lives while a turn waits for the disk.
#[derive(Debug)]
pub(crate) struct ReadingGuard<'a>(&'a Unread);

/// Lives until what was handed out is written or dropped, and holds its memory.
#[derive(Debug)]
pub(crate) struct Sent {
    unread: Arc<Unread>,
    bytes: usize,
    copied_bytes: usize,
    _copied: Option<HeldShare>,
    _pinned: Vec<Arc<Pinned>>,
}

impl Unread {
    /// The memory of a stream that holds nothing yet.
    pub(crate) fn new(share: &Share) -> Arc<Self> {
        let holder = Arc::new(Holder::default());
        Arc::new(Self {
            share: share.clone(),
            _registered: share.register(&holder),
            holder,
            state: Mutex::new(State {
                turn: None,
                is_reading: false,
                kept: HeldShare::default(),
                kept_bytes: 0,
                pinned: PinnedBuffers::default(),
                turn_pinned_bytes: 0,
                out_bytes: 0,
                out_copied_bytes: 0,
                out_count: 0,
                is_asked: false,
                moved_at: Instant::now(),
            }),
            taken: Notify::new(),
        })
    }

    /// Who is ended if the client does not read while others wait.
    pub(crate) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Waits until something may be made. Does nothing while a turn goes on. Safe to drop.
    pub(crate) async fn begin_turn(&self) {
        if self.lock().turn.is_some() {
            return;
        }
        while !self.has_room() {
            self.taken.notified().await;
        }
        let held = self.share.take(TURN_BYTES_MAX).await;
        self.lock().turn = Some(held);
    }

    /// Keeps the turn, while the guard lives, although there is nothing to send: it waits for the disk.
    pub(crate) fn reading(&self) -> ReadingGuard<'_> {
        self.lock().is_reading = true;
        ReadingGuard(self)
    }

    /// Notes how much of what was read stays when the turn ends.
    pub(crate) fn note_kept(&self, bytes: usize) {
        self.lock().kept_bytes = bytes;
    }

    /// Since when the client has taken nothing of what it was sent, or has had no room for more; none
    /// while it has taken everything and would take more.
    pub(crate) fn untaken_since(&self) -> Option<Instant> {
        let state = self.lock();
        let is_idle = state.is_asked && state.out_count == 0;
        (!is_idle).then_some(state.moved_at)
    }

    /// Waits until the client has taken nothing for `patience`, and breaks its stream off: it would not be
    /// told how the stream ends. Safe to drop.
    pub(crate) async fn end_untaken(&self, patience: Duration) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let since = self.untaken_since().unwrap_or(now);
            let deadline = since.max(begun) + patience;
            if deadline <= now {
                return self.holder.end(now);
            }
            sleep_until(deadline).await;
        }
    }

    /// Ends the turn because there is nothing to send.
    pub(crate) fn pause(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.is_asked, true) {
            state.moved_at = Instant::now();
        }
        if !state.is_reading {
            state.end_turn();
        }
    }

    /// Has a batch of `bytes` be sent from where it lies, if there is memory for all that this keeps from
    /// being reused. None if it is to be copied.
    pub(crate) fn pin(&self, backing: Backing, bytes: usize) -> Option<Arc<Pinned>> {
        if bytes < PINNING_BYTES_MIN {
            return None;
        }
        let mut state = self.lock();
        if let Some(pinned) = state.pinned.find(backing) {
            return Some(pinned);
        }
        let pinned_bytes = backing.bytes();
        let is_worth_it = pinned_bytes <= PINNED_PER_BYTE * bytes || self.share.has_plenty();
        let has_room = state.turn_pinned_bytes + pinned_bytes <= PINNED_BYTES_MAX;
        if !is_worth_it || !has_room {
            return None;
        }
        let held = state.turn.as_mut()?.split(pinned_bytes);
        state.turn_pinned_bytes += pinned_bytes;
        Some(state.pinned.add(backing, held))
    }

    /// Ends the turn with what it has made: bytes that were copied, and others that lie in buffers which
    /// were pinned.
    pub(crate) fn hand_out(
        self: &Arc<Self>,
        copied_bytes: usize,
        others_bytes: usize,
        pinned: Vec<Arc<Pinned>>,
    ) -> Sent {
        let mut state = self.lock();
        let copied = state.turn.as_mut().map(|turn| turn.split(copied_bytes));
        if !state.is_reading {
            state.end_turn();
        }
        let bytes = copied_bytes + others_bytes;
        state.out_bytes += bytes;
        state.out_copied_bytes += copied_bytes;
        state.out_count += 1;
        state.is_asked = false;
        state.moved_at = Instant::now();
        self.holder.note_held(state.held_bytes());
        drop(state);
        self.holder.note_moved();
        self.holder.note_stalled();
        Sent {
            unread: Arc::clone(self),
            bytes,
            copied_bytes,
            _copied: copied,
            _pinned: pinned,
        }
    }

    /// Large batches may go two at a time while there is plenty.
    fn has_room(&self) -> bool {
        let State {
            out_bytes,
            out_count,
            ..
        } = *self.lock();
        out_bytes < AHEAD_BYTES_MAX || (out_count < 2 && self.share.has_plenty())
    }

    fn note_taken(&self, bytes: usize, copied_bytes: usize) {
        let mut state = self.lock();
        state.out_bytes -= bytes;
        state.out_copied_bytes -= copied_bytes;
        state.out_count -= 1;
        state.moved_at = Instant::now();
        self.holder.note_held(state.held_bytes());
        let is_waiting = state.out_count > 0;
        drop(state);
        self.holder.note_moved();
        if is_waiting {
            self.holder.note_stalled();
        }
        self.taken.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.holder.gone().cancel();
    }
}

impl State {
    fn held_bytes(&self) -> usize {
        self.out_copied_bytes + self.pinned.bytes() + self.kept_bytes
    }

    fn end_turn(&mut self) {
        self.turn_pinned_bytes = 0;
        let mut held = std::mem::take(&mut self.kept);
        if let Some(turn) = self.turn.take() {
            held.merge(turn);
        }
        if self.kept_bytes > 0 {
            self.kept = held.split(self.kept_bytes);
        }
    }
}

impl Drop for ReadingGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().is_reading = false;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.unread.note_taken(self.bytes, self.copied_bytes);
    }
}

#[cfg(test)]
mod tests;
