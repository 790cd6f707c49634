//! What a consumer of a subscription knows: what it has, whose turn it is, what it has still to say.
//!
//! A pure state machine. Connections come and go; the consumer keeps its id, what its handlers have begun
//! with, and what it has said of records and was not confirmed. What waits for a handler belongs to a
//! connection: the broker gives it to others when that breaks.

mod committing;
mod ending;
mod extending;
mod hearing;
mod held;
mod ranges;
mod settlements;
#[cfg(test)]
mod tests;
mod ticket;
mod turns;

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use towpath_proto::ids::TopicId;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::v1::receive_request::Request;

use super::builder::SubscriberOptions;
use super::caught_up::SubscriptionCaughtUp;
use super::delivery::DeliveredRecord;
use super::gap::{DeliveryGap, Gaps};
use super::outcome::DeliveryOutcome;
use crate::Error;
use crate::admin::hex;
use crate::error::Effects;
use crate::flow::{Cost, Flow};
use ending::Ending;
use held::Held;
use settlements::Settlements;
use ticket::Place;
use turns::Turns;

pub(super) use committing::Lane;
pub(super) use hearing::Heard;
pub(super) use settlements::SettleAnswer;
pub(super) use ticket::Ticket;

/// A consumer of a subscription, from its first connection to its end.
#[derive(Debug)]
pub(super) struct Receiving {
    options: SubscriberOptions,
    consumer_id: [u8; 16],
    phase: Phase,
    ending: Ending,
    /// What was found first: the same names of another broker, or of another life, are something else.
    known: Option<Known>,
    held: Held,
    turns: Turns,
    /// Tickets that somebody has, also of what was lost.
    begun_count: usize,
    settlements: Settlements,
    flow: Flow,
    /// Whether the broker may send records over the present stream.
    is_wanting: bool,
    /// To be sent before all else.
    outbox: VecDeque<Request>,
    /// When leases are extended next.
    extend_at: Option<Instant>,
    /// A delivery that arrived damaged: once may be the way here, twice is the broker.
    damaged: Option<Place>,
    /// What was told of records that are gone.
    gaps: Gaps,
    /// That nothing can be handed out, behind all records that came.
    caught_up: Option<SubscriptionCaughtUp>,
    /// How often that was told.
    caught_up_count: u64,
    /// Why it ended, until that was told.
    end: Option<Error>,
    /// Why something that was said will never be confirmed.
    vain: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no stream.
    Absent,
    /// The stream was not answered.
    Opening,
    /// The consumer receives.
    Open,
    /// The broker stops: it sends no more, and still confirms.
    Draining,
    /// Nothing more will happen.
    Ended,
}

/// What the broker has told of itself and the subscription.
#[derive(Debug)]
struct Known {
    broker_id: String,
    subscription_id: u64,
    topic: TopicName,
    /// None if it was deleted.
    dead_letter_topic: Option<TopicName>,
    topic_id: TopicId,
    /// Whether the records of one key are in order.
    is_ordered: bool,
    ack_deadline: Duration,
}

/// What there is for somebody who waits for a record.
#[derive(Debug)]
pub(super) enum Taken {
    /// A record to be handled.
    Record(DeliveredRecord, Ticket),
    /// No record will come any more, for this reason.
    Failed(Error),
    /// No record will come any more.
    End,
    /// Not yet.
    Nothing,
}

impl Receiving {
    pub(super) fn new(options: SubscriberOptions, consumer_id: [u8; 16]) -> Self {
        let flow = Flow::new(Cost {
            records: options.records_max,
            bytes: options.bytes_max,
        });
        Self {
            options,
            consumer_id,
            phase: Phase::Absent,
            ending: Ending::No,
            known: None,
            held: Held::default(),
            turns: Turns::default(),
            begun_count: 0,
            settlements: Settlements::default(),
            flow,
            is_wanting: false,
            outbox: VecDeque::new(),
            extend_at: None,
            damaged: None,
            gaps: Gaps::default(),
            caught_up: None,
            caught_up_count: 0,
            end: None,
            vain: None,
        }
    }

    /// The consumer's id as 32 hexadecimal digits.
    pub(super) fn consumer_id(&self) -> String {
        hex(&self.consumer_id)
    }

    /// From now on records of one key are begun with one after the other.
    pub(super) const fn go_by_key(&mut self) {
        self.turns.go_by_key();
    }

    /// A new stream is made: it begins by opening.
    pub(super) fn begin(&mut self) {
        self.phase = Phase::Opening;
        self.is_wanting = false;
        self.outbox = VecDeque::from([Request::Open(v1::OpenReceive {
            subscription: self.options.subscription.clone(),
            consumer_id: self.consumer_id.to_vec().into(),
            client_name: self.options.client_name.clone(),
            reports_start: true,
            refuse_to_wait: self.options.refuses_to_wait,
            subscription_id: self.known.as_ref().map_or(0, |it| it.subscription_id),
        })]);
    }

    /// The stream is gone, and with it what no handler has begun with.
    pub(super) fn disconnect(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Absent;
        self.outbox.clear();
        self.extend_at = None;
        self.caught_up = None;
        self.settlements.disconnect();
        self.drop_waiting();
    }

    /// Whether something is to be sent over the present stream.
    pub(super) fn has_request(&self) -> bool {
        let can_settle = self.is_open() && self.settlements.is_due();
        let can_change = self.is_credit_due() || self.is_stop_due() || self.is_leave_due();
        !self.outbox.is_empty() || can_settle || can_change
    }

    /// Takes what is to be sent next over the present stream.
    pub(super) fn take_request(&mut self) -> Option<v1::ReceiveRequest> {
        let settle = if self.outbox.is_empty() && self.is_open() {
            self.settlements.take()
        } else {
            None
        };
        let request = match (self.outbox.pop_front(), settle) {
            (Some(request), _) => request,
            (None, Some(settle)) => Request::Settle(settle),
            (None, None) if self.is_credit_due() => {
                let Cost { records, bytes } = self.flow.take_credit();
                self.is_wanting = true;
                Request::Credit(v1::ReceiveCredit { records, bytes })
            }
            (None, None) if self.is_stop_due() => {
                self.is_wanting = false;
                Request::Stop(v1::StopReceive {})
            }
            (None, None) if self.is_leave_due() => {
                self.ending = Ending::Left;
                Request::Leave(v1::LeaveReceive {})
            }
            (None, None) => return None,
        };
        Some(v1::ReceiveRequest {
            request: Some(request),
        })
    }

    fn is_credit_due(&self) -> bool {
        self.phase == Phase::Open && self.ending == Ending::No && self.flow.is_due()
    }

    /// Takes the next record to be handled, which is begun with.
    pub(super) fn take(&mut self, now: Instant) -> Taken {
        if let Some(error) = self.end.take() {
            return Taken::Failed(error);
        }
        if self.is_over() {
            return Taken::End;
        }
        let held = &self.held;
        let Some(ticket) = self.turns.take(|ticket| held.is_waiting(ticket)) else {
            return Taken::Nothing;
        };
        let Some(record) = self.held.begin(&ticket, now) else {
            return Taken::Nothing;
        };
        self.begun_count += 1;
        self.settlements.start(ticket.delivery, ticket.place);
        Taken::Record(record, ticket)
    }

    /// Whether somebody who waits for a record need not wait any more.
    pub(super) fn is_ready(&mut self) -> bool {
        let held = &self.held;
        self.is_over() || self.turns.has_next(|ticket| held.is_waiting(ticket))
    }

    /// What was told last when nothing could be handed out, with its number, if that is higher than `seen`:
    /// once all records that came before were begun with.
    pub(super) fn caught_up_since(&self, seen: u64) -> Option<(u64, &SubscriptionCaughtUp)> {
        let is_news = self.caught_up_count > seen && !self.held.has_waiting() && !self.is_over();
        let caught_up = self.caught_up.as_ref().filter(|_| is_news)?;
        Some((self.caught_up_count, caught_up))
    }

    /// Whether the broker sends nothing more before something is settled.
    pub(super) fn is_full(&self) -> bool {
        self.is_wanting && self.flow.is_spent()
    }

    /// Whether no record will be handed out any more.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Ended || self.ending != Ending::No
    }

    /// A record that was handed out is settled. `answer` is told when that is durable, or why it is not.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        outcome: DeliveryOutcome,
        answer: Option<SettleAnswer>,
    ) {
        self.begun_count -= 1;
        match self.held.remove(&ticket) {
            Some(cost) => {
                self.flow.release(cost);
                let is_ordered = self.known.as_ref().is_some_and(|it| it.is_ordered);
                // Until the broker has told what else it takes back, nothing may overtake the record.
                let lane = ticket.lane.clone();
                let lane = lane.filter(|_| is_ordered && outcome.is_given_back());
                lane.iter().for_each(|key| self.turns.hold(key.clone()));
                self.settlements.settle(&ticket, outcome, lane, answer);
            }
            None => self.refuse(answer),
        }
        if let Some(lane) = ticket.lane.filter(|_| ticket.holds_lane) {
            self.turns.release(lane);
        }
        self.end_drain();
    }

    /// Takes what was told of records that are gone.
    pub(super) fn take_gaps(&mut self) -> Vec<DeliveryGap> {
        self.gaps.take()
    }

    fn refuse(&self, answer: Option<SettleAnswer>) {
        let Some(answer) = answer else {
            return;
        };
        let error = match self.phase {
            Phase::Ended => gone(),
            _ => settlements::lease_expired(),
        };
        // Nobody may be waiting for it.
        drop(answer.send(Err(error)));
    }

    /// Tells `answer` when all that was said of records up to now is durable, or why it never will be.
    pub(super) fn wait_for_confirmations(&mut self, answer: SettleAnswer) {
        match &self.vain {
            // Nobody may be waiting for it.
            Some(error) => drop(answer.send(Err(error.clone()))),
            None if self.settlements.has_unconfirmed() => self.settlements.wait(answer),
            None => drop(answer.send(Ok(()))),
        }
    }

    /// Whether nothing more will happen.
    pub(super) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether the broker has let the consumer in over the present stream.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
    }

    /// Gives everything up: hands out why.
    pub(super) fn fail(&mut self, error: Error) {
        if self.phase != Phase::Ended {
            self.close(&error.clone().in_doubt());
            self.end = Some(error).filter(|_| self.ending == Ending::No);
        }
    }

    /// Nothing more will happen, and there is nothing to tell.
    pub(super) fn finish(&mut self) {
        if self.phase != Phase::Ended {
            self.close(&gone().in_doubt());
        }
    }

    fn close(&mut self, error: &Error) {
        self.phase = Phase::Ended;
        self.outbox.clear();
        self.extend_at = None;
        if self.settlements.has_unconfirmed() {
            self.vain = Some(error.clone());
        }
        self.settlements.fail(error);
        self.held.clear();
        self.turns.drop_waiting();
    }
}

fn gone() -> Error {
    Error::closed(Effects::None, "the subscriber has left its subscription")
}
