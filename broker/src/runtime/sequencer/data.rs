//! Batches: deciding on each, waiting for room, choosing what goes by reference.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use towpath_proto::limits::RECORD_BYTES_MAX;
use towpath_storage::{
    Append, DirectoryLine, FrameForm, Lsn, PartitionRef, PlacementError, Placing, ProducerStamp,
    Row, StateMachine, step_ahead,
};

use super::super::bury::Burial;
use super::super::command::{
    AppendAnswer, CommitCommand, Committed, DataCommand, Permits, Published, Republished,
};
use super::super::settle::SettleWork;
use super::draft::{Draft, PendingAnswer, Run};
use super::{JournalWish, RESERVE_BYTES, Sequencer};
use crate::core::{
    AcceptedBatch, AppendDecision, AppendRefusal, AppendRequest, BurialFailure, CommitDecision,
    CommitWish, Outcome, SpendDecision,
};

/// What an entry takes beside its batches' bytes: header, directory line, frame header, padding.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// What the row of a producer takes at most: a window of outcomes.
const PRODUCER_ROW_BYTES: u64 = 8 * 1024;

/// What came of a command.
pub(super) enum Verdict {
    /// It was answered.
    Answered,
    /// It waits in its partition's line.
    Wait(DataCommand, PartitionRef, PlacementError),
    /// The round is full.
    NoRoom(DataCommand),
}

impl Sequencer {
    /// Decides on batches in order. What the round cannot hold waits in the backlog.
    pub(super) fn take_data(&mut self, mut data: VecDeque<DataCommand>, draft: &mut Draft) {
        draft.run = self.choose_run(&data);
        while let Some(command) = data.pop_front() {
            if let Some(partition) = self.line_of(&command) {
                self.lines.entry(partition).or_default().push_back(command);
                continue;
            }
            match self.decide(command, draft) {
                Verdict::Answered => {}
                Verdict::Wait(command, partition, needs) => {
                    self.line_up(command, partition, needs, draft);
                }
                Verdict::NoRoom(command) => {
                    data.push_front(command);
                    self.backlog = data;
                    self.ask_for_room(draft);
                    return;
                }
            }
        }
    }

    /// The partition whose line the command must join to keep its order.
    fn line_of(&self, command: &DataCommand) -> Option<PartitionRef> {
        if self.lines.is_empty() {
            return None;
        }
        command
            .partitions()
            .find(|partition| self.lines.contains_key(partition))
    }

    /// The partition with the longest run, if it is long enough to be written once.
    fn choose_run(&self, data: &VecDeque<DataCommand>) -> Option<Run> {
        let mut bytes_of: BTreeMap<PartitionRef, usize> = BTreeMap::new();
        for command in data {
            if let DataCommand::Append {
                request, payload, ..
            } = command
            {
                *bytes_of.entry(request.partition).or_default() += payload.len();
            }
        }
        let longest = bytes_of.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        (longest.1 >= self.limits.reference_bytes_min).then_some(Run {
            partition: longest.0,
            segment: None,
        })
    }

    fn decide(&mut self, command: DataCommand, draft: &mut Draft) -> Verdict {
        let room = room_of(&command);
        if !self.fits(draft, room + RESERVE_BYTES) {
            if matches!(self.journal_wish, JournalWish::Full { .. }) {
                self.refuse_full(command, draft);
                return Verdict::Answered;
            }
            return Verdict::NoRoom(command);
        }
        match command {
            DataCommand::Append { .. } => self.decide_append(command, draft),
            DataCommand::Publish { .. } => self.decide_publish(command, draft),
            DataCommand::Commit(commit) => self.decide_commit(commit, draft),
            DataCommand::Bury { burial, permits } => self.decide_burial(burial, permits, draft),
            DataCommand::Fire(fire) => self.decide_fire(fire, draft),
            DataCommand::Reschedule(command) => self.decide_reschedule(*command, draft),
            DataCommand::BuryFailed {
                subscription,
                wish,
                failure,
            } => {
                let now_ms = self.time.now_ms();
                self.state
                    .burial_failed(subscription, &wish, failure, now_ms);
                Verdict::Answered
            }
            DataCommand::Reject {
                partition,
                spends,
                sink,
                ticket,
                permits,
            } => {
                let answer = self.decide_reject(partition, spends, draft);
                draft.answers.push(PendingAnswer::Append {
                    sink,
                    ticket,
                    answer,
                    permits,
                });
                Verdict::Answered
            }
        }
    }

    /// Refuses for want of space. Dead letters that have no room stay where they are.
    pub(super) fn refuse_full(&mut self, command: DataCommand, draft: &mut Draft) {
        let (subscription, wish) = match command {
            DataCommand::Bury { burial, .. } => (burial.subscription, burial.wish),
            DataCommand::BuryFailed {
                subscription, wish, ..
            } => (subscription, *wish),
            DataCommand::Fire(_) => return self.fire_refused_full(),
            other => return draft.refuse_full(other),
        };
        let failure = BurialFailure::of_all(AppendRefusal::StorageFull);
        let now_ms = self.time.now_ms();
        self.state
            .burial_failed(subscription, &wish, failure, now_ms);
    }

    fn decide_reject(
        &mut self,
        partition: PartitionRef,
        spends: Option<(ProducerStamp, i32)>,
        draft: &mut Draft,
    ) -> AppendAnswer {
        let Some((stamp, reason)) = spends else {
            return AppendAnswer::Rejected;
        };
        let now_ms = self.time.now_ms();
        match self.state.spend_sequence(partition, stamp, reason, now_ms) {
            Ok(SpendDecision::Spend(row)) => {
                self.push_rows(vec![row], draft);
                AppendAnswer::Spent { reason }
            }
            Ok(SpendDecision::Repeated(outcome)) => repeat(outcome),
            Err(refusal) => AppendAnswer::Refused(refusal),
        }
    }

    fn decide_append(&mut self, command: DataCommand, draft: &mut Draft) -> Verdict {
        let DataCommand::Append {
            request,
            payload,
            sink,
            ticket,
            permits,
        } = command
        else {
            return Verdict::Answered;
        };
        let placing = draft.placing(request.partition);
        let now_ms = self.time.now_ms();
        let decision = self.state.append(&request, placing, self.next_lsn, now_ms);
        let answer = match decision {
            Ok(AppendDecision::Append(line)) => {
                let batch = accepted(&line);
                self.push_appends(vec![Append { line, payload }], draft);
                AppendAnswer::Accepted {
                    batch,
                    is_duplicate: false,
                }
            }
            Ok(AppendDecision::Repeated(outcome)) => repeat(outcome),
            Ok(AppendDecision::Wait(needs)) => {
                let command = DataCommand::Append {
                    request,
                    payload,
                    sink,
                    ticket,
                    permits,
                };
                return Verdict::Wait(command, request.partition, needs);
            }
            Err(refusal) => {
                let spent = self.state.spend_on(&refusal, &request, now_ms);
                match spent {
                    Some(row) => {
                        self.push_rows(vec![row], draft);
                        AppendAnswer::RefusedFinally(refusal)
                    }
                    None => AppendAnswer::Refused(refusal),
                }
            }
        };
        draft.answers.push(PendingAnswer::Append {
            sink,
            ticket,
            answer,
            permits,
        });
        Verdict::Answered
    }

    fn decide_publish(&mut self, command: DataCommand, draft: &mut Draft) -> Verdict {
        let DataCommand::Publish {
            appends,
            letters,
            answer,
            permits,
        } = command
        else {
            return Verdict::Answered;
        };
        let (lsn, append_time_ms) = (self.next_lsn, self.time.now_ms());
        let result = match self.place_all(&appends, lsn, append_time_ms) {
            Ok(Ok(lines)) => {
                let settled = match letters {
                    Some(Republished {
                        subscription,
                        partition,
                        letters,
                    }) => self.state.republish(subscription, partition, &letters),
                    None => Some(Vec::new()),
                };
                let mut base_offsets = Vec::new();
                if let Some(rows) = settled {
                    self.apply_rows(&rows);
                    base_offsets.extend(lines.iter().map(|line| line.frame.base_offset));
                    let appends = lines.into_iter().zip(appends);
                    let appends = appends.map(|(line, (_, payload))| Append { line, payload });
                    self.push_entry(appends.collect(), rows, draft);
                }
                Ok(Published {
                    base_offsets,
                    lsn,
                    append_time_ms,
                })
            }
            Ok(Err((partition, needs))) => {
                let command = DataCommand::Publish {
                    appends,
                    letters,
                    answer,
                    permits,
                };
                return Verdict::Wait(command, partition, needs);
            }
            Err(refusal) => Err(refusal),
        };
        draft.answers.push(PendingAnswer::Publish {
            answer,
            result,
            permits,
        });
        Verdict::Answered
    }

    /// Appends dead letters and settles their records, with one entry.
    fn decide_burial(
        &mut self,
        burial: Box<Burial>,
        permits: Permits,
        draft: &mut Draft,
    ) -> Verdict {
        let now_ms = self.time.now_ms();
        let request = &burial.request;
        if let Err(full) = self.state.check_letters(request.partition.topic) {
            let (id, failure) = (burial.subscription, BurialFailure::of_all(full));
            self.state.burial_failed(id, &burial.wish, failure, now_ms);
            return Verdict::Answered;
        }
        let placed = self.state.append_letters(request, self.next_lsn, now_ms);
        match placed {
            Ok(AppendDecision::Append(line)) => {
                let Burial {
                    subscription,
                    wish,
                    payload,
                    ..
                } = *burial;
                let base = line.frame.base_offset;
                // Else the subscription was moved or deleted meanwhile.
                if let Some(rows) = self.state.bury(subscription, &wish, base) {
                    self.apply_rows(&rows);
                    self.push_entry(vec![Append { line, payload }], rows, draft);
                }
            }
            Ok(AppendDecision::Wait(needs)) => {
                let partition = request.partition;
                return Verdict::Wait(DataCommand::Bury { burial, permits }, partition, needs);
            }
            // Dead letters carry no sequence.
            Ok(AppendDecision::Repeated(_)) => {}
            Err(refusal) => {
                let Burial {
                    subscription, wish, ..
                } = *burial;
                let failure = BurialFailure::of_all(refusal);
                self.state
                    .burial_failed(subscription, &wish, failure, now_ms);
            }
        }
        Verdict::Answered
    }

    /// Finds a place for each batch of one entry: all of them, or the first that must wait.
    fn place_all(
        &self,
        appends: &[(AppendRequest, Bytes)],
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<Result<Vec<DirectoryLine>, (PartitionRef, PlacementError)>, AppendRefusal> {
        let mut lines = Vec::with_capacity(appends.len());
        for (request, _) in appends {
            match self.state.append(request, Placing::Inline, lsn, now_ms)? {
                AppendDecision::Append(line) => lines.push(line),
                AppendDecision::Wait(needs) => return Ok(Err((request.partition, needs))),
                // Published batches carry no sequence.
                AppendDecision::Repeated(_) => {}
            }
        }
        Ok(Ok(lines))
    }

    /// Appends, commits offsets and settles with one entry, or does nothing at all.
    fn decide_commit(&mut self, commit: Box<CommitCommand>, draft: &mut Draft) -> Verdict {
        let (lsn, now_ms) = (self.next_lsn, self.time.now_ms());
        let result = match self.state.decide_commit(&commit.wish, lsn, now_ms) {
            Ok(CommitDecision::Wait(partition, needs)) => {
                return Verdict::Wait(DataCommand::Commit(commit), partition, needs);
            }
            Ok(CommitDecision::Commit(lines)) => {
                let bases = lines.iter().map(|line| line.frame.base_offset);
                let base_offsets: Vec<_> = bases.collect();
                let mut rows = self.carry_out_commit(&commit.wish, draft);
                let (scheduled, schedules) = self.schedule(&commit.wish);
                rows.extend(scheduled);
                if let Some(key) = &commit.wish.key {
                    let told = (&base_offsets[..], &schedules[..]);
                    let known = self.state.remember_commit(key, told, lsn, now_ms);
                    self.apply_rows(&known);
                    rows.extend(known);
                }
                let appends = lines.into_iter().zip(commit.payloads);
                let appends = appends.map(|(line, payload)| Append { line, payload });
                self.push_entry(appends.collect(), rows, draft);
                Ok(Committed {
                    published: Published {
                        base_offsets,
                        lsn,
                        append_time_ms: now_ms,
                    },
                    schedules,
                    repeated: None,
                })
            }
            Ok(CommitDecision::Repeated(before)) => Ok(Committed {
                published: Published {
                    base_offsets: before.base_offsets,
                    lsn: before.lsn,
                    append_time_ms: before.time_ms,
                },
                schedules: before.schedules,
                repeated: Some(before.told),
            }),
            Err(refused) => Err(refused),
        };
        draft.answers.push(PendingAnswer::Commit {
            answer: commit.answer,
            result,
            permits: commit.permits,
        });
        Verdict::Answered
    }

    /// Does what a commit says beside its batches. Returns the rows, which were applied.
    fn carry_out_commit(&mut self, wish: &CommitWish, draft: &mut Draft) -> Vec<Row> {
        let now_ms = self.time.now_ms();
        let mut rows = self.state.commit_rows(wish, now_ms);
        self.apply_rows(&rows);
        for settlement in wish.settlements_in_order() {
            let id = settlement.subscription;
            let settled = self
                .state
                .settle_deliveries(id, &settlement.settlement, now_ms);
            let (expired, mut decision) = settled;
            debug_assert!(expired.is_empty(), "checked before: {settlement:?}");
            let of_it = std::mem::take(&mut decision.rows);
            self.apply_rows(&of_it);
            rows.extend(of_it);
            self.follow_subscription(id, decision, draft);
        }
        rows
    }

    /// Adds an entry of batches to the round and applies it.
    fn push_appends(&mut self, appends: Vec<Append>, draft: &mut Draft) {
        self.push_entry(appends, Vec::new(), draft);
    }

    /// The same with rows, which were applied.
    pub(super) fn push_entry(&mut self, appends: Vec<Append>, rows: Vec<Row>, draft: &mut Draft) {
        for append in &appends {
            self.state.apply_append(&append.line);
            draft.note(&append.line);
            self.step_ahead(append.line.place.segment.partition, draft);
        }
        let lsn = self.take_lsn();
        draft.round.push(lsn, self.time.now_ms(), appends, rows);
    }

    fn step_ahead(&mut self, partition: PartitionRef, draft: &mut Draft) {
        let topic = self.state.topic(partition.topic);
        let limit = topic.map_or(0, |topic| topic.segment_bytes_max(self.state.limits()));
        let active = self.state.partition(partition).and_then(|it| it.active());
        if let Some(allocated_end) = active.and_then(|active| step_ahead(active, limit)) {
            self.wish(partition, allocated_end, draft);
        }
    }

    fn line_up(
        &mut self,
        command: DataCommand,
        partition: PartitionRef,
        needs: PlacementError,
        draft: &mut Draft,
    ) {
        match needs {
            PlacementError::NeedsSegment => self.roll(partition, draft),
            PlacementError::NeedsSpace { allocated_end } => {
                self.wish(partition, allocated_end, draft);
            }
        }
        self.lines.entry(partition).or_default().push_back(command);
    }

    /// Whether `room` more bytes of entries fit into the round.
    pub(super) fn fits(&self, draft: &Draft, room: u64) -> bool {
        draft.round.journal_bytes() + room + ENTRY_OVERHEAD_BYTES <= self.journal.round_bytes_max()
    }

    /// Asks for a journal file that holds what is first in the backlog.
    fn ask_for_room(&mut self, draft: &mut Draft) {
        let round_bytes = self.backlog.front().map_or(0, room_of) + 2 * RESERVE_BYTES;
        if self.journal_wish == JournalWish::None && draft.round.is_empty() {
            self.journal_wish = JournalWish::Asked;
            draft
                .settle_work
                .push(SettleWork::JournalFile { round_bytes });
        }
    }
}

impl Draft {
    fn placing(&self, partition: PartitionRef) -> Placing {
        match self.run {
            Some(Run {
                partition: of,
                segment: None,
            }) if of == partition => Placing::RunStart,
            Some(Run {
                partition: of,
                segment: Some(_),
            }) if of == partition => Placing::RunRest,
            _ => Placing::Inline,
        }
    }

    fn note(&mut self, line: &DirectoryLine) {
        self.appended_bytes += line.frame.padded_bytes();
        let segment = line.place.segment;
        let Some(run) = self
            .run
            .as_mut()
            .filter(|run| run.partition == segment.partition)
        else {
            return;
        };
        match line.form {
            FrameForm::Reference => {
                run.segment.get_or_insert(segment);
            }
            // Nothing may lie between the batches of a run: what comes behind this goes inline too.
            FrameForm::Inline => self.run = None,
        }
    }
}

fn room_of(command: &DataCommand) -> u64 {
    let rows = match command {
        DataCommand::Reject { .. } | DataCommand::BuryFailed { .. } => PRODUCER_ROW_BYTES,
        // One that is refused for good spends its sequence.
        DataCommand::Append { request, .. } if request.expected.is_some() => PRODUCER_ROW_BYTES,
        DataCommand::Commit(commit) => ENTRY_OVERHEAD_BYTES + commit.row_bytes() as u64,
        DataCommand::Fire(fire) => ENTRY_OVERHEAD_BYTES + fire.row_bytes() as u64,
        DataCommand::Reschedule(command) => {
            ENTRY_OVERHEAD_BYTES + command.row_bytes(RECORD_BYTES_MAX) as u64
        }
        DataCommand::Append { .. } | DataCommand::Publish { .. } | DataCommand::Bury { .. } => 0,
    };
    let appends = command.appends();
    let appends = appends.map(|(_, payload)| payload.len() as u64 + ENTRY_OVERHEAD_BYTES);
    rows + appends.sum::<u64>()
}

fn accepted(line: &DirectoryLine) -> AcceptedBatch {
    AcceptedBatch {
        base_offset: line.frame.base_offset,
        record_count: line.frame.record_count,
        lsn: line.frame.lsn,
        append_time_ms: line.frame.append_time_ms,
    }
}

/// What a repeated batch is answered with.
fn repeat(outcome: Outcome) -> AppendAnswer {
    match outcome {
        Outcome::Accepted(batch) => AppendAnswer::Accepted {
            batch,
            is_duplicate: true,
        },
        Outcome::Spent { reason } => AppendAnswer::Spent { reason },
    }
}
