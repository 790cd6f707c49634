//! The commands: each calls the SDK and returns what to print and how to end.

mod bench;
mod commit;
mod consume;
mod demo;
mod dlq;
mod group;
mod key;
mod manual;
mod produce;
mod producer;
mod scheduled;
mod serve;
mod session;
mod storage;
mod subscription;
mod topic;
mod version;

use tokio::time::Instant;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::outcome::Outcome;
use crate::output::{LogUse, Output, start_logging};

use session::Session;

/// Carries out the command. `start` is when the process started.
///
/// # Errors
///
/// Why the command could not be carried out.
pub(crate) async fn run(cli: Cli, output: &Output, start: Instant) -> Result<Outcome, Failure> {
    start_logging(match &cli.command {
        Command::Serve(_) => LogUse::Broker,
        Command::Bench(_) => LogUse::Measurement,
        Command::Demo(_) | Command::Completions(_) | Command::Man(_) | Command::Version => {
            LogUse::Quiet
        }
        _ => LogUse::Command,
    })?;
    let interrupt = Interrupt::watch()?;
    let session = Session::new(cli.global.url(), output, interrupt);
    match &cli.command {
        // These have something to do at the end, and see to it themselves.
        Command::Serve(args) => serve::run(args, &session, start).await,
        Command::Produce(args) => produce::run(args, &session).await,
        Command::Consume(args) => consume::run(args, &session).await,
        Command::Bench(args) => bench::run(&args.command, &session).await,
        Command::Demo(args) => session.until_interrupted(demo::run(args, &session)).await,
        Command::Commit(args) => session.until_interrupted(commit::run(args, &session)).await,
        Command::Topic(args) => {
            session
                .until_interrupted(topic::run(&args.command, &session))
                .await
        }
        Command::Key(args) => {
            session
                .until_interrupted(key::run(&args.command, &session))
                .await
        }
        Command::Group(args) => {
            session
                .until_interrupted(group::run(&args.command, &session))
                .await
        }
        Command::Subscription(args) => {
            session
                .until_interrupted(subscription::run(&args.command, &session))
                .await
        }
        Command::Dlq(args) => {
            session
                .until_interrupted(dlq::run(&args.command, &session))
                .await
        }
        Command::Producer(args) => {
            session
                .until_interrupted(producer::run(&args.command, &session))
                .await
        }
        Command::Scheduled(args) => {
            session
                .until_interrupted(scheduled::run(&args.command, &session))
                .await
        }
        Command::Storage(args) => storage::run(&args.command, &session),
        Command::Completions(args) => Ok(manual::complete(args)),
        Command::Man(args) => manual::describe(args),
        Command::Version => session.until_interrupted(version::run(&session)).await,
    }
}
