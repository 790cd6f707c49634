//! `towpath key`: the records of one key, found through the broker's index.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use towpath_client::{Client, KeyGap, KeyGapReason, KeyItem};

use super::{Outcome, Session};
use crate::args::{KeyCommand, ReadKeyArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Carries out one command about keys.
pub(super) async fn run(command: &KeyCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    let client = session.client()?;
    match command {
        KeyCommand::Read(args) => read(args, &client, session.output).await,
        KeyCommand::Latest { topic, key } => {
            latest(topic.as_str(), key, &client, session.output).await
        }
    }
}

/// Prints what comes; what came before a failure is printed.
async fn read(args: &ReadKeyArgs, client: &Client, output: &Output) -> Result<Outcome, Failure> {
    let mut builder = client.read_key(args.topic.as_str(), bytes_of(&args.key));
    if let Some(version) = args.from_version {
        builder = builder.from_version(version);
    }
    if args.newest_first {
        builder = builder.newest_first();
    }
    if let Some(count) = args.count {
        builder = builder.limit(count);
    }
    let mut history = builder.build();
    let mut printer = output.records();
    let end = loop {
        match history.next_item().await {
            Some(Ok(KeyItem::Record(it))) => {
                let printed = printer.of_key(&it.record, it.version);
                printed.map_err(|error| Failure::output(&error))?;
            }
            Some(Ok(KeyItem::Gap(gap))) => {
                printer.flush().map_err(|error| Failure::output(&error))?;
                tell_gap(&gap, output);
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break Err(error.into()),
            None => break Ok(Outcome::silent(Exit::Done)),
        }
    };
    printer.flush().map_err(|error| Failure::output(&error))?;
    end
}

async fn latest(
    topic: &str,
    key: &OsStr,
    client: &Client,
    output: &Output,
) -> Result<Outcome, Failure> {
    let latest = client.get_latest(topic, bytes_of(key)).await?;
    let Some(it) = latest.record else {
        let message = match latest.current_version {
            0 => "the key has no record".to_owned(),
            version => format!(
                "the newest record of the key, version {version}, is gone: retention, a trim or compaction has removed it"
            ),
        };
        return Err(Failure::new(Exit::NotFound, message));
    };
    let mut printer = output.records();
    let printed = printer.of_key(&it.record, it.version);
    printed
        .and_then(|()| printer.flush())
        .map_err(|error| Failure::output(&error))?;
    Ok(Outcome::silent(Exit::Done))
}

fn tell_gap(gap: &KeyGap, output: &Output) {
    let why = match gap.reason {
        KeyGapReason::Trimmed => "retention or a trim has removed them",
        KeyGapReason::Compacted => "compaction has removed them, the key has newer records",
        _ => "they are damaged on the broker's disk",
    };
    let (first, last) = (gap.versions.start, gap.versions.end.saturating_sub(1));
    output.warning(format_args!(
        "versions {first} to {last} of the key are gone: {why}"
    ));
}

fn bytes_of(key: &OsStr) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}
