//! One step: a few letters of one partition, moved with one entry.

use std::time::Duration;

use tokio::time::sleep;
use towpath_proto::problem::Problem;
use towpath_storage::Offset;

use super::super::letter::Letter;
use super::super::status;
use super::{Deed, Job};
use crate::core::{DeadLetter, DeadLetterCounts, DeadLetterState, HashKey, REDRIVEN_RECORDS_MAX};
use crate::runtime::command::{ControlCommand, REPUBLISHED_RECORDS_MAX};
use crate::runtime::subscription_command::{DeadLetterVerdict, SubscriptionCommand};

/// How often room is looked for where there is none.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);

/// Whether letters were there when the call began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// They were.
    Old,
    /// They came since: only those go whose key has had a letter before this offset, and one ever since. No
    /// others are told of.
    Since(Offset),
}

/// A letter, as far as it has to be known to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) letter: DeadLetter,
    pub(super) is_dead: bool,
}

impl Known {
    pub(super) fn of(letter: &Letter, hash_key: HashKey) -> Self {
        Self {
            letter: letter.known(hash_key),
            is_dead: letter.open.state == DeadLetterState::Dead,
        }
    }
}

impl Job {
    /// Most letters of one step.
    pub(super) fn step(&self) -> usize {
        self.pace.step(match self.deed {
            Deed::Redrive | Deed::Discard => REDRIVEN_RECORDS_MAX,
            Deed::Republish(_) => REPUBLISHED_RECORDS_MAX,
        })
    }

    /// Does with the letters of one step what is to be done. Returns whether that went: not if one was moved
    /// by somebody else.
    pub(super) async fn do_with(
        &mut self,
        letters: &[Letter],
        hash_key: HashKey,
        age: Age,
    ) -> Result<bool, Problem> {
        let known = |it: &Letter| Known::of(it, hash_key);
        match &self.deed {
            Deed::Republish(target) if !self.is_dry_run => {
                self.pace.wait().await;
                let is_dead = |it: &&Letter| it.open.state == DeadLetterState::Dead;
                let dead: Vec<_> = letters.iter().filter(is_dead).cloned().collect();
                let append = target.append(&self.shared, &self.letters, hash_key, &dead);
                if !append.await? {
                    return Ok(false);
                }
                self.pace.note(dead.len());
                self.counts.done += dead.len() as u64;
                self.counts.passed += (letters.len() - dead.len()) as u64;
            }
            Deed::Discard if !self.is_dry_run => {
                let letters = letters.iter().map(|it| known(it).letter).collect();
                let counts = self.moved(letters, DeadLetterVerdict::Discard).await?;
                self.counts.done += counts.done as u64;
                self.counts.kept += counts.left as u64;
            }
            Deed::Discard => self.counts.done += letters.len() as u64,
            Deed::Redrive | Deed::Republish(_) => {
                let letters: Vec<_> = letters.iter().map(known).collect();
                self.give_back(&letters, age).await?;
            }
        }
        Ok(true)
    }

    /// Has the letters of one step delivered again; waits for room where there is none.
    pub(super) async fn give_back(&mut self, letters: &[Known], age: Age) -> Result<(), Problem> {
        if self.is_dry_run {
            let dead_count = letters.iter().filter(|it| it.is_dead).count() as u64;
            self.counts.done += dead_count;
            self.counts.passed += letters.len() as u64 - dead_count;
            return Ok(());
        }
        let verdict = match age {
            Age::Old => DeadLetterVerdict::Redrive,
            Age::Since(before) => DeadLetterVerdict::RedriveBehind(before),
        };
        let letters: Vec<_> = letters.iter().map(|it| it.letter).collect();
        let mut is_first = true;
        loop {
            self.pace.wait().await;
            let counts = self.moved(letters.clone(), verdict).await?;
            self.pace.note(counts.done);
            self.counts.done += counts.done as u64;
            if is_first && age == Age::Old {
                self.counts.passed += counts.passed as u64;
            }
            if counts.left == 0 {
                return Ok(());
            }
            if is_first || counts.done > 0 {
                let partition = self.token.partition;
                let text = format!("partition {partition}: consumers, to handle what waits");
                self.tell(&text).await;
            }
            is_first = false;
            sleep(ROOM_INTERVAL).await;
        }
    }

    async fn moved(
        &self,
        letters: Vec<DeadLetter>,
        verdict: DeadLetterVerdict,
    ) -> Result<DeadLetterCounts, Problem> {
        let moved = self.shared.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::MoveDeadLetters {
                subscription: self.letters.subscription,
                partition: self.token.partition,
                letters,
                verdict,
                answer,
            })
        });
        let moved = moved.await;
        let counts =
            moved.map_err(|error| status::command_failed(error, |never| match never {}))?;
        counts.ok_or_else(|| status::subscription_gone(&self.letters.name))
    }
}
