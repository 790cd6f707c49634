//! Looking for the dead letter of a record.

use towpath_proto::batch::{RecordView, Records};
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
    /// What is known of it if it is delivered again.
    pub(super) redriven: Option<PendingRecord>,
}

/// Looks for the dead letter of a record where it may be.
pub(super) async fn find(
    shared: &Shared,
    name: &SubscriptionName,
    asked: &v1::ExplainRecordRequest,
    explanation: &RecordExplanation,
) -> Result<Search, Problem> {
    let Some(start) = explanation.letters_from else {
        return Ok(Search::default());
    };
    let mut search = look(shared, name, asked, explanation, start).await;
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
    name: &SubscriptionName,
    asked: &v1::ExplainRecordRequest,
    explanation: &RecordExplanation,
    start: Offset,
) -> Search {
    let topics = shared.published().topics();
    let topic = topics.with_id(explanation.dead_letter_topic);
    let Some(handle) = topic.and_then(|topic| topic.partition(asked.partition)) else {
        return Search::default();
    };
    let log = handle.log();
    let mut next = start.max(log.log_start());
    let mut search = Search::default();
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
                let offset = frame.header.base_offset.advance(place);
                // The last one counts: after a seek back a record may have died again.
                if offset >= start && is_of(&record, name, asked) {
                    search.found = Some(FoundLetter {
                        offset,
                        state: DeadLetterState::Dead,
                        redriven: None,
                    });
                }
            }
            next = next.max(frame.header.next_offset());
        }
    }
    search
}

/// Whether a dead letter is that of the record.
fn is_of(
    letter: &RecordView<'_>,
    name: &SubscriptionName,
    asked: &v1::ExplainRecordRequest,
) -> bool {
    let (mut is_offset, mut is_partition, mut is_subscription) = (false, false, false);
    // Those behind the record's own headers count.
    for (header, value) in letter.headers() {
        match header {
            "towpath-dlq-offset" => is_offset = value == asked.offset.to_string().as_bytes(),
            "towpath-dlq-partition" => {
                is_partition = value == asked.partition.to_string().as_bytes();
            }
            "towpath-dlq-subscription" => is_subscription = value == name.as_str().as_bytes(),
            _ => {}
        }
    }
    is_offset && is_partition && is_subscription
}
