//! Serves a folder: `cargo run --example serve -- 127.0.0.1:7600 ./towpath-data`.
//!
//! Prints the address once it serves, so that a program may start it with port 0. Ends on SIGINT,
//! or with exit code 70 when the disk fails.

use std::io::Write;
use std::process::ExitCode;

use towpath_broker::{Broker, Config, StartError};

#[tokio::main]
async fn main() -> ExitCode {
    let mut config = Config::default();
    let mut arguments = std::env::args().skip(1);
    if let Some(listen) = arguments.next() {
        let Ok(listen) = listen.parse() else {
            return fail(&format!(
                "{listen} is not an address such as 127.0.0.1:7600"
            ));
        };
        config.listen = Some(listen);
    }
    config.data_dir = arguments.next().map_or(config.data_dir, Into::into);
    match Broker::start(config).await {
        Ok(broker) => serve(&broker).await,
        Err(error) => fail(&describe(&error)),
    }
}

async fn serve(broker: &Broker) -> ExitCode {
    let mut out = std::io::stdout();
    let listens = broker.local_addr().into_iter();
    if listens
        .map(|it| writeln!(out, "{it}"))
        .any(|it| it.is_err())
    {
        return ExitCode::FAILURE;
    }
    tokio::select! {
        cause = broker.failed() => {
            fail(&cause);
            ExitCode::from(70)
        }
        _ = tokio::signal::ctrl_c() => {
            broker.shutdown().await;
            ExitCode::SUCCESS
        }
    }
}

fn describe(error: &StartError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    format!("{text}\n  {}", error.hint())
}

fn fail(text: &str) -> ExitCode {
    let written = writeln!(std::io::stderr(), "error: {text}");
    if written.is_err() {
        ExitCode::FAILURE
    } else {
        ExitCode::from(2)
    }
}
