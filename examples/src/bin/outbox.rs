//! Orders are billed exactly once, though the relay and whoever bills are killed after every step: `cargo run
//! -p towpath-examples --bin outbox`.
//!
//! Uses the broker at `TOWPATH_URL`, or starts one if that is not set. The parts can be run by hand as well:
//! `outbox relay SHOP.db`, `outbox bill LEDGER.db`; with `--die-after N` they end abruptly after so many steps.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::process::{Command, Stdio};

use towpath_broker::{Broker, Config};
use towpath_client::Client;
use towpath_examples::Error;
use towpath_examples::outbox::{Ledger, Shop, prepare};

const ORDERS: i64 = 3;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => demo().await,
        [part, database] => run(part, database, u32::MAX).await,
        [part, database, "--die-after", steps] => run(part, database, steps.parse()?).await,
        _ => Err("outbox [relay|bill DATABASE [--die-after STEPS]]".into()),
    }
}

/// Runs one part to its end, or to its death.
async fn run(part: &str, database: &str, mut steps_left: u32) -> Result<(), Error> {
    let client = Client::from_env()?;
    let mut moment = |_: &'static str| {
        steps_left -= 1;
        if steps_left == 0 {
            // As a power loss would: nothing is closed, nobody is told.
            std::process::abort();
        }
    };
    let count = match part {
        "relay" => {
            Shop::open(Path::new(database))?
                .relay(&client, &mut moment)
                .await?
        }
        "bill" => {
            Ledger::open(Path::new(database))?
                .bill(&client, &mut moment)
                .await?
        }
        _ => return Err(format!("{part} is neither relay nor bill").into()),
    };
    println!("{part}: {count}");
    client.close().await;
    Ok(())
}

async fn demo() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    if let Ok(url) = std::env::var("TOWPATH_URL") {
        return show(folder.path(), &url).await;
    }
    let config = Config {
        listen: "127.0.0.1:0".parse().ok(),
        data_dir: folder.path().join("data"),
        ..Config::default()
    };
    let broker = Broker::start(config).await?;
    let address = broker.local_addr().ok_or("the broker has no port")?;
    let shown = show(folder.path(), &format!("http://{address}")).await;
    broker.shutdown().await;
    shown
}

async fn show(folder: &Path, url: &str) -> Result<(), Error> {
    let client = Client::connect(url)?;
    prepare(&client).await?;
    let (shop, ledger) = (folder.join("shop.db"), folder.join("ledger.db"));
    for order in 1..=ORDERS {
        Shop::open(&shop)?.place("ada", order * 100)?;
    }
    let mut deaths = 0;
    for (part, database) in [("relay", &shop), ("bill", &ledger)] {
        // Each life comes one step further than the one before.
        for steps in 1.. {
            let program = std::env::current_exe()?;
            let mut life = Command::new(program);
            life.arg(part)
                .arg(database)
                .arg("--die-after")
                .arg(steps.to_string());
            let life = life.env("TOWPATH_URL", url).stderr(Stdio::null());
            if life.status()?.success() {
                break;
            }
            deaths += 1;
        }
    }
    let invoices = Ledger::open(&ledger)?.invoices()?;
    println!(
        "{ORDERS} orders, {deaths} deaths, {} invoices: {invoices:?}",
        invoices.len()
    );
    client.close().await;
    Ok(())
}
