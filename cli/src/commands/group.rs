//! `towpath group`: listing, showing, moving and deleting consumer groups.

mod report;

use jiff::Timestamp;
use towpath_client::{Admin, Group, GroupDeletion};

use super::{Outcome, Session};
use crate::args::{GroupCommand, SeekGroupArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count_of;

use report::{DeletedGroup, GroupList, GroupReport, SeekReport};

/// Carries out one command about groups.
pub(super) async fn run(command: &GroupCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        GroupCommand::List { prefix } => Ok(Outcome::of(GroupList::of(
            &admin.groups_with_prefix(prefix).await?,
        ))),
        GroupCommand::Get { name } => Ok(Outcome::of(GroupReport::of(
            &admin.group(name.as_str()).await?,
        ))),
        GroupCommand::Seek(args) => seek(args, &admin).await,
        GroupCommand::Delete {
            name,
            force,
            dry_run,
            yes,
        } => {
            let deletion = GroupDeletion::new(name.as_str());
            let deletion = if *force { deletion.force() } else { deletion };
            delete(
                name.as_str(),
                deletion,
                Consent::of(*dry_run, *yes),
                &admin,
                session,
            )
            .await
        }
    }
}

async fn seek(args: &SeekGroupArgs, admin: &Admin) -> Result<Outcome, Failure> {
    let sought = admin.seek_group(args.to_seek(Timestamp::now())?).await?;
    let report = SeekReport::new(args.name.as_str(), &sought, args.dry_run);
    Ok(Outcome::of(report))
}

/// What the user has said about something that cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    OnlyTell,
    Given,
    ToBeAsked,
}

impl Consent {
    const fn of(is_dry_run: bool, is_given: bool) -> Self {
        match (is_dry_run, is_given) {
            (true, _) => Self::OnlyTell,
            (false, true) => Self::Given,
            (false, false) => Self::ToBeAsked,
        }
    }
}

async fn delete(
    name: &str,
    deletion: GroupDeletion,
    consent: Consent,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    if consent == Consent::ToBeAsked && !session.output.can_ask() {
        let failure = Failure::usage("nobody is there to confirm that the group goes for good");
        return Err(failure.hint("say --yes, or see with --dry-run what would go"));
    }
    let group = admin.group(name).await?;
    // Whether it would succeed is asked before the user is.
    admin.delete_group(deletion.clone().dry_run()).await?;
    if consent == Consent::OnlyTell {
        return Ok(Outcome::of(DeletedGroup::new(&group, true)));
    }
    if consent == Consent::ToBeAsked && !session.output.confirm(question(&group)) {
        return Err(Failure::new(Exit::Failed, "nothing was deleted"));
    }
    admin.delete_group(deletion).await?;
    Ok(Outcome::of(DeletedGroup::new(&group, false)))
}

fn question(group: &Group) -> String {
    let lag = group.partitions.iter().map(|it| it.lag_records).sum();
    let partitions = u64::try_from(group.partitions.len()).unwrap_or(u64::MAX);
    let partitions = count_of(partitions, "partition");
    let records = count_of(lag, "record");
    let name = &group.name;
    format!("delete group {name} with its offsets in {partitions}, {records} behind, for good?")
}
