//! `towpath subscription`: creating, showing, listing, changing, pausing, moving and deleting durable
//! subscriptions.

mod delete;
mod pending;
mod report;
mod seek;
mod why;

use jiff::Timestamp;
use towpath_client::Admin;

use super::{Outcome, Session};
use crate::args::{CreateSubscriptionArgs, SubscriptionCommand, UpdateSubscriptionArgs};
use crate::failure::Failure;

use report::{Done, PausedSubscription, SubscriptionChange, SubscriptionList, SubscriptionReport};

/// Carries out one command about subscriptions.
pub(super) async fn run(
    command: &SubscriptionCommand,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        SubscriptionCommand::Create(args) => create(args, &admin).await,
        SubscriptionCommand::Get { name } => Ok(Outcome::of(SubscriptionReport::of(
            &admin.subscription(name.as_str()).await?,
        ))),
        SubscriptionCommand::List { prefix, topic } => {
            let topic = topic.as_ref().map(|topic| topic.as_str());
            let listed = admin.subscriptions_with_prefix(prefix, topic).await?;
            Ok(Outcome::of(SubscriptionList::of(&listed)))
        }
        SubscriptionCommand::Update(args) => update(args, &admin).await,
        SubscriptionCommand::Pause { name } => {
            admin.pause_subscription(name.as_str()).await?;
            Ok(Outcome::of(PausedSubscription::new(name, true)))
        }
        SubscriptionCommand::Resume { name } => {
            admin.resume_subscription(name.as_str()).await?;
            Ok(Outcome::of(PausedSubscription::new(name, false)))
        }
        SubscriptionCommand::Seek(args) => seek::run(args, &admin).await,
        SubscriptionCommand::Pending(args) => pending::run(args, &admin, session).await,
        SubscriptionCommand::Why { name, record } => why::run(name, record, &admin).await,
        SubscriptionCommand::Delete(args) => delete::run(args, &admin, session).await,
    }
}

async fn create(args: &CreateSubscriptionArgs, admin: &Admin) -> Result<Outcome, Failure> {
    let new = args.to_subscription(Timestamp::now())?;
    let created = admin.create_subscription(new).await?;
    let done = match (created.existed, args.dry_run) {
        (true, _) => Done::Existed,
        (false, true) => Done::WouldCreate,
        (false, false) => Done::Created,
    };
    let change = SubscriptionChange::new(&created.subscription, done);
    Ok(Outcome::of(change))
}

async fn update(args: &UpdateSubscriptionArgs, admin: &Admin) -> Result<Outcome, Failure> {
    let updated = admin.update_subscription(args.to_update()).await?;
    let done = match args.dry_run {
        true => Done::WouldUpdate,
        false => Done::Updated,
    };
    Ok(Outcome::of(SubscriptionChange::new(&updated, done)))
}
