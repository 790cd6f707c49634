//! One account, made from its events.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use towpath_client::ReceivedRecord;

use crate::Error;

/// Ids of events that an account remembers, so that one which is asked for again is not decided on.
const RECENT_MAX: usize = 100;

/// An event: money has come or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How much; less than 0 where it has gone.
    pub cents: i64,
}

/// What the events of an account have made of it; also what a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// How many events.
    version: u64,
    cents: i64,
    /// Ids of the last ones.
    recent: VecDeque<String>,
}

impl Account {
    /// How many events it is made from: the version of its key.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What is on it.
    pub const fn cents(&self) -> i64 {
        self.cents
    }

    /// Whether it has an event of this id, as far as it remembers.
    pub fn has(&self, event_id: &str) -> bool {
        self.recent.iter().any(|it| it == event_id)
    }

    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// It is not one, or not the next.
    pub fn apply(&mut self, version: u64, event: &ReceivedRecord) -> Result<(), Error> {
        if version != self.version + 1 {
            return Err(format!("event {version} behind event {}", self.version).into());
        }
        let Entry { cents } = event.json()?;
        self.version = version;
        self.cents += cents;
        self.recent.extend(event.ce_id().map(str::to_owned));
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        Ok(())
    }
}
