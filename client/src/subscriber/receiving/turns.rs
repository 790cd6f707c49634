//! Whose turn it is: records that wait, in the order in which they came, but for lanes that are held up.
//!
//! A lane is a key of a partition. It is held up by a record that was given back, until the broker has
//! told what else it takes back with it; and, where handlers run by key, by each record that was begun
//! with, until it is settled.

use std::collections::{HashMap, VecDeque};

use super::ticket::{LaneKey, Ticket};

/// Tickets of records that wait. What was lost meanwhile is found out when it comes to its turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    is_by_key: bool,
    /// Comes behind what waits in lanes.
    arrived: VecDeque<Ticket>,
    /// Those that are held up, or of which something waits for a turn before all that has arrived.
    lanes: HashMap<LaneKey, Lane>,
    /// Lanes that are not held up any more, and stale names of others.
    ready: VecDeque<LaneKey>,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Ticket>,
    hold_count: usize,
}

/// Where the next ticket is.
enum Front {
    Lane(LaneKey),
    Arrived,
}

impl Turns {
    /// From now on records of one key are begun with one after the other.
    pub(super) const fn go_by_key(&mut self) {
        self.is_by_key = true;
    }

    /// A record came.
    pub(super) fn push(&mut self, ticket: Ticket) {
        self.arrived.push_back(ticket);
    }

    /// Takes the next record that may be begun with and still waits.
    pub(super) fn take(&mut self, is_waiting: impl Fn(&Ticket) -> bool) -> Option<Ticket> {
        let mut ticket = match self.front(is_waiting)? {
            Front::Arrived => self.arrived.pop_front()?,
            Front::Lane(key) => self.lanes.get_mut(&key)?.waiting.pop_front()?,
        };
        if self.is_by_key
            && let Some(key) = &ticket.lane
        {
            let key = key.clone();
            ticket.holds_lane = true;
            self.hold(key);
        }
        Some(ticket)
    }

    /// Whether there is a record that may be begun with.
    pub(super) fn has_next(&mut self, is_waiting: impl Fn(&Ticket) -> bool) -> bool {
        self.front(is_waiting).is_some()
    }

    /// Holds a lane up, until it is released as often.
    pub(super) fn hold(&mut self, key: LaneKey) {
        self.lanes.entry(key).or_default().hold_count += 1;
    }

    /// One reason to hold a lane up is gone.
    pub(super) fn release(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.hold_count = lane.hold_count.saturating_sub(1);
        if lane.hold_count > 0 {
            return;
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Nothing waits any more.
    pub(super) fn drop_waiting(&mut self) {
        self.arrived.clear();
        self.ready.clear();
        self.lanes.retain(|_, lane| {
            lane.waiting.clear();
            lane.hold_count > 0
        });
    }

    /// Finds the next ticket that counts, and drops or puts aside what comes before it.
    fn front(&mut self, is_waiting: impl Fn(&Ticket) -> bool) -> Option<Front> {
        while let Some(key) = self.ready.front() {
            if let Some(lane) = self.lanes.get_mut(key).filter(|it| it.hold_count == 0) {
                while lane.waiting.front().is_some_and(|it| !is_waiting(it)) {
                    lane.waiting.pop_front();
                }
                if !lane.waiting.is_empty() {
                    return Some(Front::Lane(key.clone()));
                }
                self.lanes.remove(key);
            }
            self.ready.pop_front();
        }
        while let Some(ticket) = self.arrived.front() {
            let lane = ticket.lane.as_ref().filter(|_| !self.lanes.is_empty());
            let lane = lane.and_then(|key| self.lanes.get_mut(key));
            match lane {
                Some(lane) if is_waiting(ticket) => {
                    lane.waiting.extend(self.arrived.pop_front());
                }
                None if is_waiting(ticket) => return Some(Front::Arrived),
                Some(_) | None => {
                    self.arrived.pop_front();
                }
            }
        }
        None
    }
}
