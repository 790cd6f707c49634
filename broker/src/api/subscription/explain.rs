//! Explaining where a record is, and why nothing happens to it.
//!
//! The broker's state knows records by partition, offset and the hash of their key. What else there is to
//! say is read here, off the sequencer: the record itself, what its filter says of it, and its dead letter.

mod letter;
mod peek;
mod text;

use bytes::Bytes;
use towpath_proto::batch::RecordView;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::Offset;

use super::{Shared, pending, show, status};
use crate::core::{DeadLetterState, ExplainedKey, RecordExplanation, RecordPlace};
use crate::filter::{Filter, FilterInput, Judgement, Steps};
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;
use crate::runtime::subscription_question::SubscriptionQuestion;
use letter::FoundLetter;
use peek::Peeked;

/// Explains one record.
pub(super) async fn explain(
    shared: &Shared,
    asked: &v1::ExplainRecordRequest,
) -> Result<v1::ExplainRecordResponse, Problem> {
    let (found, _) = show::find(shared, "subscription", &asked.subscription).await?;
    let topics = shared.published().topics();
    let topic = topics.with_id(found.topic);
    let topic = topic.ok_or_else(|| status::subscription_deleted(&found.name))?;
    let handle = topic.partition(asked.partition).ok_or_else(|| {
        let partition_count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        status::partition_not_found(topic.name(), asked.partition, partition_count)
    })?;
    let (log, offset) = (handle.log(), Offset::new(asked.offset));
    if offset >= log.end() {
        return Err(status::record_not_written(topic.name(), asked, log));
    }
    let peeked = peek::record(shared, log, offset).await;
    let explanation = shared.control(|answer| {
        let question = SubscriptionQuestion::Record {
            name: found.name.clone(),
            partition: asked.partition,
            offset,
            key: key_of(peeked.as_ref()),
            answer,
        };
        ControlCommand::Subscription(SubscriptionCommand::Ask(question))
    });
    let explanation = explanation.await;
    let explanation = explanation
        .map_err(|error| status::command_failed(error, status::subscription_not_found))?;
    let explanation = explanation.ok_or_else(|| status::subscription_deleted(&found.name))?;
    let key = peeked.as_ref().and_then(Peeked::record);
    let key = key.and_then(|record| record.key());
    let letter = letter::find(shared, &found.name, asked, &explanation, key).await?;
    let is_gone = offset < log.log_start();
    Ok(told(explanation, letter, peeked.as_ref(), is_gone, &topics))
}

fn key_of(peeked: Option<&Peeked>) -> ExplainedKey {
    let Some(record) = peeked.and_then(Peeked::record) else {
        return ExplainedKey::Unknown;
    };
    let key = record.key().map(Bytes::copy_from_slice);
    key.map_or(ExplainedKey::None, ExplainedKey::Known)
}

fn told(
    explanation: RecordExplanation,
    letter: letter::Search,
    peeked: Option<&Peeked>,
    is_gone: bool,
    topics: &crate::runtime::published::TopicTable,
) -> v1::ExplainRecordResponse {
    let place = explanation.record.place;
    let record = peeked.and_then(Peeked::record);
    let judged = judge(explanation.filter.expression.as_deref(), peeked, record);
    let mut note = text::note(&explanation, &letter, is_gone, judged.0);
    let obstacles = explanation.obstacles.iter();
    let obstacles = obstacles.map(text::obstacle).collect();
    let mut record = pending::record(explanation.record);
    let is_dead = { letter.found.as_ref() }.is_some_and(|it| it.state != DeadLetterState::Settled);
    let state = match place {
        RecordPlace::Settled if is_dead => Some(v1::RecordState::Dead),
        RecordPlace::Settled | RecordPlace::Ahead if is_gone => Some(v1::RecordState::Gone),
        _ => None,
    };
    if let Some(state) = state {
        record.set_state(state);
    }
    if let Some(found) = letter.found.as_ref().filter(|_| is_dead) {
        record.death_reason.clone_from(&found.reason);
        if let Some(behind) = found.behind {
            let behind = format!(
                ": it is parked behind {}@{behind} of its key",
                record.partition
            );
            note.push_str(&behind);
        }
    }
    let letters = topics.with_id(explanation.dead_letter_topic);
    let letters = letters.filter(|_| letter.found.is_some());
    let offset = letter.found.as_ref().map(|it| it.offset.get());
    v1::ExplainRecordResponse {
        record: Some(record),
        obstacles,
        filter_verdict: judged.0.into(),
        filter_detail: judged.1,
        filter: explanation.filter.expression.unwrap_or_default(),
        dead_letter_topic: letters.map(|it| it.name().to_string()).unwrap_or_default(),
        dead_letter_offset: offset,
        redriven: letter
            .found
            .and_then(|FoundLetter { redriven, .. }| redriven.map(pending::record)),
        note,
    }
}

/// What a filter says of a record, and why it cannot judge it.
fn judge(
    expression: Option<&str>,
    peeked: Option<&Peeked>,
    record: Option<RecordView<'_>>,
) -> (v1::FilterVerdict, String) {
    let (Some(expression), Some(peeked), Some(record)) = (expression, peeked, record) else {
        return (v1::FilterVerdict::Unspecified, String::new());
    };
    let input = FilterInput {
        record,
        append_time_ms: peeked.append_time_ms(),
    };
    let judged = Filter::compile(expression).map(|it| it.judge(&input, &mut Steps::default()));
    match judged {
        Ok(Judgement::Match) => (v1::FilterVerdict::Match, String::new()),
        Ok(Judgement::NoMatch) => (v1::FilterVerdict::NoMatch, String::new()),
        Ok(Judgement::Doubt(doubt)) => (v1::FilterVerdict::Unjudged, doubt.to_string()),
        Err(error) => (v1::FilterVerdict::Unjudged, error.to_string()),
    }
}
