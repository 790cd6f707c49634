//! A read model in SQLite that is made from events by a consumer group, thrown away, made again from
//! the beginning by another group, and compared: `cargo run -p towpath-examples --bin read_model`.
//!
//! Uses the broker at `TOWPATH_URL`, or one in its own process if that is not set.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use towpath_client::{Client, Drain, Start};
use towpath_examples::{
    Balances, Error, InProcess, Lag, TOPIC, caught_up, project, random_events, write,
};

const ACCOUNTS: usize = 500;
const EVENTS: usize = 50_000;
/// What a batch that is being applied may still take at the end.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    if std::env::var_os("TOWPATH_URL").is_some() {
        return Box::pin(run(&Client::from_env()?, folder.path())).await;
    }
    let InProcess { broker, client } = InProcess::start(&folder.path().join("data")).await?;
    let done = Box::pin(run(&client, folder.path())).await;
    client.close().await;
    broker.shutdown().await;
    done
}

async fn run(client: &Client, folder: &Path) -> Result<(), Error> {
    client.admin().ensure_topic(TOPIC).await?;
    let events = random_events(fastrand::u64(..), ACCOUNTS, EVENTS);
    // Each run has groups of its own, so that it may be repeated on the same broker.
    let run = fastrand::u32(..);
    println!("writing {EVENTS} events of {ACCOUNTS} accounts while they are applied");
    let group = format!("balances-{run:08x}");
    let writing = write(client, &events);
    let database = folder.join("first.db");
    let first = Box::pin(make(client, &group, &database, writing)).await?;
    println!("making it again from the first event");
    let group = format!("rebuilt-{run:08x}");
    let nothing = std::future::ready(Ok(()));
    let second = make(client, &group, &folder.join("second.db"), nothing).await?;
    let (first, second) = (first.accounts()?, second.accounts()?);
    if first != second {
        return Err("the rebuilt balances differ".into());
    }
    println!("{} accounts, the same in both", first.len());
    Ok(())
}

/// Makes balances by a group, until that has applied what is there once `writing` is done.
async fn make(
    client: &Client,
    group: &str,
    database: &Path,
    writing: impl Future<Output = Result<(), Error>>,
) -> Result<Balances, Error> {
    let mut balances = Balances::open(database)?;
    let consumer = client
        .group(group)
        .topics([TOPIC])
        .start(Start::Beginning)
        .build();
    let stop = consumer.shutdown_handle();
    let supervising = async {
        let done = async {
            writing.await?;
            let mut shown = None;
            caught_up(&client.admin(), group, |lag| show(group, lag, &mut shown)).await
        };
        let done = done.await;
        stop.shutdown(Drain::FinishWithin(PATIENCE));
        done
    };
    let (done, applied) = tokio::join!(supervising, project(consumer, &mut balances));
    done?;
    println!("{group} has applied {} events", applied?);
    Ok(balances)
}

fn show(group: &str, lag: Lag, shown: &mut Option<u64>) {
    let Lag { records, time } = lag;
    if shown.replace(records) != Some(records) {
        let seconds = time.as_secs_f64();
        println!("{group} is {records} records behind, {seconds:.1} s");
    }
}
