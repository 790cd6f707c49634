//! Looking for the dead letter of a record.

use towpath_proto::batch::{RecordView, Records};
use towpath_proto::dead_letter as header;
use towpath_proto::names::SubscriptionName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::Offset;

use super::{Shared, status};
use crate::core::{DeadLetterState, PendingRecord, RecordExplanation};
use crate::fetch::Readable;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;
use crate::runtime::subscription_question::SubscriptionQuestion;

/// Dead letters that are looked at for one record.
pub(super) const LETTERS_MAX: u64 = 20_000;

/// What the search has found.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) found: Option<FoundLetter>,
    /// There are more dead letters than were looked at.
    pub(super) is_cut_short: bool,
}

/// The dead letter of a record.
#[derive(Debug)]
pub(super) struct FoundLetter {
    /// Its offset among the dead letters.
    pub(super) offset: Offset,
    pub(super) state: DeadLetterState,
    /// Why it is dead; empty for one that is parked.
    pub(super) reason: String,
    /// The dead letter of its key that it is parked behind.
    pub(super) behind: Option<Offset>,
    /// What is known of it if it is delivered again.
    pub(super) redriven: Option<PendingRecord>,
}

/// Looks for the dead letter of a record where it may be.
pub(super) async fn find(
    shared: &Shared,
    name: &SubscriptionName,
    asked: &v1::ExplainRecordRequest,
    explanation: &RecordExplanation,
    key: Option<&[u8]>,
) -> Result<Search, Problem> {
    let Some(start) = explanation.letters_from else {
        return Ok(Search::default());
    };
    let wanted = Wanted { name, asked, key };
    let mut search = look(shared, &wanted, explanation, start).await;
    if let Some(found) = &mut search.found {
        let standing = shared.control(|answer| {
            let question = SubscriptionQuestion::Letter {
                name: name.clone(),
                partition: asked.partition,
                offset: found.offset,
                answer,
            };
            ControlCommand::Subscription(SubscriptionCommand::Ask(question))
        });
        let standing = standing.await;
        (found.state, found.redriven) = standing
            .map_err(|error| status::command_failed(error, status::subscription_not_found))?;
    }
    Ok(search)
}

async fn look(
    shared: &Shared,
    wanted: &Wanted<'_>,
    explanation: &RecordExplanation,
    start: Offset,
) -> Search {
    let topics = shared.published().topics();
    let topic = topics.with_id(explanation.dead_letter_topic);
    let Some(handle) = topic.and_then(|topic| topic.partition(wanted.asked.partition)) else {
        return Search::default();
    };
    let log = handle.log();
    let mut next = start.max(log.log_start());
    let mut search = Search::default();
    let mut dead_of_key = None;
    let stop = next.advance(LETTERS_MAX).min(log.end());
    search.is_cut_short = stop < log.end();
    while next < stop {
        let frames = match shared.reading.frames_at(log, next).await {
            Ok(Readable::Frames(frames)) => frames,
            Ok(Readable::Gone(until)) if until > next => {
                next = until;
                continue;
            }
            Ok(Readable::Gone(_)) | Err(_) => break,
        };
        for frame in &frames {
            let records = Records::new(&frame.payload).map_while(Result::ok);
            for (place, record) in (0..).zip(records) {
                let Some(offset) = frame.offset_of(place).filter(|offset| *offset >= start) else {
                    continue;
                };
                let origin = Origin::of(&record);
                // The last one counts: after a seek back a record may have died again.
                if wanted.is(&origin) {
                    search.found = Some(FoundLetter {
                        offset,
                        state: DeadLetterState::Dead,
                        reason: String::from_utf8_lossy(origin.reason).into_owned(),
                        behind: dead_of_key.filter(|_| origin.is_parked),
                        redriven: None,
                    });
                }
                if !origin.is_parked && record.key().is_some() && record.key() == wanted.key {
                    dead_of_key = Some(offset);
                }
            }
            next = next.max(frame.header.next_offset());
        }
    }
    search
}

/// The record whose dead letter is looked for.
struct Wanted<'a> {
    name: &'a SubscriptionName,
    asked: &'a v1::ExplainRecordRequest,
    /// Its key, if it is known and there is one.
    key: Option<&'a [u8]>,
}

impl Wanted<'_> {
    fn is(&self, origin: &Origin<'_>) -> bool {
        origin.offset == self.asked.offset.to_string().as_bytes()
            && origin.partition == self.asked.partition.to_string().as_bytes()
            && origin.subscription == self.name.as_str().as_bytes()
    }
}

/// What a dead letter says of itself.
#[derive(Default)]
struct Origin<'a> {
    subscription: &'a [u8],
    partition: &'a [u8],
    offset: &'a [u8],
    reason: &'a [u8],
    is_parked: bool,
}

impl<'a> Origin<'a> {
    /// Those behind the record's own headers count.
    fn of(letter: &RecordView<'a>) -> Self {
        let mut origin = Self::default();
        for (name, value) in letter.headers() {
            match name {
                header::SUBSCRIPTION => origin.subscription = value,
                header::PARTITION => origin.partition = value,
                header::OFFSET => origin.offset = value,
                header::REASON => origin.reason = value,
                header::KIND => origin.is_parked = value == header::PARKED.as_bytes(),
                _ => {}
            }
        }
        origin
    }
}
