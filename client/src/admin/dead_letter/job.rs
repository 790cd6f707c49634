//! Redriving and discarding dead letters.

use std::fmt;

use tonic::Streaming;
use tonic::transport::Channel;
use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_client::DeadLetterServiceClient;

use super::DeadLetterFilter;
use crate::perseverance::Perseverance;
use crate::{Admin, Error, Record};

/// What is to be redriven, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct RedriveDeadLetters {
    request: v1::RedriveDeadLettersRequest,
}

impl RedriveDeadLetters {
    /// Delivers all dead letters of a subscription again.
    pub fn new(subscription: impl Into<String>) -> Self {
        Self {
            request: v1::RedriveDeadLettersRequest {
                subscription: subscription.into(),
                ..v1::RedriveDeadLettersRequest::default()
            },
        }
    }

    /// Only those that the filter takes. To a subscription that parks, the others of their keys go with
    /// them.
    #[must_use]
    pub fn filter(mut self, filter: &DeadLetterFilter) -> Self {
        self.request.filter = Some(filter.to_proto());
        self
    }

    /// Appends them to a topic as new records instead, with headers that name what they were
    /// ([`dead_letter`](crate::dead_letter)).
    #[must_use]
    pub fn append_to(mut self, topic: impl Into<String>) -> Self {
        let target = self.request.to_topic.get_or_insert_default();
        target.topic = topic.into();
        self
    }

    /// Appends this record in the place of the one dead letter that the filter names; only with
    /// [`RedriveDeadLetters::append_to`].
    #[must_use]
    pub fn replacement(mut self, record: &Record) -> Self {
        let target = self.request.to_topic.get_or_insert_default();
        target.replacement = Some(record.to_proto(""));
        self
    }

    /// At most so many a second.
    #[must_use]
    pub const fn records_per_second_max(mut self, count: u32) -> Self {
        self.request.records_per_second_max = count;
        self
    }

    /// Only counts them.
    #[must_use]
    pub const fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }
}

/// What is to be discarded, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscardDeadLetters {
    request: v1::DiscardDeadLettersRequest,
}

impl DiscardDeadLetters {
    /// Settles all dead letters of a subscription. The reason, of 1 to 200 bytes, is for those who look at
    /// the broker's log.
    pub fn new(subscription: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            request: v1::DiscardDeadLettersRequest {
                subscription: subscription.into(),
                reason: reason.into(),
                ..v1::DiscardDeadLettersRequest::default()
            },
        }
    }

    /// Only those that the filter takes.
    #[must_use]
    pub fn filter(mut self, filter: &DeadLetterFilter) -> Self {
        self.request.filter = Some(filter.to_proto());
        self
    }

    /// Only counts them.
    #[must_use]
    pub const fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }
}

/// How far redriving or discarding is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterProgress {
    /// Dead letters that were redriven or discarded.
    pub done_count: u64,
    /// Dead letters that are meant, and were settled or on their way before.
    pub passed_count: u64,
    /// Dead letters that are meant, and that consumers have: they are not discarded.
    pub kept_count: u64,
    /// Why it stands still; it goes on by itself. Empty while it goes on.
    pub waiting_for: String,
    /// Dead letters that the filter names and that there are not.
    pub missing: Vec<(PartitionId, Offset)>,
    /// Whether there is nothing left to do.
    pub is_done: bool,
}

/// Redriving or discarding, for as long as this lives: dropping it leaves the rest where it is. It goes
/// on where it was when the connection breaks or the broker restarts.
pub struct DeadLetterJob {
    admin: Admin,
    request: Request,
    responses: Option<Responses>,
    perseverance: Perseverance,
    /// What earlier streams have done.
    before: DeadLetterProgress,
    /// What is told of all.
    progress: DeadLetterProgress,
}

impl fmt::Debug for DeadLetterJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterJob")
            .field("request", &self.request)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
enum Request {
    Redrive(v1::RedriveDeadLettersRequest),
    Discard(v1::DiscardDeadLettersRequest),
}

enum Responses {
    Redrive(Streaming<v1::RedriveDeadLettersResponse>),
    Discard(Streaming<v1::DiscardDeadLettersResponse>),
}

fn places(letters: Vec<v1::DeadLetterRef>) -> Vec<(PartitionId, Offset)> {
    let letters = letters.into_iter();
    let places = letters.map(|it| (PartitionId::new(it.partition), Offset::new(it.offset)));
    places.collect()
}

/// A step, and the token behind it.
struct Step {
    progress: DeadLetterProgress,
    resume_token: String,
}

impl Responses {
    async fn next(&mut self) -> Result<Option<Step>, tonic::Status> {
        match self {
            Self::Redrive(responses) => {
                let response = responses.message().await?;
                Ok(response.map(|it| Step {
                    progress: DeadLetterProgress {
                        done_count: it.redriven_count,
                        passed_count: it.passed_count,
                        kept_count: 0,
                        waiting_for: it.waiting_for,
                        missing: places(it.missing),
                        is_done: it.is_done,
                    },
                    resume_token: it.resume_token,
                }))
            }
            Self::Discard(responses) => {
                let response = responses.message().await?;
                Ok(response.map(|it| Step {
                    progress: DeadLetterProgress {
                        done_count: it.discarded_count,
                        passed_count: 0,
                        kept_count: it.kept_count,
                        waiting_for: String::new(),
                        missing: places(it.missing),
                        is_done: it.is_done,
                    },
                    resume_token: it.resume_token,
                }))
            }
        }
    }
}

impl Request {
    async fn begin(&self, channel: Channel) -> Result<Responses, tonic::Status> {
        let mut stub = DeadLetterServiceClient::new(channel);
        match self.clone() {
            Self::Redrive(request) => {
                let responses = stub.redrive_dead_letters(request).await?;
                Ok(Responses::Redrive(responses.into_inner()))
            }
            Self::Discard(request) => {
                let responses = stub.discard_dead_letters(request).await?;
                Ok(Responses::Discard(responses.into_inner()))
            }
        }
    }

    fn resume_at(&mut self, token: String) {
        match self {
            Self::Redrive(request) => request.resume_token = token,
            Self::Discard(request) => request.resume_token = token,
        }
    }
}

impl DeadLetterJob {
    fn new(admin: Admin, request: Request) -> Self {
        let perseverance = Perseverance::new(Some(admin.patience));
        Self {
            admin,
            request,
            responses: None,
            perseverance,
            before: DeadLetterProgress::default(),
            progress: DeadLetterProgress::default(),
        }
    }

    /// Goes on until there is something to tell; none when it has told that it is done. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::SubscriptionNotFound`](crate::ErrorReason::SubscriptionNotFound),
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound) for the target and when the topic
    /// of the dead letters was deleted,
    /// [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound),
    /// [`ErrorReason::DeadLetterNotFound`](crate::ErrorReason::DeadLetterNotFound) if there is none of those
    /// that the filter names,
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument),
    /// [`ErrorReason::RecordTooLarge`](crate::ErrorReason::RecordTooLarge) for a replacement,
    /// [`ErrorReason::StorageFull`](crate::ErrorReason::StorageFull),
    /// [`ErrorReason::LogCorrupt`](crate::ErrorReason::LogCorrupt), and those of reaching the broker for as
    /// long as a call has patience. What was told is done; a little more may be.
    pub async fn next(&mut self) -> Result<Option<DeadLetterProgress>, Error> {
        if self.progress.is_done {
            return Ok(None);
        }
        loop {
            let recovery = self.admin.client.outage.recovery();
            let trouble = match self.step().await {
                Ok(Some(step)) => {
                    self.admin.client.outage.end(&self.admin.client.url);
                    self.perseverance.reset();
                    self.request.resume_at(step.resume_token);
                    let mut told = step.progress;
                    let mut missing = std::mem::take(&mut self.progress.missing);
                    missing.append(&mut told.missing);
                    self.progress = DeadLetterProgress {
                        done_count: self.before.done_count + told.done_count,
                        passed_count: self.before.passed_count + told.passed_count,
                        kept_count: self.before.kept_count + told.kept_count,
                        missing,
                        ..told
                    };
                    return Ok(Some(self.progress.clone()));
                }
                Ok(None) => None,
                Err(status) => Some(self.admin.client.error_of(status)),
            };
            self.responses = None;
            self.before = self.progress.clone();
            if let Some(error) = self.perseverance.give_up(trouble.as_ref()) {
                return Err(error);
            }
            self.perseverance.pause(recovery, trouble.as_ref()).await;
        }
    }

    /// Goes on to the end.
    ///
    /// # Errors
    ///
    /// As [`DeadLetterJob::next`].
    pub async fn finish(mut self) -> Result<DeadLetterProgress, Error> {
        while self.next().await?.is_some() {}
        Ok(self.progress)
    }

    async fn step(&mut self) -> Result<Option<Step>, tonic::Status> {
        let responses = match &mut self.responses {
            Some(responses) => responses,
            None => {
                let channel = self.admin.client.transport.control();
                let responses = self.request.begin(channel).await?;
                self.responses.insert(responses)
            }
        };
        responses.next().await
    }
}

/// Redriving and discarding.
impl Admin {
    /// Redrives dead letters while the job is asked for its progress.
    pub fn redrive(&self, wish: RedriveDeadLetters) -> DeadLetterJob {
        DeadLetterJob::new(self.clone(), Request::Redrive(wish.request))
    }

    /// Discards dead letters while the job is asked for its progress.
    pub fn discard(&self, wish: DiscardDeadLetters) -> DeadLetterJob {
        DeadLetterJob::new(self.clone(), Request::Discard(wish.request))
    }
}
