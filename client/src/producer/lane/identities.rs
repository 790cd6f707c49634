//! Who the broker takes this producer for.
//!
//! Usually one identity serves all partitions for as long as the producer lives. A partition whose
//! sequence is lost goes on under the next one. The number of an identity is also the handle under
//! which the topic is open for it.

use std::collections::VecDeque;
use std::sync::Arc;

use towpath_proto::ids::ProducerId;
use uuid::Uuid;

use super::super::life::BegunLife;
use crate::Error;

/// The identities of a lane, and for which of them the topic is open on the present stream.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// That of a producer with a name, from which identities come.
    life: Option<Arc<BegunLife>>,
    known: Vec<Identity>,
    /// Those for which the topic is to be opened.
    opening: VecDeque<u32>,
}

#[derive(Debug)]
struct Identity {
    producer: ProducerId,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Opening,
    Open,
}

impl Identities {
    pub(super) fn of(life: Option<Arc<BegunLife>>) -> Self {
        Self {
            life,
            ..Self::default()
        }
    }

    /// The life of a named producer; 0 for others.
    pub(super) fn epoch(&self) -> u32 {
        self.life.as_ref().map_or(0, |life| life.epoch)
    }

    /// The broker takes nothing of the producer's life any more.
    pub(super) fn end_life(&self, fenced: &Error) {
        if let Some(life) = &self.life {
            life.end(fenced);
        }
    }

    fn new_id(&self) -> ProducerId {
        let random = || ProducerId::new(Uuid::new_v4().into_bytes());
        self.life.as_ref().map_or_else(random, |it| it.next_id())
    }

    /// Returns whether the topic is open for this identity; else sees to it that it is opened.
    pub(super) fn open(&mut self, number: u32) -> bool {
        let place = number as usize;
        while self.known.len() <= place {
            self.known.push(Identity {
                producer: self.new_id(),
                state: State::Closed,
            });
        }
        let Some(identity) = self.known.get_mut(place) else {
            return false;
        };
        if identity.state == State::Closed {
            identity.state = State::Opening;
            self.opening.push_back(number);
        }
        identity.state == State::Open
    }

    /// Takes the next one to open the topic for.
    pub(super) fn take_opening(&mut self) -> Option<(u32, ProducerId)> {
        let number = self.opening.pop_front()?;
        let identity = self.known.get(number as usize)?;
        Some((number, identity.producer))
    }

    pub(super) fn has_opening(&self) -> bool {
        !self.opening.is_empty()
    }

    /// Whether an answer to an opening is awaited, or will be.
    pub(super) fn is_opening(&self) -> bool {
        self.known.iter().any(|it| it.state == State::Opening)
    }

    /// The topic is open for this identity.
    pub(super) fn set_open(&mut self, number: u32) {
        if let Some(identity) = self.known.get_mut(number as usize) {
            identity.state = State::Open;
        }
    }

    /// There is no stream, or a new one, on which nothing is open yet.
    pub(super) fn close_all(&mut self) {
        self.opening.clear();
        for identity in &mut self.known {
            identity.state = State::Closed;
        }
    }
}
