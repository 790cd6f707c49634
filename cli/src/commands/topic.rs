//! `towpath topic`: creating, showing, listing, changing, trimming, compacting and deleting topics.

mod change;
mod report;

use towpath_client::{Admin, NewTopic, TopicDeletion};

use super::{Outcome, Session};
use crate::args::{CreateTopicArgs, TopicCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count_of;

use report::{CompactionReport, Done, TopicChange, TopicList, TopicReport};

/// Carries out one command about topics.
pub(super) async fn run(command: &TopicCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        TopicCommand::Create(args) => create(args, &admin).await,
        TopicCommand::Get { name } => Ok(Outcome::of(TopicReport::of(
            &admin.topic(name.as_str()).await?,
        ))),
        TopicCommand::List { prefix } => Ok(Outcome::of(TopicList::of(
            &admin.topics_with_prefix(prefix).await?,
        ))),
        TopicCommand::Update(args) => change::update(args, &admin).await,
        TopicCommand::Trim(args) => change::trim(args, &admin, session).await,
        TopicCommand::Compact { name } => {
            let compaction = admin.compact_topic(name.as_str()).await?;
            let report = CompactionReport::new(name.as_str(), &compaction);
            Ok(Outcome::of(report))
        }
        TopicCommand::Delete { name, dry_run, yes } => {
            let name = name.as_str();
            if !dry_run {
                return delete(name, *yes, &admin, session).await;
            }
            let deletion = TopicDeletion::new(name).dry_run();
            let topic = admin.delete_topic(deletion).await?;
            Ok(Outcome::of(TopicChange::new(&topic, Done::WouldDelete)))
        }
    }
}

async fn create(args: &CreateTopicArgs, admin: &Admin) -> Result<Outcome, Failure> {
    let mut topic = NewTopic::new(args.name.as_str());
    if let Some(partitions) = args.partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(age) = args.retention_age {
        topic = topic.retention_age(age.0);
    }
    if let Some(bytes) = args.retention_bytes {
        topic = topic.retention_bytes(bytes.0);
    }
    if let Some(window) = args.dedupe_window {
        topic = topic.dedupe_window(window.0);
    }
    if args.key_versions {
        topic = topic.key_versions();
    }
    if let Some(stale_records) = args.stale_records {
        topic = topic.stale_records(stale_records.into());
    }
    if args.compact {
        topic = topic.compact();
    }
    if let Some(grace) = args.tombstone_grace {
        topic = topic.tombstone_grace(grace.0);
    }
    let (topic, done) = match (args.if_not_exists, args.dry_run) {
        (true, _) => (admin.ensure_topic(topic).await?, Done::Ensured),
        (false, true) => (
            admin.create_topic(topic.dry_run()).await?,
            Done::WouldCreate,
        ),
        (false, false) => (admin.create_topic(topic).await?, Done::Created),
    };
    Ok(Outcome::of(TopicChange::new(&topic, done)))
}

/// Deletes the topic that the user was asked about, and no later one of the same name.
async fn delete(
    name: &str,
    is_confirmed: bool,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let topic = admin.topic(name).await?;
    let records = count_of(topic.record_count, "record");
    let question = format_args!("delete topic {name} with {records} for good?");
    if !is_confirmed && !session.output.confirm(question) {
        return Err(Failure::new(Exit::Failed, "nothing was deleted"));
    }
    let deletion = TopicDeletion::new(name).only(topic.topic_id);
    let topic = admin.delete_topic(deletion).await?;
    Ok(Outcome::of(TopicChange::new(&topic, Done::Deleted)))
}
