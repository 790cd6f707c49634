//! The bare model of the hot path: its server, its load generator, and both in turn.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;
use towpath_benches::host::Machine;
use towpath_benches::model::client::Client;
use towpath_benches::model::measure::{Measure, Workload};
use towpath_benches::model::pair::{self, Plan};
use towpath_benches::model::server::{self, Listening};
use towpath_benches::report::{Format, Report};
use towpath_benches::round_file::{RoundFile, RoundFileOptions};
use towpath_benches::{Error, Result, output};

#[derive(Debug, Parser)]
#[command(about = "Measure the bare model of Towpath's hot path")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start servers as processes of their own and measure them, variant by variant, in rounds.
    Pair(Plan),
    /// Serve; prints its address as one line of JSON when it is ready.
    Serve(Serve),
    /// Send to a server as fast as it acknowledges.
    Produce(Target),
    /// Receive from a server's memory as fast as it sends.
    Consume(Target),
    /// Send one message at a time.
    Latency(Target),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:7610")]
    listen: SocketAddr,
    /// End with the process that holds the other end of stdin.
    #[arg(long)]
    until_stdin_closes: bool,
    #[command(flatten)]
    file: RoundFileOptions,
}

#[derive(Debug, Args)]
struct Target {
    /// Address of a server started with `serve`.
    #[arg(long, default_value = "127.0.0.1:7610")]
    server: SocketAddr,
    /// Process id of the server, to report its processor time.
    #[arg(long)]
    server_pid: Option<u32>,
    #[command(flatten)]
    workload: Workload,
}

fn main() -> ExitCode {
    output::run(run(Cli::parse()))
}

async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Pair(plan) => compare(&plan, cli.output).await,
        Command::Serve(serve) => serve.run().await,
        Command::Produce(target) => target.measure(Measure::Produce, cli.output).await,
        Command::Consume(target) => target.measure(Measure::Consume, cli.output).await,
        Command::Latency(target) => target.measure(Measure::Latency, cli.output).await,
    }
}

async fn compare(plan: &Plan, format: Format) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    let machine = Machine::describe(Some(&plan.variants.dir))?;
    let mut report = Report::start(std::io::stdout(), format, machine)?;
    pair::run(plan, &program, &mut report).await?;
    report.finish()
}

impl Target {
    async fn measure(&self, measure: Measure, format: Format) -> Result<()> {
        let machine = Machine::describe(None)?;
        let mut report = Report::start(std::io::stdout(), format, machine)?;
        let mut client = Client::connect(self.server).await?;
        for message_bytes in self.workload.sizes(measure).iter().copied() {
            let (setting, figures) = self
                .workload
                .measure(&mut client, measure, message_bytes, self.server_pid)
                .await?;
            report.add(1, setting, figures)?;
        }
        Ok(())
    }
}

impl Serve {
    async fn run(self) -> Result<()> {
        let asked = self.file.write;
        let file = RoundFile::create(self.file).map_err(Error::io("make the file"))?;
        let listener = TcpListener::bind(self.listen)
            .await
            .map_err(Error::io("listen"))?;
        let address = listener.local_addr().map_err(Error::io("listen"))?;
        let listening = Listening {
            address,
            write: file.write_mode(),
        };
        if listening.write != asked {
            output::warn("the file system refuses direct writes: rounds are buffered");
        }
        listening.announce(std::io::stdout())?;
        server::serve(listener, file, end(self.until_stdin_closes)).await
    }
}

/// Waits for ctrl-c or, if asked to, for the end of stdin.
async fn end(until_stdin_closes: bool) {
    // A failure to wait ends the server as well: it could not be ended otherwise.
    if until_stdin_closes {
        drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await);
    } else {
        drop(tokio::signal::ctrl_c().await);
    }
}
