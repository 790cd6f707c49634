//! What is said of records: gathered until the connection takes it, kept until the broker confirms it.

mod answers;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use towpath_proto::ids::{Offset, OffsetRange};
use towpath_proto::v1;

use super::hearing::to_ranges;
use super::ranges::Ranges;
use super::ticket::{DeliveryId, LaneKey, Place, Source, Ticket};
use crate::Error;
use crate::subscriber::outcome::DeliveryOutcome;
use answers::Answers;
use verdict::Verdict;

pub(in crate::subscriber) use answers::SettleAnswer;
pub(super) use answers::lease_expired;

/// Records that one request may name.
const RECORDS_MAX: u64 = 65_536;
/// Settlements with words of their own that one request holds, so that it stays small.
const GIVEN_BACK_MAX: usize = 1_024;
/// Requests that wait for their confirmation. While there are so many, more is gathered: the slower the
/// broker's disk, the larger the requests.
const UNCONFIRMED_MAX: usize = 4;

/// Records of one delivery from one source.
pub(super) type Group = (DeliveryId, Source);

type Gathered = BTreeMap<Group, Ranges>;

/// All that is said and not confirmed.
#[derive(Debug, Default)]
pub(super) struct Settlements {
    starts: Gathered,
    extends: Gathered,
    acks: Gathered,
    /// In the order in which it was said.
    given_back: VecDeque<GivenBack>,
    /// Oldest first: as they were sent, and are sent again.
    unconfirmed: VecDeque<Request>,
    answers: Answers,
}

#[derive(Debug)]
struct GivenBack {
    group: Group,
    offset: Offset,
    outcome: DeliveryOutcome,
    lane: Option<LaneKey>,
}

#[derive(Debug)]
struct Request {
    number: u64,
    settlements: Vec<Settlement>,
}

/// What a request says of some records.
#[derive(Debug)]
struct Settlement {
    group: Group,
    ranges: Ranges,
    verdict: Verdict,
    /// Held up until it is confirmed.
    lanes: Vec<LaneKey>,
}

/// What a confirmation means for the consumer.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// Are not held up any more by what was confirmed.
    pub(super) lanes: Vec<LaneKey>,
    /// Turned out to be expired before they were settled.
    pub(super) expired: Vec<(Group, OffsetRange)>,
}

impl Settlements {
    /// A handler begins with a record.
    pub(super) fn start(&mut self, delivery: DeliveryId, place: Place) {
        gather(&mut self.starts, delivery, place);
    }

    /// A record takes longer.
    pub(super) fn extend(&mut self, delivery: DeliveryId, place: Place) {
        gather(&mut self.extends, delivery, place);
    }

    /// A record is settled. `lane` is held up until that is confirmed. `answer` is told then.
    pub(super) fn settle(
        &mut self,
        ticket: &Ticket,
        outcome: DeliveryOutcome,
        lane: Option<LaneKey>,
        answer: Option<SettleAnswer>,
    ) {
        let Ticket {
            delivery, place, ..
        } = *ticket;
        self.forget(ticket);
        if let Some(answer) = answer {
            self.answers.expect(delivery, place, answer);
        }
        if outcome == DeliveryOutcome::Ack {
            gather(&mut self.acks, delivery, place);
            return;
        }
        self.given_back.push_back(GivenBack {
            group: (delivery, place.source),
            offset: place.offset,
            outcome,
            lane,
        });
    }

    /// What was to be said of a record before it is settled does not matter any more.
    pub(super) fn forget(&mut self, ticket: &Ticket) {
        forget(&mut self.starts, ticket.delivery, ticket.place);
        forget(&mut self.extends, ticket.delivery, ticket.place);
    }

    /// Whether there is something that the broker can be told now.
    pub(super) fn is_due(&self) -> bool {
        self.has_gathered() && self.unconfirmed.len() < UNCONFIRMED_MAX
    }

    /// Whether everything that was said is confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && !self.has_gathered()
    }

    /// Whether what became of a record is not confirmed.
    pub(super) fn has_unconfirmed(&self) -> bool {
        let is_settlement = |it: &Settlement| matches!(it.verdict, Verdict::Settled(_));
        let mut sent = self.unconfirmed.iter().flat_map(|it| &it.settlements);
        !self.acks.is_empty() || !self.given_back.is_empty() || sent.any(is_settlement)
    }

    /// Whether something that was said was not sent yet.
    pub(super) fn has_gathered(&self) -> bool {
        let gathered = [&self.starts, &self.extends, &self.acks];
        gathered.iter().any(|it| !it.is_empty()) || !self.given_back.is_empty()
    }

    /// Takes what is to be sent next: as much of what was gathered as one request may hold.
    pub(super) fn take(&mut self) -> Option<v1::SettleDeliveries> {
        if !self.is_due() {
            return None;
        }
        let mut settlements = Vec::new();
        let mut room = RECORDS_MAX;
        for (gathered, verdict) in [
            (&mut self.starts, Verdict::Start),
            (&mut self.extends, Verdict::Extend),
            (&mut self.acks, Verdict::Settled(DeliveryOutcome::Ack)),
        ] {
            take_gathered(gathered, &verdict, &mut room, &mut settlements);
        }
        self.take_given_back(&mut room, &mut settlements);
        let is_all = !self.has_gathered();
        let request = Request {
            number: self.answers.next_request(is_all),
            settlements,
        };
        let message = request.to_proto();
        self.unconfirmed.push_back(request);
        Some(message)
    }

    fn take_given_back(&mut self, room: &mut u64, settlements: &mut Vec<Settlement>) {
        let full = settlements.len() + GIVEN_BACK_MAX;
        while *room > 0
            && settlements.len() < full
            && let Some(it) = self.given_back.pop_front()
        {
            *room -= 1;
            let verdict = Verdict::Settled(it.outcome);
            match settlements.last_mut() {
                Some(last) if last.group == it.group && last.verdict == verdict => {
                    last.ranges.insert(it.offset);
                    last.lanes.extend(it.lane);
                }
                Some(_) | None => settlements.push(Settlement {
                    group: it.group,
                    ranges: [it.offset].into_iter().collect(),
                    verdict,
                    lanes: it.lane.into_iter().collect(),
                }),
            }
        }
    }

    /// All that was sent and is not confirmed, to be sent again: repeating a settlement that took effect
    /// has none.
    pub(super) fn to_requests(&self) -> impl Iterator<Item = v1::SettleDeliveries> {
        self.unconfirmed.iter().map(Request::to_proto)
    }

    /// Forgets what is only of use to the present stream.
    pub(super) fn disconnect(&mut self) {
        self.starts.clear();
        self.extends.clear();
    }

    /// The broker has confirmed the oldest request.
    pub(super) fn confirm(&mut self, settled: &v1::Settled) -> Result<Confirmed, Error> {
        let oldest = self.unconfirmed.pop_front();
        let request = oldest
            .filter(|request| request.settlements.len() == settled.results.len())
            .ok_or_else(|| Error::protocol("the broker confirms what was not said"))?;
        let mut confirmed = Confirmed::default();
        for (settlement, result) in request.settlements.into_iter().zip(&settled.results) {
            let expired = to_ranges(&result.expired)?;
            if matches!(settlement.verdict, Verdict::Settled(_)) {
                let ranges = settlement.ranges.iter();
                self.answers.tell(settlement.group, ranges, &expired);
            } else {
                let expired = expired.into_iter().map(|range| (settlement.group, range));
                confirmed.expired.extend(expired);
            }
            confirmed.lanes.extend(settlement.lanes);
        }
        self.answers.confirm(request.number);
        Ok(confirmed)
    }

    /// Tells `answer` when all that was said up to now is confirmed.
    pub(super) fn wait(&mut self, answer: SettleAnswer) {
        let last = self.unconfirmed.back().map(|it| it.number);
        self.answers.wait(last, self.has_gathered(), answer);
    }

    /// No confirmation will come any more.
    pub(super) fn fail(&mut self, error: &Error) {
        *self = Self {
            answers: std::mem::take(&mut self.answers),
            ..Self::default()
        };
        self.answers.fail(error);
    }
}

fn gather(gathered: &mut Gathered, delivery: DeliveryId, place: Place) {
    let ranges = gathered.entry((delivery, place.source)).or_default();
    ranges.insert(place.offset);
}

fn forget(gathered: &mut Gathered, delivery: DeliveryId, place: Place) {
    let group = (delivery, place.source);
    if let Some(ranges) = gathered.get_mut(&group) {
        ranges.remove(place.offset);
        if ranges.is_empty() {
            gathered.remove(&group);
        }
    }
}

fn take_gathered(
    gathered: &mut Gathered,
    verdict: &Verdict,
    room: &mut u64,
    settlements: &mut Vec<Settlement>,
) {
    while *room > 0
        && let Some(mut entry) = gathered.first_entry()
    {
        let group = *entry.key();
        let ranges = entry.get_mut().take(*room);
        if entry.get().is_empty() {
            entry.remove();
        }
        *room -= ranges.len();
        settlements.push(Settlement {
            group,
            ranges,
            verdict: verdict.clone(),
            lanes: Vec::new(),
        });
    }
}

impl Request {
    fn to_proto(&self) -> v1::SettleDeliveries {
        let settlements = self.settlements.iter().map(|it| v1::Settlement {
            delivery: it.group.0.get(),
            partition: it.group.1.partition.get(),
            is_dead_letter: it.group.1.is_dead_letter,
            ranges: it.ranges.to_proto(),
            outcome: Some(it.verdict.to_proto()),
        });
        v1::SettleDeliveries {
            settlements: settlements.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
