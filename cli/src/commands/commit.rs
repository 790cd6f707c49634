//! `towpath commit`: a plan of several things, all or none.

mod plan;
mod report;

use std::io::Read as _;
use std::path::Path;

use towpath_client::CommitError;

use super::{Outcome, Session};
use crate::args::CommitArgs;
use crate::exit::Exit;
use crate::failure::Failure;

use plan::Plan;
use report::CommitReport;

/// Largest plan: more than the records of one commit take in JSON, also in base64.
const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Does what the plan says. Nothing happens unless all of it can be read.
pub(super) async fn run(args: &CommitArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    let text = read(&args.file)?;
    let plan = Plan::parse(&text).map_err(|fault| Failure::new(Exit::Failed, fault.to_string()))?;
    let client = session.client_within(args.give_up_after)?;
    let commit = client.commit().give_up_after(args.give_up_after);
    let commit = match &args.idempotency_key {
        Some(key) => commit.idempotency_key(key.clone()),
        None => commit,
    };
    match plan.to_commit(commit).send().await {
        Ok(committed) => Ok(Outcome::of(CommitReport::new(&plan, &committed))),
        Err(error) => Err(failure(&plan, error, args.idempotency_key.is_some())),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::io(format!("cannot read the plan {}", path.display()), error)
    };
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin()
            .take(PLAN_BYTES_MAX + 1)
            .read_to_string(&mut text),
        false => std::fs::File::open(path)
            .map_err(|error| failed(&error))?
            .take(PLAN_BYTES_MAX + 1)
            .read_to_string(&mut text),
    };
    let read = read.map_err(|error| failed(&error))?;
    if read as u64 > PLAN_BYTES_MAX {
        let message = format!("the plan has more than {PLAN_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(text)
}

fn failure(plan: &Plan, error: CommitError, has_key: bool) -> Failure {
    let place = error.operation().and_then(|number| plan.place_of(number));
    let may_have_happened = error.may_have_happened();
    let failure = Failure::from(towpath_client::Error::from(error));
    let failure = match place {
        Some(place) => failure.at(place),
        None => failure,
    };
    if may_have_happened {
        return failure.hint(match has_key {
            true => "all of it may have happened; with the same key and plan it happens once",
            false => {
                "all of it may have happened; what it settles, commits or expects tells when it is sent \
                 again; --idempotency-key lets it happen once"
            }
        });
    }
    failure.hint("nothing of it was done")
}
