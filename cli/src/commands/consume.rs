//! `towpath consume`: records of a topic, from somewhere, to the end or onwards; or those that a
//! subscription hands out.

mod exec;
mod group;
mod reading;
mod subscription;
mod until;

use jiff::Timestamp;
use tokio::time::Instant;
use towpath_client::{Admin, Client, LookedUpOffsets, Reader, Source, Start};

use super::{Outcome, Session};
use crate::args::{ConsumeArgs, Place, ReadFrom};
use crate::failure::Failure;
use crate::output::count_of;

use reading::Reading;
use until::Until;

/// Reads what the arguments say and prints it as it comes.
pub(super) async fn run(args: &ConsumeArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    args.check()?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let client = match args.timeout {
        Some(timeout) => session.client_within(timeout)?,
        None => session.client()?,
    };
    match (&args.place, args.subscription.name(), &args.group) {
        (_, Some(name), _) => subscription::run(name, args, &client, deadline, session).await,
        (Some(place), None, Some(group)) => {
            group::run(group, place.topic(), args, &client, deadline, session).await
        }
        (Some(place), None, None) => read(place, args, &client, deadline, session).await,
        // Refused before, with the words of the command line.
        (None, None, _) => Err(Failure::usage("say a topic, or a subscription")),
    }
}

/// Reads a topic, alone.
async fn read(
    place: &Place,
    args: &ConsumeArgs,
    client: &Client,
    deadline: Option<Instant>,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let admin = client.admin();
    let from = args.read_from();
    // Reading begins at exact offsets, so that what is said about the start stays true.
    let offsets = session
        .until_interrupted(look_up(&admin, place, args, from))
        .await?;
    if args.is_from_default() && from == ReadFrom::End {
        tell_what_is_there(&offsets, session);
    }
    let starts = offsets
        .offsets
        .iter()
        .map(|found| (found.partition, found.offset));
    let source = Source::new(place.topic().as_str())
        .partitions(offsets.offsets.iter().map(|found| found.partition))
        .start(Start::Offsets(starts.collect()));
    let mut builder = client.reader([source]);
    if offsets.offsets.len() > 1 {
        builder = builder.merged();
    }
    if !args.end {
        builder = builder.follow();
    }
    if args.skip_data_loss {
        builder = builder.skip_data_loss();
    }
    let reader: Reader = builder.build();
    let until = Until {
        count: args.count,
        deadline,
        interrupt: &session.interrupt,
    };
    Reading::new(reader, session.output, until).run().await
}

async fn look_up(
    admin: &Admin,
    place: &Place,
    args: &ConsumeArgs,
    from: ReadFrom,
) -> Result<LookedUpOffsets, Failure> {
    let source = Source::new(place.topic().as_str())
        .partitions(args.partitions())
        .start(from.to_start(Timestamp::now()));
    Ok(admin.lookup_offsets(source).await?)
}

fn tell_what_is_there(offsets: &LookedUpOffsets, session: &Session<'_>) {
    let records: u64 = offsets
        .offsets
        .iter()
        .map(|found| {
            found
                .end_offset
                .get()
                .saturating_sub(found.log_start_offset.get())
        })
        .sum();
    let (are, them) = match records {
        0 => return,
        1 => ("is", "it"),
        _ => ("are", "them"),
    };
    let records = count_of(records, "record");
    session.output.note(format_args!(
        "{records} {are} there already; --from beginning shows {them} too"
    ));
}
