//! A broker in the same process, without a port: `cargo run -p towpath-examples --bin embedded`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use towpath_client::{Record, Start};
use towpath_examples::{Error, InProcess};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    let InProcess { broker, client } = InProcess::start(&folder.path().join("data")).await?;
    client.admin().ensure_topic("greetings").await?;
    let producer = client.producer("greetings").build();
    let position = producer.send(Record::new("hello").key("me")).await?;
    println!("on disk at {}@{}", position.partition, position.offset);
    let mut reader = client.reader(["greetings"]).from(Start::Beginning).build();
    while let Some(record) = reader.next_record().await? {
        println!(
            "{}  {}",
            record.address(),
            record.value_str().unwrap_or("-")
        );
    }
    client.close().await;
    broker.shutdown().await;
    Ok(())
}
