//! Reading records by their key, through the broker's index: the history of one, or its newest record.
//!
//! `progress` is the pure part: what was told, what to ask for, what comes next. The reader drives it and
//! keeps a stream.

mod builder;
mod item;
mod latest;
mod progress;
mod source;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::Error;
use source::History;

pub use builder::KeyReaderBuilder;
pub use item::{KeyGap, KeyGapReason, KeyItem, KeyRecord};
pub use latest::LatestRecord;

/// Reads the history of one key: its records in the order in which they were accepted, or back from the
/// newest one. Ends with what there was when reading began.
///
/// A reader is a [`Stream`] of [`KeyItem`]s. Each version comes exactly once, as a record or in a gap: what
/// retention has let go of is told, never left out in silence. When the connection breaks, the reader goes
/// on with the next version.
///
/// An error ends the stream. Works only while it is polled.
#[must_use = "reads nothing before it is asked to"]
pub struct KeyReader {
    state: State,
    current_version: Option<u64>,
}

type Told = Option<Result<KeyItem, Error>>;

enum State {
    Idle(Box<History>),
    /// Waiting for what comes next.
    Busy(Pin<Box<dyn Future<Output = (Box<History>, Told)> + Send>>),
    /// Only within a step, and behind the end.
    Ended,
}

impl KeyReader {
    fn new(history: History) -> Self {
        Self {
            state: State::Idle(Box::new(history)),
            current_version: None,
        }
    }

    /// Returns the next item of the stream. Dropping the future loses nothing.
    pub async fn next_item(&mut self) -> Option<Result<KeyItem, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The version that the key had when reading began: how many records were accepted for it, and where the
    /// history ends. None before the first item or the end.
    ///
    /// What was made of the whole history rests on it: [`Record::expect_version`] with it is refused if
    /// somebody else wrote to the key meanwhile.
    ///
    /// [`Record::expect_version`]: crate::Record::expect_version
    pub const fn current_version(&self) -> Option<u64> {
        self.current_version
    }
}

impl Stream for KeyReader {
    type Item = Result<KeyItem, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut busy = match std::mem::replace(&mut this.state, State::Ended) {
            State::Idle(mut history) => Box::pin(async move {
                let told = history.next().await;
                (history, told)
            }),
            State::Busy(busy) => busy,
            State::Ended => return Poll::Ready(None),
        };
        match busy.as_mut().poll(cx) {
            Poll::Pending => {
                this.state = State::Busy(busy);
                Poll::Pending
            }
            Poll::Ready((history, told)) => {
                this.current_version = history.current_version();
                if matches!(told, Some(Ok(_))) {
                    this.state = State::Idle(history);
                }
                Poll::Ready(told)
            }
        }
    }
}

impl fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReader")
            .field("current_version", &self.current_version)
            .finish_non_exhaustive()
    }
}
