//! `towpath produce`: a value, a file or standard input into a topic.

mod report;
mod scheduling;
mod sending;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use towpath_client::{Client, Producer};

use super::{Outcome, Session};
use crate::args::{InputPlace, ProduceArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{Input, InputForm};

use report::{PositionReport, SummaryReport};
use scheduling::{ScheduledReport, ScheduledSummary, Scheduling};
use sending::Sending;

/// Writes what the arguments say. Everything that was taken is on disk, or told not to be, when this
/// returns.
pub(super) async fn run(args: &ProduceArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    let place = args.input_place(io::stdin().is_terminal())?;
    let shape = args.shape(&place)?;
    let client = session.client_within(args.give_up_after)?;
    let admin = client.admin();
    // Before anything is read: whether there is a broker, and the topic.
    let known = async { Ok(admin.topic(args.topic.as_str()).await?) };
    let topic = session.until_interrupted(known).await?;
    let is_single = args.is_single(&place);
    let input = open(place, args.input_form())?;
    if let Some(due) = args.due() {
        let scheduling = Scheduling {
            client,
            topic: args.topic.as_str(),
            due,
            id: args.schedule_id.as_deref(),
            give_up_after: args.give_up_after,
            shape,
            progress: session.output.progress("scheduled", None),
        };
        return Ok(schedule(scheduling, input, is_single, session).await);
    }
    let producer = producer_of(args, &client);
    if args.producer_name.is_some() {
        // Whoever wrote under the name before is to be shut out before more is read.
        let ready = async { Ok(producer.ready().await?) };
        session.until_interrupted(ready).await?;
    }
    let progress = session.output.progress("produced", None);
    let sending = Sending::new(producer, shape, progress).expecting(args.expectation());
    let sent = sending.run(input, &session.interrupt).await;
    let outcome = match (is_single, sent.last) {
        (true, Some(position)) => {
            if position.is_repeated {
                let note = "the event was there already, and is not written again";
                session.output.note(note);
            }
            Outcome::of(PositionReport::new(topic.name, position))
        }
        (true, None) => Outcome::silent(Exit::Usage),
        (false, _) => Outcome::of(SummaryReport::of(&sent, &topic.name)),
    };
    Ok(outcome.with_failure(sent.failure(is_single)))
}

async fn schedule(
    scheduling: Scheduling<'_>,
    input: Input,
    is_single: bool,
    session: &Session<'_>,
) -> Outcome {
    let topic = scheduling.topic;
    let lines = scheduling.run(input, &session.interrupt).await;
    let outcome = match (is_single, &lines.last) {
        (true, Some(scheduled)) => Outcome::of(ScheduledReport::new(topic, scheduled)),
        (true, None) => Outcome::silent(Exit::Usage),
        (false, _) => Outcome::of(ScheduledSummary::of(&lines)),
    };
    outcome.with_failure(lines.problem)
}

fn producer_of(args: &ProduceArgs, client: &Client) -> Producer {
    let producer = client
        .producer(args.topic.as_str())
        .compression(args.compression)
        .give_up_after(args.give_up_after);
    match &args.producer_name {
        Some(name) => producer.name(name.as_str()).build(),
        None => producer.build(),
    }
}

fn open(place: InputPlace, form: InputForm) -> Result<Input, Failure> {
    let cannot_open = |path: &Path, error: &io::Error| {
        Failure::io(format!("cannot open {}", path.display()), error)
    };
    match place {
        InputPlace::Value(value) => Ok(Input::of_value(value)),
        InputPlace::Stdin => Ok(Input::of_stdin(form)),
        InputPlace::File(path) => {
            Input::of_file(&path, form).map_err(|error| cannot_open(&path, &error))
        }
    }
}
