//! `towpath consume --group`: records as a member of a group gets them.

mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use towpath_client::{
    Assignment, Client, Error, ErrorReason, Gap, GroupBatch, GroupConsumer, GroupItem, GroupName,
    GroupOffset, PartitionId, StoppedPartition, ToGroupOffsets as _, TopicName,
};

use super::reading::tell_gap;
use super::until::{Next, Until, at};
use super::{Outcome, Session};
use crate::args::{CommitWhen, ConsumeArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, RecordPrinter};
use waiting::{Idle, Waiting};

/// So many records are printed between two commits, if there is no pause before.
const RECORDS_PER_COMMIT: u64 = 1_000;

/// How long a commit may take once the command is to end.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// Reads as a member of the group and prints what comes.
pub(super) async fn run(
    name: &GroupName,
    topic: &TopicName,
    args: &ConsumeArgs,
    client: &Client,
    deadline: Option<Instant>,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    // Consumers wait for a broker as long as it takes; a command does not.
    let admin = client.admin();
    session
        .until_interrupted(async { Ok(admin.topic(topic.as_str()).await?) })
        .await?;
    let mut builder = client.group(name.as_str()).topics([topic.as_str()]);
    if let Some(from) = args.group_start() {
        builder = builder.start(from.to_start(Timestamp::now()));
    }
    if args.skip_data_loss {
        builder = builder.skip_data_loss();
    }
    if args.stop_at_trimmed {
        builder = builder.stop_at_trimmed();
    }
    let mut reading = GroupReading {
        name,
        consumer: builder.build(),
        printer: session.output.records(),
        output: session.output,
        until: Until {
            count: args.count,
            deadline,
            interrupt: &session.interrupt,
        },
        waiting: Waiting::new(admin, name, topic, args.end),
        commits: (args.commit == CommitWhen::OnPrint).then(BTreeMap::new),
        printed_count: 0,
        end: deadline,
        ends_at_end: args.end,
        owned: BTreeMap::new(),
        unread: BTreeSet::new(),
        stopped: BTreeMap::new(),
        has_read: false,
    };
    let ended = reading.run().await;
    let unread = reading.unread_failure();
    // Others are to get the partitions at once, however this ended.
    reading.consumer.close().await;
    ended.map(|exit| Outcome::silent(exit).with_failure(unread))
}

type Place = (TopicName, PartitionId);

/// A member on its way to the output.
struct GroupReading<'a> {
    name: &'a GroupName,
    consumer: GroupConsumer,
    printer: RecordPrinter<io::Stdout>,
    output: &'a Output,
    until: Until<'a>,
    waiting: Waiting<'a>,
    /// What was printed and not committed; none if nothing is to be.
    commits: Option<BTreeMap<Place, GroupOffset>>,
    /// Records printed since the last commit.
    printed_count: u64,
    /// When the command is to end, once that is known.
    end: Option<Instant>,
    ends_at_end: bool,
    /// Partitions that this member owns.
    owned: BTreeMap<Place, Assignment>,
    /// Those that it has not read to their end.
    unread: BTreeSet<Place>,
    /// Those that cannot be read on.
    stopped: BTreeMap<Place, Error>,
    /// Whether there was one.
    has_read: bool,
}

/// What came next.
enum Got {
    Item(Option<Result<GroupItem, Error>>),
    Idle(Idle),
}

impl GroupReading<'_> {
    /// Prints until the end of what is read, the count, the deadline or an interrupt.
    ///
    /// # Errors
    ///
    /// The broker cannot give more, or the output takes no more; what was written before is committed.
    async fn run(&mut self) -> Result<Exit, Failure> {
        let mut left = self.until.count.unwrap_or(u64::MAX);
        let end = loop {
            if left == 0 || self.is_at_end() {
                break Ok(Exit::Done);
            }
            match self.next().await? {
                Next::Item(Got::Item(Some(Ok(item)))) => left -= self.take(item, left).await?,
                Next::Item(Got::Item(Some(Err(error)))) => break Err(error.into()),
                Next::Item(Got::Item(None) | Got::Idle(Idle::CaughtUp)) => break Ok(Exit::Done),
                Next::Item(Got::Idle(Idle::Tell)) => self.tell_of_waiting(),
                Next::Deadline => break Ok(self.until.exit_at_deadline()),
                Next::Interrupt => break Err(Failure::interrupted()),
            }
        };
        self.end = Some(Instant::now());
        self.commit().await?;
        end
    }

    fn is_at_end(&self) -> bool {
        self.ends_at_end && self.has_read && self.unread.is_empty()
    }

    /// Waits for what happens next; what was printed is written and committed before waiting.
    async fn next(&mut self) -> Result<Next<Got>, Failure> {
        if let Some(over) = self.until.over() {
            return Ok(over);
        }
        if let Some(item) = self.consumer.next_item().now_or_never() {
            return Ok(Next::Item(Got::Item(item)));
        }
        self.commit().await?;
        let (consumer, waiting) = (&mut self.consumer, &mut self.waiting);
        let got = async {
            tokio::select! {
                item = consumer.next_item() => Got::Item(item),
                idle = waiting.next() => Got::Idle(idle),
            }
        };
        Ok(self.until.wait(got).await)
    }

    fn tell_of_waiting(&self) {
        let ending = match self.ends_at_end {
            true => "this one ends when they have committed what is there",
            false => "this one takes over when one of them goes",
        };
        self.output.note(format_args!(
            "other members of group {} read all partitions; {ending}",
            self.name
        ));
    }

    /// Prints what is to be printed, but no more than `most` records; returns how many.
    async fn take(&mut self, item: GroupItem, most: u64) -> Result<u64, Failure> {
        let place = |it: &Assignment| (it.topic.clone(), it.partition);
        match item {
            GroupItem::Batch(batch) => return self.print(&batch, most).await,
            GroupItem::CaughtUp(it) => {
                self.unread.remove(&(it.topic, it.partition));
            }
            GroupItem::Assigned(partitions) => {
                self.has_read = true;
                self.waiting.end();
                for it in partitions {
                    self.unread.insert(place(&it.assignment));
                    self.owned.insert(place(&it.assignment), it.assignment);
                }
            }
            GroupItem::Stopped(StoppedPartition {
                assignment, error, ..
            }) => {
                self.flush()?;
                self.output.warning(format_args!(
                    "{}/{} is read no further, other partitions are: {error}",
                    assignment.topic, assignment.partition
                ));
                self.unread.remove(&place(&assignment));
                self.stopped.insert(place(&assignment), error);
            }
            GroupItem::Revoking(revoking) => {
                self.forget(revoking.partitions.iter().map(place));
                self.commit().await?;
                self.consumer.give_back(&revoking);
            }
            GroupItem::Lost(partitions) => {
                self.forget(partitions.iter().map(place));
            }
            // The partition stops there, which is told with its reason.
            GroupItem::Gap(gap) if !self.consumer.passes_over(&gap) => {}
            GroupItem::Gap(gap) => {
                self.flush()?;
                tell_gap(&gap, self.output);
                self.pass_over(gap);
            }
            _ => {}
        }
        Ok(0)
    }

    /// What is gone is committed over: nothing behind it may ever come.
    fn pass_over(&mut self, gap: Gap) {
        let place = (gap.topic, gap.partition);
        if let (Some(commits), Some(owned)) = (&mut self.commits, self.owned.get(&place)) {
            commits.insert(place, GroupOffset::new(owned, gap.range.end()));
        }
    }

    /// Others are to read these.
    fn forget(&mut self, places: impl Iterator<Item = Place>) {
        for place in places {
            self.owned.remove(&place);
            self.unread.remove(&place);
            self.stopped.remove(&place);
        }
    }

    /// What is told at the end if partitions were not read as far as they could have been.
    fn unread_failure(&self) -> Option<Failure> {
        let (_, error) = self.stopped.first_key_value()?;
        let places = self.stopped.keys();
        let places: Vec<_> = places
            .map(|(topic, partition)| format!("{topic}/{partition}"))
            .collect();
        let message = format!("not read to the end: {}", places.join(", "));
        let failure = Failure::new(Exit::of_error(error), message);
        Some(match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }

    async fn print(&mut self, batch: &GroupBatch, most: u64) -> Result<u64, Failure> {
        let mut printed = 0;
        let mut last = None;
        for record in batch.records() {
            if printed == most {
                break;
            }
            self.printer
                .record(&record)
                .map_err(|error| Failure::output(&error))?;
            printed += 1;
            last = Some(record);
        }
        if let (Some(commits), Some(last)) = (&mut self.commits, last) {
            let offsets = last.to_group_offsets().into_iter();
            commits.extend(offsets.map(|it| ((it.topic().clone(), it.partition()), it)));
        }
        self.printed_count += printed;
        if self.printed_count >= RECORDS_PER_COMMIT {
            self.commit().await?;
        }
        Ok(printed)
    }

    /// Writes what was printed and commits it.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.printed_count = 0;
        let Some(commits) = &mut self.commits else {
            return Ok(());
        };
        let offsets: Vec<_> = std::mem::take(commits).into_values().collect();
        let committing = self.consumer.commit(&offsets);
        let end = self.end;
        let interrupt = self.until.interrupt;
        let patience = async {
            tokio::select! {
                () = interrupt.wait() => {}
                () = at(end) => {}
            }
            tokio::time::sleep(COMMIT_PATIENCE).await;
        };
        let outcome = tokio::select! {
            outcome = committing => outcome,
            () = patience => {
                let message = "what was printed last is not committed: it comes again";
                return Err(Failure::new(Exit::Unreachable, message));
            }
        };
        match outcome {
            Err(error) if error.reason() == Some(ErrorReason::GenerationStale) => {
                self.output
                    .warning(format_args!("{error}: some records come again"));
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.printer
            .flush()
            .map_err(|error| Failure::output(&error))
    }
}
