//! Reads a topic from its beginning to its end, then waits for new records until Ctrl-C.
//!
//! `cargo run -p towpath-client --example read -- [TOPIC]` with a broker at `TOWPATH_URL` (default
//! `http://127.0.0.1:7600`).
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::StreamExt;
use towpath_client::{Client, Error, ReaderItem};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let topic = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "orders".to_owned());
    let client = Client::from_env()?;
    let mut reader = client.reader([topic]).follow().build();
    let stop = reader.shutdown_handle();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.shutdown();
        }
    });
    while let Some(item) = reader.next().await {
        match item? {
            ReaderItem::Batch(batch) => {
                for record in &batch {
                    let key = record.key_str().unwrap_or("-");
                    let value = record.value_str().unwrap_or("-");
                    println!("{}  {key}  {value}", record.address());
                }
            }
            ReaderItem::CaughtUp(end) => {
                println!(
                    "{}/{} was read to {}",
                    end.topic, end.partition, end.end_offset
                );
            }
            ReaderItem::Gap(gap) => {
                println!(
                    "{}/{} has nothing at {}",
                    gap.topic, gap.partition, gap.range
                );
            }
            _ => {}
        }
    }
    Ok(())
}
