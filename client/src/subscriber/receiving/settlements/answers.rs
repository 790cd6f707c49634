//! Who waits for confirmations.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use towpath_proto::ids::{Offset, OffsetRange};
use towpath_proto::problem::Problem;

use super::Group;
use crate::subscriber::receiving::ticket::{DeliveryId, Place};
use crate::{Error, ErrorReason};

/// Is told what became of a settlement, or of all of them.
pub(in crate::subscriber) type SettleAnswer = oneshot::Sender<Result<(), Error>>;

/// Those who wait for the confirmation of one record, and of everything.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_record: BTreeMap<(DeliveryId, Place), SettleAnswer>,
    of_all: Vec<Waiter>,
    /// Requests so far.
    request_count: u64,
}

/// Waits until everything that was said before is confirmed.
#[derive(Debug)]
struct Waiter {
    /// The last request that holds something of it; none while not all of it was sent.
    last: Option<u64>,
    answer: SettleAnswer,
}

impl Answers {
    /// `answer` waits for one record.
    pub(super) fn expect(&mut self, delivery: DeliveryId, place: Place, answer: SettleAnswer) {
        self.by_record.insert((delivery, place), answer);
    }

    /// Numbers a request. With `is_all`, nothing is left to be said behind it.
    pub(super) fn next_request(&mut self, is_all: bool) -> u64 {
        self.request_count += 1;
        let unsent = self.of_all.iter_mut().filter(|it| it.last.is_none());
        if is_all {
            unsent.for_each(|it| it.last = Some(self.request_count));
        }
        self.request_count
    }

    /// Waits for everything: up to the last request, and with `has_more` for what is not sent.
    pub(super) fn wait(&mut self, last: Option<u64>, has_more: bool, answer: SettleAnswer) {
        if has_more {
            self.of_all.push(Waiter { last: None, answer });
        } else if last.is_some() {
            self.of_all.push(Waiter { last, answer });
        } else {
            tell(answer, Ok(()));
        }
    }

    /// Records were settled, but for the expired ones.
    pub(super) fn tell(
        &mut self,
        (delivery, source): Group,
        ranges: impl Iterator<Item = (Offset, Offset)>,
        expired: &[OffsetRange],
    ) {
        if self.by_record.is_empty() {
            return;
        }
        let key = |offset| (delivery, Place { source, offset });
        for (start, end) in ranges {
            let answers = self.by_record.extract_if(key(start)..key(end), |_, _| true);
            for ((_, place), answer) in answers {
                let is_expired = expired.iter().any(|it| it.contains(place.offset));
                tell(
                    answer,
                    if is_expired {
                        Err(lease_expired())
                    } else {
                        Ok(())
                    },
                );
            }
        }
    }

    /// A request was confirmed, and with it all before.
    pub(super) fn confirm(&mut self, number: u64) {
        let is_over = |it: &mut Waiter| it.last.is_some_and(|last| last <= number);
        for waiter in self.of_all.extract_if(.., is_over) {
            tell(waiter.answer, Ok(()));
        }
    }

    /// No confirmation will come any more.
    pub(super) fn fail(&mut self, error: &Error) {
        let by_record = std::mem::take(&mut self.by_record).into_values();
        let of_all = self.of_all.drain(..).map(|it| it.answer);
        for answer in by_record.chain(of_all) {
            tell(answer, Err(error.clone()));
        }
    }
}

/// Tells that a record was not the consumer's any more when it was settled.
pub(in crate::subscriber::receiving) fn lease_expired() -> Error {
    let text = "the record was given back before it was settled, and is delivered again";
    Error::from_problem(&Problem::new(ErrorReason::LeaseExpired, text))
}

fn tell(answer: SettleAnswer, outcome: Result<(), Error>) {
    // Nobody may be waiting for it.
    drop(answer.send(outcome));
}
