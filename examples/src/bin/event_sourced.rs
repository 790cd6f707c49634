//! Many move money between a few accounts at once, and each transfer is asked for twice: `cargo run -p
//! towpath-examples --bin event_sourced`.
//!
//! Uses the broker at `TOWPATH_URL`, or one in its own process if that is not set.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use towpath_client::Client;
use towpath_examples::event_sourced::{Ledger, Outcome};
use towpath_examples::{Error, InProcess};

const ACCOUNTS: usize = 5;
const CENTS_EACH: i64 = 10_000;
const WORKERS: u32 = 8;
const TRANSFERS_EACH: u32 = 50;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    if std::env::var_os("TOWPATH_URL").is_some() {
        return Box::pin(run(&Client::from_env()?)).await;
    }
    let InProcess { broker, client } = InProcess::start(&folder.path().join("data")).await?;
    let done = Box::pin(run(&client)).await;
    client.close().await;
    broker.shutdown().await;
    done
}

async fn run(client: &Client) -> Result<(), Error> {
    let ledger = Ledger::open(client).await?;
    // Each run has accounts of its own, so that it may be repeated on the same broker.
    let run = fastrand::u32(..);
    let names: Vec<_> = (0..ACCOUNTS)
        .map(|number| format!("{run:08x}-{number}"))
        .collect();
    for name in &names {
        ledger.deposit("opening", name, CENTS_EACH).await?;
    }
    println!("{WORKERS} workers move money between {ACCOUNTS} accounts, each transfer twice");
    let mut working = Vec::new();
    for worker in 0..WORKERS {
        let (ledger, names) = (ledger.clone(), names.clone());
        working.push(tokio::spawn(async move {
            work(&ledger, &names, &format!("{run:08x}-{worker}")).await
        }));
    }
    let mut refused = 0;
    for worker in working {
        refused += worker.await??;
    }
    let mut total = 0;
    for name in &names {
        let account = ledger.account(name).await?;
        println!(
            "{name}: {} cents after {} events",
            account.cents(),
            account.version()
        );
        total += account.cents();
    }
    println!("{total} cents in all, {refused} transfers refused for want of money");
    Ok(())
}

/// Returns how many transfers were refused.
async fn work(ledger: &Ledger, names: &[String], worker: &str) -> Result<u32, Error> {
    let mut refused = 0;
    for number in 0..TRANSFERS_EACH {
        let id = format!("{worker}-{number}");
        let from = &names[fastrand::usize(..names.len())];
        let to = &names[fastrand::usize(..names.len())];
        let cents = fastrand::i64(1..5_000);
        // Whoever does not know whether it was done asks again.
        if ledger.transfer(&id, (from, to), cents).await? == Outcome::Refused {
            refused += 1;
            continue;
        }
        let again = ledger.transfer(&id, (from, to), cents).await?;
        if again != Outcome::DoneBefore {
            return Err(format!("transfer {id} was done twice").into());
        }
    }
    Ok(refused)
}
