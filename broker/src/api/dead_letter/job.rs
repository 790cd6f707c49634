//! Redriving and discarding: a task that goes through the letters in steps, and tells after each how far
//! it is.
//!
//! What it remembers is bounded, however many letters there are, and what it needs to go on after an
//! interruption is in its token. Where whole keys go, the letters of a key go one step behind the other,
//! and with the last of them what was parked behind them meanwhile: else the key would stay parked.

mod by_key;
mod in_order;
mod keys;
mod named;
mod pace;
mod plan;
mod progress;
mod step;

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::Status;
use towpath_proto::problem::Problem;
use towpath_storage::{Offset, OffsetRange};

use super::filter::Filter;
use super::republish::Target;
use super::token::Token;
use super::{Letters, status};
use crate::api::Shared;
use crate::core::OnDeadLetter;
use pace::Pace;
use progress::{Counts, Told};

pub(super) use plan::{discard, redrive};

/// What is done with dead letters.
#[derive(Debug)]
enum Deed {
    /// They are delivered again.
    Redrive,
    /// They become records of a topic.
    Republish(Target),
    /// They are settled.
    Discard,
}

/// A call that goes through dead letters.
#[derive(Debug)]
struct Job {
    shared: Arc<Shared>,
    letters: Letters,
    filter: Filter,
    deed: Deed,
    is_dry_run: bool,
    pace: Pace,
    /// How far it is.
    token: Token,
    counts: Counts,
    /// Letters that are named and that there are not, until they are told.
    missing: Vec<(u32, Offset)>,
    progress: mpsc::Sender<Result<Told, Status>>,
}

impl Job {
    async fn run(mut self) {
        let progress = self.progress.clone();
        let drain = self.shared.drain.clone();
        let ended = tokio::select! {
            ended = self.go_through() => ended,
            () = progress.closed() => Ok(()),
            () = drain.begun() => Err(status::shutting_down()),
        };
        if let Deed::Discard = self.deed
            && !self.is_dry_run
        {
            let (subscription, count) = (&self.letters.name, self.counts.done);
            tracing::info!(%subscription, count, "dead letters were discarded");
        }
        if let Err(problem) = ended {
            drop(progress.send(Err(problem.into())).await);
        }
    }

    async fn go_through(&mut self) -> Result<(), Problem> {
        // Who has a token may be cut off at any moment.
        self.tell("").await;
        while let Some(end) = self.token.ends.first().copied() {
            if self.filter.takes_partition(self.token.partition) {
                self.go_through_partition(end).await?;
            }
            self.token = Token {
                partition: self.token.partition + 1,
                next: Offset::ZERO,
                key: None,
                ends: self.token.ends.split_off(1),
            };
        }
        self.tell_done().await;
        Ok(())
    }

    /// Goes through the letters of the partition up to `end`: what died since is not touched.
    async fn go_through_partition(&mut self, end: Offset) -> Result<(), Problem> {
        if !self.keeps_keys_together() {
            return self.take_in_order(end).await;
        }
        if !self.filter.takes_whole_keys() {
            return self.take_keys(end).await;
        }
        self.take_in_order(end).await?;
        match self.is_dry_run {
            true => Ok(()),
            false => self.take_followers(end).await,
        }
    }

    /// Whether all dead letters of a key go together: the others of it would be overtaken.
    fn keeps_keys_together(&self) -> bool {
        matches!(self.deed, Deed::Redrive) && self.letters.on_dead_letter == OnDeadLetter::Park
    }

    /// Where the partition ends now.
    fn partition_end(&self) -> Offset {
        let handle = self.letters.topic.partition(self.token.partition);
        handle.map_or(Offset::ZERO, |handle| handle.log().end())
    }

    /// The part of the partition from `start` to `end`; none of it if it ends before.
    fn part(start: Offset, end: Offset) -> OffsetRange {
        OffsetRange {
            start: start.min(end),
            end,
        }
    }
}
