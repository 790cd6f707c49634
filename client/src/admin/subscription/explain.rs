//! Why nothing happens to a record of a subscription.

use towpath_proto::ids::Offset;
use towpath_proto::v1;

use super::PendingRecord;
use crate::Error;

/// Where a record is in a subscription, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordExplanation {
    /// Where it is, with what is known of its attempts.
    pub record: PendingRecord,
    /// Why nothing happens to it, the nearest reason first; none if something will.
    pub obstacles: Vec<Obstacle>,
    /// What its filter says of it; none without a filter, and for a record that cannot be read.
    pub filter_verdict: Option<FilterVerdict>,
    /// Why the filter cannot judge it.
    pub filter_detail: Option<String>,
    /// The filter that holds for it.
    pub filter: Option<String>,
    /// Name of the topic with its dead letter, and the offset there, in the partition of the same number.
    pub dead_letter: Option<(String, Offset)>,
    /// Where its dead letter stands, if it is delivered again.
    pub redriven: Option<PendingRecord>,
    /// What is known besides, for people: among others what is not known any more.
    pub note: Option<String>,
}

/// A reason why nothing happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obstacle {
    /// Which.
    pub kind: ObstacleKind,
    /// The same for people, with what belongs to it.
    pub detail: String,
}

/// Kinds of reasons why nothing happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObstacleKind {
    /// The subscription is paused.
    Paused,
    /// Nobody is connected.
    NoConsumers,
    /// No consumer that may get records allows more.
    NoCredit,
    /// Nothing more is read from the partition.
    Halted,
    /// It waits for its next attempt.
    BackOff,
    /// An earlier record of its key waits, or is with a consumer.
    Key,
    /// Its key has dead letters: it follows them, or waits for what becomes of them.
    Parked,
    /// The dead letters cannot be written.
    DeadLetterProblem,
    /// A record is delivered alone, to find out whether its consumer goes because of it: this one, which
    /// waits for a consumer that has nothing, or another one.
    Suspect,
    /// As many records of the partition wait as may.
    Full,
    /// One that this version does not know.
    Unknown,
}

/// What a filter says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FilterVerdict {
    /// It is true.
    Match,
    /// It is not true.
    NoMatch,
    /// It cannot judge the record.
    Unjudged,
}

impl RecordExplanation {
    pub(in crate::admin) fn from_proto(response: v1::ExplainRecordResponse) -> Result<Self, Error> {
        let filter_verdict = match response.filter_verdict() {
            v1::FilterVerdict::Unspecified => None,
            v1::FilterVerdict::Match => Some(FilterVerdict::Match),
            v1::FilterVerdict::NoMatch => Some(FilterVerdict::NoMatch),
            v1::FilterVerdict::Unjudged => Some(FilterVerdict::Unjudged),
        };
        let record = response.record;
        let record = record.ok_or_else(|| Error::protocol("the answer holds no record"))?;
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let letter = response.dead_letter_offset.map(Offset::new);
        Ok(Self {
            record: PendingRecord::from_proto(record),
            obstacles: { response.obstacles.into_iter() }
                .map(Obstacle::from_proto)
                .collect(),
            filter_verdict,
            filter_detail: given(response.filter_detail),
            filter: given(response.filter),
            dead_letter: given(response.dead_letter_topic).zip(letter),
            redriven: response.redriven.map(PendingRecord::from_proto),
            note: given(response.note),
        })
    }
}

impl Obstacle {
    fn from_proto(obstacle: v1::ObstacleDetail) -> Self {
        use v1::DeliveryObstacle as Told;
        let kind = match obstacle.obstacle() {
            Told::Unspecified => ObstacleKind::Unknown,
            Told::Paused => ObstacleKind::Paused,
            Told::NoConsumers => ObstacleKind::NoConsumers,
            Told::NoCredit => ObstacleKind::NoCredit,
            Told::Halted => ObstacleKind::Halted,
            Told::BackOff => ObstacleKind::BackOff,
            Told::Key => ObstacleKind::Key,
            Told::Parked => ObstacleKind::Parked,
            Told::DeadLetterProblem => ObstacleKind::DeadLetterProblem,
            Told::Suspect => ObstacleKind::Suspect,
            Told::Full => ObstacleKind::Full,
        };
        Self {
            kind,
            detail: obstacle.detail,
        }
    }
}
