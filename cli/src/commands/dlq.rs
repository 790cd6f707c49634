//! `towpath dlq`: listing, showing, redriving and discarding dead letters.

mod report;

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use towpath_client::{
    Admin, DeadLetterJob, DeadLetterProgress, DiscardDeadLetters, Record, RedriveDeadLetters,
};

use super::{Outcome, Session};
use crate::args::{DiscardArgs, DlqCommand, ListLettersArgs, RedriveArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Progress, count_of};

use report::{Deed, LetterList, LetterReport, MovedLetters};

/// Carries out one command about dead letters.
pub(super) async fn run(command: &DlqCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        DlqCommand::List(args) => list(args, &admin, session).await,
        DlqCommand::Show {
            subscription,
            letter,
        } => {
            let name = subscription.as_str();
            let found = admin.dead_letter(name, letter.partition, letter.offset);
            Ok(Outcome::of(LetterReport::of(name, &found.await?)))
        }
        DlqCommand::Redrive(args) => redrive(args, &admin, session).await,
        DlqCommand::Discard(args) => discard(args, &admin, session).await,
    }
}

async fn list(
    args: &ListLettersArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let filter = args.selection.to_filter(Timestamp::now());
    let name = args.subscription.as_str();
    let value_bytes = match session.output.is_json() {
        true => args.value_bytes,
        false => 0,
    };
    let mut letters = Vec::new();
    let mut pages = admin.dead_letters(name, &filter, value_bytes);
    while letters.len() <= args.limit
        && let Some(page) = pages.next_page().await?
    {
        letters.extend(page.iter().map(|it| LetterReport::of(name, it)));
    }
    if letters.len() > args.limit {
        letters.truncate(args.limit);
        let shown = count_of(args.limit as u64, "dead letter");
        session
            .output
            .note(format_args!("there are more than {shown}; -n shows more"));
    }
    Ok(Outcome::of(LetterList::new(letters)))
}

async fn redrive(
    args: &RedriveArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let filter = args.selection.to_filter(Timestamp::now());
    let mut wish: RedriveDeadLetters = args.to_redrive(&filter);
    if let Some(file) = &args.value_file {
        wish = wish.replacement(&replacement(args, file, admin).await?);
    }
    let done = follow(admin.redrive(wish), session, "redriving").await?;
    let deed = Deed::Redrive {
        topic: args.to_topic.as_ref().map(ToString::to_string),
    };
    let name = args.subscription.as_str();
    Ok(Outcome::of(MovedLetters::new(
        name,
        deed,
        &done,
        args.dry_run,
    )))
}

/// The dead letter with another value.
async fn replacement(args: &RedriveArgs, file: &Path, admin: &Admin) -> Result<Record, Failure> {
    let [letter] = args.selection.letters[..] else {
        let failure = Failure::usage("--value-file stands for one dead letter");
        return Err(failure.hint("name it: PARTITION@OFFSET"));
    };
    let read = match file == Path::new("-") {
        true => read_standard_input(),
        false => fs::read(file),
    };
    let unread = |error| Failure::io(format!("cannot read {}", file.display()), &error);
    let value = read.map_err(unread)?;
    let name = args.subscription.as_str();
    let found = admin.dead_letter(name, letter.partition, letter.offset);
    Ok(found.await?.record.value(value))
}

fn read_standard_input() -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    io::stdin().read_to_end(&mut value)?;
    Ok(value)
}

async fn discard(
    args: &DiscardArgs,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let filter = args.selection.to_filter(Timestamp::now());
    let wish: DiscardDeadLetters = args.to_discard(&filter);
    let name = args.subscription.as_str();
    if !args.dry_run && !args.yes && !session.output.can_ask() {
        let failure = Failure::usage("nobody is there to confirm that dead letters go for good");
        return Err(failure.hint("say --yes, or see with --dry-run how many would go"));
    }
    if args.dry_run || !args.yes {
        let counted = admin.discard(wish.clone().validate_only()).finish().await?;
        if args.dry_run {
            return Ok(Outcome::of(MovedLetters::new(
                name,
                Deed::Discard,
                &counted,
                true,
            )));
        }
        let letters = count_of(counted.done_count, "dead letter");
        let question = format!("discard {letters} of subscription {name} for good?");
        if !session.output.confirm(question) {
            return Err(Failure::new(Exit::Failed, "nothing was discarded"));
        }
    }
    let done = follow(admin.discard(wish), session, "discarding").await?;
    let report = MovedLetters::new(name, Deed::Discard, &done, false);
    Ok(Outcome::of(report))
}

/// Goes on to the end, and tells how far it is.
async fn follow(
    mut job: DeadLetterJob,
    session: &Session<'_>,
    what: &'static str,
) -> Result<DeadLetterProgress, Failure> {
    let shown: Progress = session.output.progress(what, None);
    let (mut last, mut noted) = (DeadLetterProgress::default(), Noted::default());
    while let Some(progress) = job.next().await? {
        let waiting_for = &progress.waiting_for;
        if noted.is_new(waiting_for) {
            session.output.note(format_args!("waits for {waiting_for}"));
        }
        shown.advance(progress.done_count.saturating_sub(shown.done()));
        last = progress;
    }
    Ok(last)
}

/// What was noted last. A redrive that waits for room goes on bit by bit, and waits for the same in between.
#[derive(Debug, Default)]
struct Noted {
    waiting_for: String,
}

impl Noted {
    /// Whether it is to be noted.
    fn is_new(&mut self, waiting_for: &str) -> bool {
        let is_new = !waiting_for.is_empty() && waiting_for != self.waiting_for;
        if is_new {
            waiting_for.clone_into(&mut self.waiting_for);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_waits_for_is_noted_once() {
        let mut noted = Noted::default();
        let told = ["", "one", "one", "", "one", "", "two", "", ""];
        let notes = told.map(|it| noted.is_new(it));
        let expected = [false, true, false, false, false, false, true, false, false];
        assert_eq!(notes, expected, "each once");
    }
}
