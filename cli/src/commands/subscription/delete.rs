//! `towpath subscription delete`.

use towpath_client::{Admin, ErrorReason, Subscription, Topic};

use super::super::{Outcome, Session};
use super::report::DeletedSubscription;
use crate::args::DeleteSubscriptionArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count_of;

/// Deletes a subscription, and if asked for the topic of its dead letters.
pub(super) async fn run(
    args: &DeleteSubscriptionArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let found = admin.subscription(args.name.as_str()).await?;
    let letters = match args.with_dlq {
        true => letters(&found, admin).await?,
        false => None,
    };
    let is_confirmed = args.yes || args.dry_run;
    if !is_confirmed && !session.output.confirm(question(&found, letters.as_ref())) {
        return Err(Failure::new(Exit::Failed, "nothing was deleted"));
    }
    admin.delete_subscription(args.to_deletion()).await?;
    let deleted = DeletedSubscription::new(&found, letters.as_ref(), args.dry_run);
    Ok(Outcome::of(deleted))
}

/// The topic of its dead letters; none if there is none any more.
async fn letters(found: &Subscription, admin: &Admin) -> Result<Option<Topic>, Failure> {
    let Some(name) = &found.dead_letter_topic else {
        return Ok(None);
    };
    match admin.topic(name.as_str()).await {
        Ok(topic) => Ok(Some(topic)),
        Err(error) if error.reason() == Some(ErrorReason::TopicNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn question(found: &Subscription, letters: Option<&Topic>) -> String {
    let unsettled = found.partitions.iter().map(|it| it.lag_records).sum();
    let records = count_of(unsettled, "record");
    let name = &found.name;
    let subscription = format!("subscription {name}, which has not settled {records}");
    match letters {
        None => format!("delete {subscription}, for good?"),
        Some(topic) => {
            let open = found.partitions.iter().map(|it| it.dead_letters).sum();
            let open = count_of(open, "dead letter");
            let (name, records) = (&topic.name, count_of(topic.record_count, "record"));
            format!(
                "delete {subscription}, and topic {name} with {records}, {open} not settled, for good?"
            )
        }
    }
}
