//! The calls: what they ask for is checked, and a task does it.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tonic::Status;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::Offset;

use super::super::filter::Filter;
use super::super::republish::Target;
use super::super::token::Token;
use super::super::{Letters, Progress, letters_of};
use super::pace::Pace;
use super::progress::{Counts, Told};
use super::{Deed, Job, named};
use crate::api::{Shared, convert};

/// Longest reason for discarding.
const REASON_BYTES_MAX: usize = 200;

/// Gives dead letters back, or appends them to a topic.
pub(in crate::api::dead_letter) async fn redrive(
    shared: &Arc<Shared>,
    request: v1::RedriveDeadLettersRequest,
) -> Result<Progress<v1::RedriveDeadLettersResponse>, Problem> {
    shared.refuse_when_draining()?;
    let letters = letters_of(shared, &request.subscription).await?;
    let filter = Filter::read(request.filter, &letters)?;
    let deed = match request.to_topic {
        None => Deed::Redrive,
        Some(to) => Deed::Republish(Target::read(shared, to, &filter, &letters).await?),
    };
    let plan = Plan {
        letters,
        filter,
        deed,
        records_per_second_max: request.records_per_second_max,
        is_dry_run: request.validate_only,
    };
    let told = plan.begin(shared, &request.resume_token).await?;
    Ok(Box::pin(told.map(|told| {
        let told = told?;
        Ok(v1::RedriveDeadLettersResponse {
            redriven_count: told.counts.done,
            passed_count: told.counts.passed,
            is_done: told.token.is_none(),
            resume_token: told.token.unwrap_or_default(),
            waiting_for: told.waiting_for,
            missing: references(told.missing),
        })
    })))
}

/// Settles dead letters that nobody is to handle.
pub(in crate::api::dead_letter) async fn discard(
    shared: &Arc<Shared>,
    request: v1::DiscardDeadLettersRequest,
) -> Result<Progress<v1::DiscardDeadLettersResponse>, Problem> {
    shared.refuse_when_draining()?;
    let reason = request.reason;
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        let message = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
        return Err(Problem::invalid_field("reason", message));
    }
    let letters = letters_of(shared, &request.subscription).await?;
    let (subscription, is_dry_run) = (letters.name.clone(), request.validate_only);
    let filter = Filter::read(request.filter, &letters)?;
    let meant = filter.to_string();
    let plan = Plan {
        letters,
        filter,
        deed: Deed::Discard,
        records_per_second_max: 0,
        is_dry_run,
    };
    let told = plan.begin(shared, &request.resume_token).await?;
    if !is_dry_run {
        tracing::info!(%subscription, %reason, filter = meant, "dead letters are being discarded");
    }
    Ok(Box::pin(told.map(|told| {
        let told = told?;
        Ok(v1::DiscardDeadLettersResponse {
            discarded_count: told.counts.done,
            kept_count: told.counts.kept,
            is_done: told.token.is_none(),
            resume_token: told.token.unwrap_or_default(),
            missing: references(told.missing),
        })
    })))
}

fn references(letters: Vec<(u32, Offset)>) -> Vec<v1::DeadLetterRef> {
    let letters = letters.into_iter();
    let letters = letters.map(|(partition, offset)| v1::DeadLetterRef {
        partition,
        offset: offset.get(),
    });
    letters.collect()
}

/// What a call asks for.
struct Plan {
    letters: Letters,
    filter: Filter,
    deed: Deed,
    records_per_second_max: u32,
    is_dry_run: bool,
}

impl Plan {
    /// Has a task do it, which ends with the stream.
    async fn begin(
        self,
        shared: &Arc<Shared>,
        resume_token: &str,
    ) -> Result<Pin<Box<impl Stream<Item = Result<Told, Status>> + use<>>>, Problem> {
        let topic = &self.letters.topic;
        let (token, missing) = match resume_token {
            "" => {
                let token = Token {
                    partition: 0,
                    next: Offset::ZERO,
                    key: None,
                    ends: topic.partitions().iter().map(|it| it.log().end()).collect(),
                };
                let missing = named::missing(shared, &self.letters, &self.filter).await?;
                (token, missing)
            }
            token => {
                // Those that it names may be done with since.
                let count = convert::partition_count(topic);
                (Token::read("resume_token", token, count)?, Vec::new())
            }
        };
        // Little is told ahead: who does not listen holds the work up.
        let (progress, told) = mpsc::channel(4);
        let job = Job {
            shared: Arc::clone(shared),
            letters: self.letters,
            filter: self.filter,
            deed: self.deed,
            is_dry_run: self.is_dry_run,
            pace: Pace::new(match self.is_dry_run {
                true => 0,
                false => self.records_per_second_max,
            }),
            token,
            counts: Counts::default(),
            missing,
            progress,
        };
        shared.drain.tasks().spawn(job.run());
        Ok(Box::pin(stream::unfold(told, async |mut told| {
            let next = told.recv().await?;
            Some((next, told))
        })))
    }
}
