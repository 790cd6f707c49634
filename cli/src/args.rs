//! The command line: commands, flags and the grammars of their values.
//!
//! Everything that can be refused without a broker is refused here, with exit code 2.

mod bench;
mod bound;
mod commit;
mod consume;
mod demo;
mod dlq;
mod due;
mod duration;
mod from;
mod group;
mod header;
mod key;
mod listen;
mod manual;
mod number;
mod place;
mod produce;
mod producer;
mod scheduled;
mod seek_to;
mod serve;
mod size;
mod storage;
mod subscription;
mod topic;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::output::Format;

pub(crate) use bench::{
    BenchArgs, BenchCommand, BenchCommit, BenchConsume, BenchEndToEnd, BenchLoad, BenchPlace,
    BenchSource, BenchSubscription, BenchValues,
};
pub(crate) use commit::CommitArgs;
pub(crate) use consume::{AckWhen, CommitWhen, ConsumeArgs, Exec};
pub(crate) use demo::DemoArgs;
pub(crate) use dlq::{DiscardArgs, DlqArgs, DlqCommand, ListLettersArgs, RedriveArgs};
pub(crate) use from::ReadFrom;
pub(crate) use group::{GroupArgs, GroupCommand, SeekGroupArgs};
pub(crate) use key::{KeyArgs, KeyCommand, ReadKeyArgs};
pub(crate) use manual::{CompletionsArgs, ManArgs};
pub(crate) use place::Place;
pub(crate) use produce::{Expectation, InputPlace, ProduceArgs};
pub(crate) use producer::{ProducerArgs, ProducerCommand};
pub(crate) use scheduled::{ScheduledArgs, ScheduledCommand};
pub(crate) use seek_to::SeekTo;
pub(crate) use serve::ServeArgs;
pub(crate) use storage::{DumpArgs, FolderArgs, RepairArgs, StorageArgs, StorageCommand};
pub(crate) use subscription::{
    CreateSubscriptionArgs, DeleteSubscriptionArgs, PendingArgs, SeekSubscriptionArgs,
    SubscriptionArgs, SubscriptionCommand, UpdateSubscriptionArgs,
};
pub(crate) use topic::{CreateTopicArgs, TopicArgs, TopicCommand, TrimTopicArgs, UpdateTopicArgs};

/// Examples stand above everything else that help says.
const HELP_TEMPLATE: &str =
    "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "towpath",
    version,
    about = "An event log and broker in one binary",
    before_help = "Examples:
  towpath demo                                 see it work, on a temporary folder
  towpath serve                                start a broker
  towpath topic create orders
  towpath produce orders -k 42 '{\"order\":42}'
  towpath consume orders --from beginning
",
    after_help = "Exit codes:
  0 done             1 failed            2 bad usage         3 broker not reached, or too late
  4 not found        5 not allowed       6 conflict          7 limit reached, or disk full
  8 fewer records than asked for         70 broker failed    130 interrupted",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Every command takes")]
pub(crate) struct GlobalArgs {
    /// URL of the broker; none means the SDK's default.
    #[arg(
        long,
        help = "The broker [default: http://127.0.0.1:7600]",
        global = true,
        env = "TOWPATH_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,
    /// How to print data
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        default_value_t = Format::Text,
        hide_possible_values = true,
        value_name = "text|json"
    )]
    pub(crate) output: Format,
}

impl GlobalArgs {
    /// URL of the broker; none if neither flag nor environment name one.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref().filter(|url| !url.is_empty())
    }
}

/// One command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job end to end, on a temporary folder
    Demo(DemoArgs),
    /// Run a broker
    Serve(ServeArgs),
    /// Write records to a topic
    Produce(ProduceArgs),
    /// Read records of a topic, alone, as a member of a group, or through a subscription
    Consume(ConsumeArgs),
    /// Do several things at once, all or none: write, schedule, settle, commit offsets
    Commit(CommitArgs),
    /// Create, show, list, change, trim and delete topics
    Topic(TopicArgs),
    /// Read the records of one key
    Key(KeyArgs),
    /// List, show, move and delete consumer groups
    Group(GroupArgs),
    /// Create, show, list, change, pause, move and delete durable subscriptions
    Subscription(SubscriptionArgs),
    /// List, show, redrive and discard the dead letters of a subscription
    Dlq(DlqArgs),
    /// List, cancel and move records that are not due yet
    Scheduled(ScheduledArgs),
    /// List and delete names of producers
    Producer(ProducerArgs),
    /// Look at data folders, without a broker
    Storage(StorageArgs),
    /// Measure a running broker
    Bench(BenchArgs),
    /// Print what makes a shell complete commands and flags
    Completions(CompletionsArgs),
    /// Print a page of the manual, or write all of them to a folder
    Man(ManArgs),
    /// Tell the version of this program and of the broker, if one can be reached
    #[command(before_help = "Examples:
  towpath version
  towpath version -o json
")]
    Version,
}

/// Reads the command line; ends the process if it is wrong or asks for help.
pub(crate) fn parse() -> Cli {
    let matches = command().get_matches();
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    }
}

/// The command line as it describes itself.
pub(crate) fn command() -> clap::Command {
    with_examples_on_top(Cli::command())
}

fn with_examples_on_top(command: clap::Command) -> clap::Command {
    let names: Vec<_> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let command = command.help_template(HELP_TEMPLATE);
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_examples_on_top)
    })
}

#[cfg(test)]
mod tests;
