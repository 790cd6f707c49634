//! What the sequencer says to one consumer, on its way to the response stream.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tonic::Status;
use towpath_storage::{Lsn, OffsetRange};

use crate::core::{CaughtUp, SubscriptionEvent};
use crate::runtime::command::CommandError;
use crate::runtime::subscription_command::SubscriptionSink;

/// What the response stream is told.
#[derive(Debug)]
pub(super) enum News {
    /// The sequencer has decided something about the consumer's records.
    Event(SubscriptionEvent),
    /// Nothing can be handed out to it now.
    CaughtUp(LatestCaughtUp),
    /// The answer to the oldest command of settlements that was not answered.
    Settled(Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>),
    /// The consumer says no more: how the stream ends.
    Over(Result<(), Box<Status>>),
}

/// That a consumer is caught up, which gives way to what is known later for as long as nobody has taken it.
#[derive(Debug, Clone, Default)]
pub(super) struct LatestCaughtUp(Arc<Mutex<Option<(CaughtUp, Lsn)>>>);

impl LatestCaughtUp {
    /// Takes it, with the last LSN that it rests on.
    pub(super) fn take(&self) -> Option<(CaughtUp, Lsn)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts what is known now. Returns whether something was there.
    fn replace(&self, caught_up: CaughtUp, lsn: Lsn) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.replace((caught_up, lsn)).is_some()
    }
}

/// Takes what the sequencer says to the response stream. What waits there is bounded: by the consumer's
/// credit, by the settlements that it may have on the way, and by one caught-up for each of these.
#[derive(Debug)]
pub(super) struct NewsSink {
    news: mpsc::UnboundedSender<News>,
    /// The caught-up behind which nothing was said.
    last: Mutex<Option<LatestCaughtUp>>,
}

impl NewsSink {
    pub(super) fn new(news: mpsc::UnboundedSender<News>) -> Self {
        Self {
            news,
            last: Mutex::default(),
        }
    }

    fn send(&self, news: News) {
        self.set_last(None);
        drop(self.news.send(news));
    }

    fn set_last(&self, last: Option<LatestCaughtUp>) -> Option<LatestCaughtUp> {
        let mut known = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, last)
    }

    fn send_caught_up(&self, caught_up: CaughtUp, lsn: Lsn) {
        let last = self.set_last(None).unwrap_or_default();
        if !last.replace(caught_up, lsn) {
            drop(self.news.send(News::CaughtUp(last.clone())));
        }
        self.set_last(Some(last));
    }
}

impl SubscriptionSink for NewsSink {
    fn tell(&self, event: SubscriptionEvent, lsn: Lsn) {
        match event {
            SubscriptionEvent::CaughtUp(caught_up) => self.send_caught_up(caught_up, lsn),
            event => self.send(News::Event(event)),
        }
    }

    fn answer(&self, expired: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>) {
        self.send(News::Settled(expired));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::SkippedRecords;
    use towpath_storage::Offset;

    /// What is read at last, of caught-ups only the LSN.
    fn read(news: &mut mpsc::UnboundedReceiver<News>) -> Vec<Option<u64>> {
        let read = std::iter::from_fn(|| news.try_recv().ok());
        let read = read.map(|it| match it {
            News::CaughtUp(caught_up) => caught_up.take().map(|(_, lsn)| lsn.get()),
            News::Event(_) | News::Settled(_) | News::Over(_) => None,
        });
        read.collect()
    }

    #[test]
    fn what_nobody_has_read_yet_gives_way_to_what_is_known_later() {
        let (news_in, mut news) = mpsc::unbounded_channel();
        let sink = NewsSink::new(news_in);
        let caught_up = |lsn| {
            let event = SubscriptionEvent::CaughtUp(CaughtUp::default());
            sink.tell(event, Lsn::new(lsn));
        };
        (1..1_000).for_each(caught_up);
        assert_eq!(read(&mut news), [Some(999)], "one");
        caught_up(1_000);
        assert_eq!(read(&mut news), [Some(1_000)], "another, since it was read");
        caught_up(1_001);
        let skipped = SkippedRecords {
            partition: 0,
            range: OffsetRange {
                start: Offset::ZERO,
                end: Offset::new(1),
            },
            count: 1,
        };
        sink.tell(SubscriptionEvent::Skipped(skipped), Lsn::new(1_002));
        caught_up(1_002);
        sink.answer(Ok(Vec::new()));
        caught_up(1_003);
        let expected = [Some(1_001), None, Some(1_002), None, Some(1_003)];
        assert_eq!(read(&mut news), expected, "none overtakes what came before");
    }
}
