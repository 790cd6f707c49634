//! What one stream of responses holds: what is being made, and what its client has not taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use towpath_proto::limits::BATCH_BYTES_MAX;

use super::{HeldShare, Holder, Registered, Share};

/// Most that a turn takes: the largest batch as it was read and as it is sent, or as much of smaller
/// ones.
pub(crate) const TURN_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX + 1024 * 1024;
/// A stream makes nothing more while its client has not taken so much.
const AHEAD_BYTES_MAX: usize = 512 * 1024;

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

#[derive(Debug, Default)]
struct State {
    /// Memory of the turn that is going on.
    turn: Option<HeldShare>,
    /// The turn waits for the disk.
    is_reading: bool,
    /// What stays between turns, of memory taken for earlier ones.
    kept: HeldShare,
    kept_bytes: usize,
    /// Handed out and not taken.
    out_bytes: usize,
    out_count: usize,
}

/// Lives while a turn waits for the disk.
#[derive(Debug)]
pub(crate) struct ReadingGuard<'a>(&'a Unread);

/// Something that was handed out.
struct Out {
    bytes: Bytes,
    unread: Arc<Unread>,
    _held: Option<HeldShare>,
}

impl Unread {
    /// The memory of a stream that holds nothing yet.
    pub(crate) fn new(share: &Share) -> Arc<Self> {
        let holder = Arc::new(Holder::default());
        Arc::new(Self {
            share: share.clone(),
            _registered: share.register(&holder),
            holder,
            state: Mutex::default(),
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

    /// Ends the turn because there is nothing to send.
    pub(crate) fn pause(&self) {
        let mut state = self.lock();
        if !state.is_reading {
            state.end_turn();
        }
    }

    /// Ends the turn with what it has made, which holds its memory until it is dropped.
    pub(crate) fn hand_out(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut state = self.lock();
        let held = state.turn.as_mut().map(|turn| turn.split(bytes.len()));
        if !state.is_reading {
            state.end_turn();
        }
        state.out_bytes += bytes.len();
        state.out_count += 1;
        self.holder.note_held(state.out_bytes + state.kept_bytes);
        drop(state);
        self.holder.note_moved();
        self.holder.note_stalled();
        Bytes::from_owner(Out {
            bytes,
            unread: Arc::clone(self),
            _held: held,
        })
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

    fn note_taken(&self, bytes: usize) {
        let mut state = self.lock();
        state.out_bytes -= bytes;
        state.out_count -= 1;
        self.holder.note_held(state.out_bytes + state.kept_bytes);
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
    fn end_turn(&mut self) {
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

impl AsRef<[u8]> for Out {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.unread.note_taken(self.bytes.len());
    }
}
