//! `towpath topic update` and `towpath topic trim`.

use jiff::Timestamp;
use towpath_client::{Admin, TopicTrim, TopicUpdate};

use super::super::{Outcome, Session};
use super::report::{Done, TopicChange, TrimReport};
use crate::args::{TrimTopicArgs, UpdateTopicArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count_of;

/// Changes the settings of a topic.
pub(super) async fn update(args: &UpdateTopicArgs, admin: &Admin) -> Result<Outcome, Failure> {
    let mut update = TopicUpdate::new(args.name.as_str());
    if let Some(age) = args.retention_age {
        update = match age.0 {
            Some(age) => update.retention_age(age.0),
            None => update.unset_retention_age(),
        };
    }
    if let Some(bytes) = args.retention_bytes {
        update = match bytes.0 {
            Some(bytes) => update.retention_bytes(bytes.0),
            None => update.unset_retention_bytes(),
        };
    }
    if let Some(window) = args.dedupe_window {
        update = match window.0 {
            Some(window) => update.dedupe_window(window.0),
            None => update.unset_dedupe_window(),
        };
    }
    if let Some(grace) = args.tombstone_grace {
        update = match grace.0 {
            Some(grace) => update.tombstone_grace(grace.0),
            None => update.unset_tombstone_grace(),
        };
    }
    if let Some(etag) = &args.etag {
        update = update.if_unchanged(etag);
    }
    let (update, done) = match args.dry_run {
        true => (update.dry_run(), Done::WouldUpdate),
        false => (update, Done::Updated),
    };
    let topic = admin.update_topic(update).await?;
    Ok(Outcome::of(TopicChange::new(&topic, done)))
}

/// Lets go of what lies before a place: of the topic that the user was asked about, and of no later one
/// of the same name.
pub(super) async fn trim(
    args: &TrimTopicArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    args.check()?;
    // Without a terminal nobody is asked: whoever writes a script has said what is to be done.
    let is_asked = !args.yes && session.output.can_ask();
    let is_shown_first = args.dry_run || is_asked;
    let before = args.before.to_start(Timestamp::now());
    let trim = TopicTrim::before(args.name.as_str(), before).partitions(args.partitions());
    let trim = match is_shown_first {
        false => trim,
        true => {
            let would = admin.trim_topic(trim.clone().dry_run()).await?;
            let would = TrimReport::new(args.name.as_str(), &would, true);
            if args.dry_run || would.is_empty() {
                return Ok(Outcome::of(would));
            }
            let records = count_of(would.record_count(), "record");
            let question = format_args!("trim {records} of topic {} for good?", args.name);
            if !session.output.confirm(question) {
                return Err(Failure::new(Exit::Failed, "nothing was trimmed"));
            }
            trim.only(would.topic_id())
        }
    };
    let trimmed = admin.trim_topic(trim).await?;
    let report = TrimReport::new(args.name.as_str(), &trimmed, false);
    Ok(Outcome::of(report))
}
