//! Single records of subscriptions: who has them, and for what they wait.

use std::time::SystemTime;

use towpath_proto::ids::{Offset, PartitionId};
use towpath_proto::v1;

use crate::admin::{FailedAttempt, hex};
use crate::time::from_ms;

/// Which records of a subscription to list, and where the list goes on.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Admin::list_pending`"]
pub struct PendingList {
    request: v1::ListPendingRequest,
}

impl PendingList {
    /// All that is in flight, waits or is dying in the subscription of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            request: v1::ListPendingRequest {
                subscription: name.into(),
                page_size: towpath_proto::limits::PAGE_SIZE_MAX,
                ..v1::ListPendingRequest::default()
            },
        }
    }

    /// Only these partitions.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        let partitions = partitions.into_iter();
        self.request.partitions = partitions.map(PartitionId::get).collect();
        self
    }

    /// Only records in this state: [`RecordState::InFlight`], [`RecordState::Waiting`] or
    /// [`RecordState::Dying`].
    pub fn state(mut self, state: RecordState) -> Self {
        self.request.set_state(state.to_proto());
        self
    }

    /// Sets how many records a page has at most, up to 1,000, which is the default.
    pub const fn page_size(mut self, count: u32) -> Self {
        self.request.page_size = count;
        self
    }

    pub(in crate::admin) const fn request(&self) -> &v1::ListPendingRequest {
        &self.request
    }

    pub(in crate::admin) fn page(mut self, response: v1::ListPendingResponse) -> PendingPage {
        let records = response.records.into_iter();
        self.request.page_token = response.next_page_token;
        let is_last = self.request.page_token.is_empty();
        PendingPage {
            records: records.map(PendingRecord::from_proto).collect(),
            next: (!is_last).then_some(self),
        }
    }
}

/// A page of records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PendingPage {
    /// By partition and offset; dead letters that are delivered again come behind all others.
    pub records: Vec<PendingRecord>,
    /// The next page; none behind the last. A page may be short, or empty, and not be the last.
    pub next: Option<PendingList>,
}

/// Where a record is in a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordState {
    /// Nobody has looked at it yet.
    Ahead,
    /// It can be delivered, if nothing else stands in the way.
    Ready,
    /// A consumer has it.
    InFlight,
    /// It failed, or was passed over, and waits for its time or for its key.
    Waiting,
    /// It is to go to the dead letters, or is on its way.
    Dying,
    /// It is among the dead letters.
    Dead,
    /// It is settled: handled, filtered out, or discarded.
    Settled,
    /// The filter was not true of it.
    Filtered,
    /// It is below the log start: what became of it is not known any more.
    Gone,
    /// One that this version does not know.
    Unknown,
}

impl RecordState {
    const fn from_proto(state: v1::RecordState) -> Self {
        match state {
            v1::RecordState::Unspecified => Self::Unknown,
            v1::RecordState::Ahead => Self::Ahead,
            v1::RecordState::Ready => Self::Ready,
            v1::RecordState::InFlight => Self::InFlight,
            v1::RecordState::Waiting => Self::Waiting,
            v1::RecordState::Dying => Self::Dying,
            v1::RecordState::Dead => Self::Dead,
            v1::RecordState::Settled => Self::Settled,
            v1::RecordState::Filtered => Self::Filtered,
            v1::RecordState::Gone => Self::Gone,
        }
    }

    const fn to_proto(self) -> v1::RecordState {
        match self {
            Self::Unknown => v1::RecordState::Unspecified,
            Self::Ahead => v1::RecordState::Ahead,
            Self::Ready => v1::RecordState::Ready,
            Self::InFlight => v1::RecordState::InFlight,
            Self::Waiting => v1::RecordState::Waiting,
            Self::Dying => v1::RecordState::Dying,
            Self::Dead => v1::RecordState::Dead,
            Self::Settled => v1::RecordState::Settled,
            Self::Filtered => v1::RecordState::Filtered,
            Self::Gone => v1::RecordState::Gone,
        }
    }
}

/// A record of a subscription, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingRecord {
    /// Number of the partition.
    pub partition: PartitionId,
    /// Its offset; of a dead letter that is delivered again, that among the dead letters.
    pub offset: Offset,
    /// Where it is.
    pub state: RecordState,
    /// Number of the attempt that it is in, or that comes next; of one that is dying, how many counted.
    pub attempt: u32,
    /// Who has it.
    pub holder: Option<RecordHolder>,
    /// When it may be delivered again; none if it waits for no time.
    pub next_attempt: Option<SystemTime>,
    /// Failures in all, also those that count no attempt.
    pub failure_count: u32,
    /// The last of them, oldest first; in a list only the last one.
    pub failures: Vec<FailedAttempt>,
    /// The record of its key that has to be done first.
    pub behind: Option<Offset>,
    /// When it was appended, by the broker's clock, where that is known.
    pub append_time: Option<SystemTime>,
    /// Length of the encoded record, bytes; 0 where that is not known.
    pub record_bytes: u32,
    /// Why it is dead.
    pub death_reason: Option<String>,
    /// Whether it is a dead letter that is delivered again.
    pub is_redriven: bool,
    /// Whether its consumer went while it handled this one and others: it is delivered alone, and while it
    /// waits, then for a consumer that has nothing.
    pub is_suspect: bool,
}

/// Who has a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordHolder {
    /// The id that the consumer drew, as 32 hexadecimal digits.
    pub consumer_id: String,
    /// What it calls itself.
    pub client_name: String,
    /// The delivery that brought the record.
    pub delivery: u64,
    /// When that was, by the broker's clock.
    pub delivery_time: SystemTime,
    /// When the record is given to others unless it is settled or extended.
    pub deadline: SystemTime,
    /// Whether a handler has begun with it.
    pub is_started: bool,
}

impl PendingRecord {
    pub(super) fn from_proto(record: v1::PendingRecord) -> Self {
        let state = RecordState::from_proto(record.state());
        let time = |ms: i64| (ms != 0).then(|| from_ms(ms));
        let holder = (!record.consumer_id.is_empty()).then(|| RecordHolder {
            consumer_id: hex(&record.consumer_id),
            client_name: record.client_name,
            delivery: record.delivery,
            delivery_time: from_ms(record.delivery_time_ms),
            deadline: from_ms(record.deadline_ms),
            is_started: record.is_started,
        });
        let failures = record.failures.into_iter().map(|failure| FailedAttempt {
            time: from_ms(failure.time_ms),
            reason: failure.reason,
        });
        Self {
            partition: PartitionId::new(record.partition),
            offset: Offset::new(record.offset),
            state,
            attempt: record.attempt,
            holder,
            next_attempt: time(record.next_attempt_ms),
            failure_count: record.failure_count,
            failures: failures.collect(),
            behind: record.behind_offset.map(Offset::new),
            append_time: time(record.append_time_ms),
            record_bytes: record.record_bytes,
            death_reason: Some(record.death_reason).filter(|reason| !reason.is_empty()),
            is_redriven: record.is_redriven,
            is_suspect: record.is_suspect,
        }
    }
}
