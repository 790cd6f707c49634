//! What may happen next in the model.

use std::time::Duration;

use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;

use super::model::{Fault, Wire, World};
use crate::ErrorReason;
use crate::producer::lane::LaneRequest;

/// Records are not given for ever, so that a run comes to an end.
const RECORDS_MAX: usize = 150;

impl World {
    /// Does one thing at random.
    pub(super) fn step(&mut self) {
        match self.random.u32(0..16) {
            0..4 if self.given_count() < RECORDS_MAX => self.push(),
            4..7 => self.send(),
            7..10 => self.read(),
            10..13 => self.hear(),
            13 => {
                let milliseconds = [1, 10, 50, 200][self.random.usize(0..4)];
                self.pass(Duration::from_millis(milliseconds));
            }
            14 => self.lane.hurry(self.now),
            _ => self.break_something(),
        }
        if self.wire.is_none() && self.random.bool() {
            self.open_stream();
        }
    }

    /// Lets everything work from now on until nothing is left to do.
    pub(super) fn heal(&mut self) {
        self.faults.clear();
        self.old_wires.clear();
        if self.is_disk_dead {
            self.crash();
        }
        for _ in 0..10_000 {
            if !self.lane.has_work() {
                return;
            }
            if self.lane.is_drained() {
                self.lose_stream();
            }
            if self.wire.is_none() {
                self.open_stream();
            }
            self.exchange();
            self.pass(Duration::from_millis(5));
        }
        panic!("the lane does not come to rest: {:?}", self.lane);
    }

    /// Sends a message, reads one and hears an answer.
    pub(super) fn exchange(&mut self) {
        self.send();
        self.read();
        self.hear();
    }

    fn send(&mut self) {
        if let Some(wire) = &mut self.wire
            && let Some(request) = self.lane.take_request(self.now)
        {
            wire.sent.push_back(request);
        }
    }

    /// The broker reads one message, of the present connection or of one that is gone.
    fn read(&mut self) {
        let read_late = !self.old_wires.is_empty() && self.happens(Fault::ReadLate, 2);
        if read_late {
            let place = self.random.usize(0..self.old_wires.len());
            let mut wire = self.old_wires.swap_remove(place);
            self.read_from(&mut wire);
            self.old_wires.push(wire);
        } else if let Some(mut wire) = self.wire.take() {
            self.read_from(&mut wire);
            self.wire = Some(wire);
        }
    }

    fn read_from(&mut self, wire: &mut Wire) {
        match wire.sent.pop_front() {
            None => {}
            Some(LaneRequest::Open { handle, .. }) if self.is_disk_dead => {
                let error = Problem::new(ErrorReason::StorageFailed, "the disk failed");
                wire.answers
                    .push_back(Response::OpenRefused(v1::OpenRefused {
                        handle,
                        error: Some(error.into()),
                    }));
            }
            Some(LaneRequest::Open {
                handle, producer, ..
            }) => {
                wire.producers.insert(handle, producer);
                wire.answers.push_back(Response::Opened(v1::TopicOpened {
                    handle,
                    ..v1::TopicOpened::default()
                }));
            }
            Some(LaneRequest::Produce(sendable)) => {
                let producer = wire.producers[&sendable.identity];
                let mut answer = self.judge(producer, &sendable);
                if self.happens(Fault::FailDisk, 30) {
                    self.is_disk_dead = true;
                    // The batch may be on the disk all the same.
                    answer = self.judge(producer, &sendable);
                }
                wire.answers.push_back(answer);
            }
        }
    }

    fn hear(&mut self) {
        let answer = self.wire.as_mut().and_then(|wire| wire.answers.pop_front());
        if let Some(answer) = answer {
            self.deliver(answer);
        }
        if self.wire.is_some() && self.lane.is_drained() {
            self.lose_stream();
        }
    }

    fn break_something(&mut self) {
        if self.happens(Fault::LoseStream, 2) {
            self.lose_stream();
        }
        if self.happens(Fault::Drain, 4) {
            self.lane.drain();
        }
        if self.happens(Fault::Crash, 4) || (self.is_disk_dead && self.random.bool()) {
            self.crash();
        }
        if self.happens(Fault::ForgetProducer, 2) {
            self.forget();
        }
        if self.happens(Fault::GiveUp, 2) {
            self.give_up();
        }
    }

    /// The broker ends. What it had not read is lost with it.
    fn crash(&mut self) {
        self.old_wires.clear();
        if let Some(wire) = &mut self.wire {
            wire.sent.clear();
            wire.answers.clear();
        }
        self.lose_stream();
        self.old_wires.clear();
        self.is_disk_dead = false;
    }

    /// The broker forgets producers, as it does long after it has last heard of them: nothing of
    /// theirs is on its way any more, and their first batch was answered.
    fn forget(&mut self) {
        self.old_wires.clear();
        self.known.retain(|_, known| !known.is_established);
    }
}
