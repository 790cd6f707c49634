//! `towpath producer`: listing and deleting names of producers.

mod report;

use towpath_client::{Admin, ProducerDeletion};

use super::{Outcome, Session};
use crate::args::ProducerCommand;
use crate::exit::Exit;
use crate::failure::Failure;

use report::{DeletedProducer, ProducerList};

/// Carries out one command about names of producers.
pub(super) async fn run(
    command: &ProducerCommand,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        ProducerCommand::List { prefix } => Ok(Outcome::of(ProducerList::of(
            &admin.producers_with_prefix(prefix).await?,
        ))),
        ProducerCommand::Delete {
            name,
            dry_run: true,
            ..
        } => would_delete(name.as_str(), &admin).await,
        ProducerCommand::Delete { name, yes, .. } => {
            delete(name.as_str(), *yes, &admin, session).await
        }
    }
}

async fn would_delete(name: &str, admin: &Admin) -> Result<Outcome, Failure> {
    let deletion = ProducerDeletion::new(name).dry_run();
    let producer = admin.delete_producer(deletion).await?;
    Ok(Outcome::of(DeletedProducer::new(&producer, true)))
}

async fn delete(
    name: &str,
    is_consented: bool,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    if !is_consented {
        if !session.output.can_ask() {
            let failure = Failure::usage("nobody is there to confirm that the name goes for good");
            return Err(failure.hint("say --yes, or see with --dry-run what would go"));
        }
        // Whether it would succeed is asked before the user is.
        let deletion = ProducerDeletion::new(name).dry_run();
        let epoch = admin.delete_producer(deletion).await?.epoch;
        let question =
            format!("delete producer {name} and refuse whoever writes as its life {epoch}?");
        if !session.output.confirm(question) {
            return Err(Failure::new(Exit::Failed, "nothing was deleted"));
        }
    }
    let producer = admin.delete_producer(name).await?;
    Ok(Outcome::of(DeletedProducer::new(&producer, false)))
}
