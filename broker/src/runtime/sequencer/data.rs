//! Batches: deciding on each, waiting for room, choosing what goes by reference.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use towpath_proto::limits::RECORD_BYTES_MAX;
use towpath_storage::{
    Append, DirectoryLine, FrameForm, Lsn, Offset, PartitionRef, PlacementError, Placing,
    ProducerStamp, Row, StateMachine, step_ahead,
};

use super::super::bury::Burial;
use super::super::command::{
    AppendAnswer, CarriedFacts, CommitCommand, Committed, DataCommand, Permits, Published,
    Republished,
};
use super::admission::AdmittedBatches;
use super::draft::{Draft, PendingAnswer, Run};
use super::{JournalWish, RESERVE_BYTES, Sequencer};
use crate::core::{
    AcceptedBatch, AppendDecision, AppendRefusal, AppendRequest, BurialFailure, CommitDecision,
    CommitRefused, CommitWish, Outcome, SpendDecision,
};

/// What an entry takes beside its batches' bytes: header, directory line, frame header, padding.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// What the row of a producer takes at most: a window of outcomes.
const PRODUCER_ROW_BYTES: u64 = 8 * 1024;

/// What was decided on a batch.
pub(super) enum Decided {
    /// This is the answer.
    Answer(AppendAnswer),
    /// It must wait until its partition has room.
    Wait(PlacementError),
}

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
            // What waited in a line comes at once, and may be several rounds.
            if draft.appended_bytes >= self.limits.round_bytes_max as u64 {
                data.push_front(command);
                self.backlog = data;
                return;
            }
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

    /// The partition with the longest run in the round, if it is long enough to be written once. What waited
    /// in lines may be several rounds, of which only the first counts.
    fn choose_run(&self, data: &VecDeque<DataCommand>) -> Option<Run> {
        let mut bytes_of: BTreeMap<PartitionRef, usize> = BTreeMap::new();
        let mut round_bytes = 0;
        for command in data {
            if round_bytes >= self.limits.round_bytes_max {
                break;
            }
            let payloads = command.appends().map(|(_, payload)| payload.len());
            round_bytes += payloads.sum::<usize>();
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
        if !self.fits_data(draft, &command) {
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
            Ok(SpendDecision::Repeated(outcome)) => {
                self.recall(partition, Some(stamp), outcome, None)
            }
            Err(refusal) => AppendAnswer::Refused(refusal),
        }
    }

    fn decide_append(&mut self, command: DataCommand, draft: &mut Draft) -> Verdict {
        let DataCommand::Append {
            request,
            payload,
            facts,
            sink,
            ticket,
            permits,
        } = command
        else {
            return Verdict::Answered;
        };
        let decided = match &facts {
            None => self.append_unwatched(&request, payload.clone(), draft),
            Some(facts) => self.append_watched(&request, &payload, facts, draft),
        };
        let answer = match decided {
            Ok(Decided::Answer(answer)) => answer,
            Ok(Decided::Wait(needs)) => {
                let command = DataCommand::Append {
                    request,
                    payload,
                    facts,
                    sink,
                    ticket,
                    permits,
                };
                return Verdict::Wait(command, request.partition, needs);
            }
            Err(refusal) => {
                let now_ms = self.time.now_ms();
                match self.state.spend_on(&refusal, &request, now_ms) {
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

    /// Appends a batch whose records nobody looks at.
    pub(super) fn append_unwatched(
        &mut self,
        request: &AppendRequest,
        payload: Bytes,
        draft: &mut Draft,
    ) -> Result<Decided, AppendRefusal> {
        let placing = draft.placing(request.partition);
        let now_ms = self.time.now_ms();
        let decision = self.state.append(request, placing, self.next_lsn, now_ms)?;
        Ok(match decision {
            AppendDecision::Append(line) => {
                let batch = accepted(&line);
                self.push_appends(vec![Append { line, payload }], draft);
                Decided::Answer(AppendAnswer::Accepted {
                    batch,
                    is_duplicate: false,
                    unwritten: Vec::new(),
                })
            }
            // Its topic may have looked at records when it came first.
            AppendDecision::Repeated(outcome) => {
                Decided::Answer(self.recall(request.partition, request.producer, outcome, None))
            }
            AppendDecision::Wait(needs) => Decided::Wait(needs),
        })
    }

    fn decide_publish(&mut self, command: DataCommand, draft: &mut Draft) -> Verdict {
        let DataCommand::Publish {
            appends,
            facts,
            letters,
            answer,
            permits,
        } = command
        else {
            return Verdict::Answered;
        };
        let result = match self.append_all(&appends, facts.as_deref(), letters.as_ref(), draft) {
            Ok(Ok(published)) => Ok(published),
            Ok(Err((partition, needs))) => {
                let command = DataCommand::Publish {
                    appends,
                    facts,
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

    /// Appends batches with one entry; says which partition must wait if one has to.
    fn append_all(
        &mut self,
        appends: &[(AppendRequest, Bytes)],
        facts: Option<&CarriedFacts>,
        letters: Option<&Republished>,
        draft: &mut Draft,
    ) -> Result<Result<Published, (PartitionRef, PlacementError)>, AppendRefusal> {
        let (lsn, append_time_ms) = (self.next_lsn, self.time.now_ms());
        let admitted = match facts {
            Some(facts) => self.admit_all(appends, facts)?,
            None => AdmittedBatches::of_unwatched(appends),
        };
        let requests = admitted
            .appends
            .iter()
            .flatten()
            .map(|(request, _)| request);
        let lines = match self.place_all(requests, lsn, append_time_ms)? {
            Ok(lines) => lines,
            Err(waits) => return Ok(Err(waits)),
        };
        let settled = match letters {
            Some(Republished {
                subscription,
                partition,
                letters,
            }) => self.state.republish(*subscription, *partition, letters),
            None => Some(Vec::new()),
        };
        let Some(mut rows) = settled else {
            return Ok(Ok(Published {
                base_offsets: Vec::new(),
                unwritten: Vec::new(),
                lsn,
                append_time_ms,
            }));
        };
        let base_offsets = self.base_offsets(appends);
        self.note_looked_at(&admitted);
        rows.extend(admitted.rows);
        let is_written = !lines.is_empty() || !rows.is_empty();
        if is_written {
            self.apply_rows(&rows);
            let payloads = admitted.appends.into_iter().flatten();
            let appends = lines.into_iter().zip(payloads);
            let appends = appends.map(|(line, (_, payload))| Append { line, payload });
            self.push_entry(appends.collect(), rows, draft);
        }
        Ok(Ok(Published {
            base_offsets,
            unwritten: admitted.unwritten,
            // What was there already is in an entry before.
            lsn: if is_written { lsn } else { self.last_lsn() },
            append_time_ms,
        }))
    }

    fn note_looked_at(&self, admitted: &AdmittedBatches) {
        let metrics = &self.shared.metrics;
        for unwritten in &admitted.unwritten {
            metrics.note_looked_at(unwritten, 0);
        }
        metrics.note_looked_at(&[], admitted.marked_count);
    }

    /// Where batches begin that are appended now: at the ends of their partitions.
    fn base_offsets(&self, appends: &[(AppendRequest, Bytes)]) -> Vec<Offset> {
        let partitions = appends.iter().map(|(request, _)| request.partition);
        let ends = partitions.map(|it| {
            self.state
                .partition(it)
                .map_or(Offset::new(0), |it| it.end())
        });
        ends.collect()
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
    fn place_all<'a>(
        &self,
        requests: impl Iterator<Item = &'a AppendRequest>,
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<Result<Vec<DirectoryLine>, (PartitionRef, PlacementError)>, AppendRefusal> {
        let mut lines = Vec::new();
        for request in requests {
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
        let result = match self.commit_all(&commit, draft) {
            Ok(Ok(committed)) => Ok(committed),
            Ok(Err((partition, needs))) => {
                return Verdict::Wait(DataCommand::Commit(commit), partition, needs);
            }
            Err(refused) => Err(refused),
        };
        draft.answers.push(PendingAnswer::Commit {
            answer: commit.answer,
            result,
            permits: commit.permits,
        });
        Verdict::Answered
    }

    /// The same; says which partition must wait if one has to.
    fn commit_all(
        &mut self,
        commit: &CommitCommand,
        draft: &mut Draft,
    ) -> Result<Result<Committed, (PartitionRef, PlacementError)>, CommitRefused> {
        let (lsn, now_ms) = (self.next_lsn, self.time.now_ms());
        if let Some(key) = &commit.wish.key
            && let Some(before) = self.state.repeated_commit(key, now_ms)?
        {
            return Ok(Ok(Committed {
                published: Published {
                    base_offsets: before.base_offsets,
                    unwritten: before.unwritten,
                    lsn: before.lsn,
                    append_time_ms: before.time_ms,
                },
                schedules: before.schedules,
                repeated: Some(before.told),
            }));
        }
        let appends: Vec<_> = commit.appends_with_payloads().collect();
        let admitted = match commit.facts.as_deref() {
            Some(facts) => self
                .admit_all(&appends, facts)
                .map_err(CommitRefused::by_records)?,
            None => AdmittedBatches::of_unwatched(&appends),
        };
        let cut = admitted.cut(&commit.wish);
        let wish = cut.as_ref();
        let lines = match self.state.decide_commit(wish, lsn, now_ms)? {
            CommitDecision::Commit(lines) => lines,
            CommitDecision::Wait(partition, needs) => return Ok(Err((partition, needs))),
        };
        let base_offsets = self.base_offsets(&appends);
        self.note_looked_at(&admitted);
        let mut rows = self.carry_out_commit(wish, draft);
        let (scheduled, schedules) = self.schedule(wish);
        rows.extend(scheduled);
        let unwritten = admitted.unwritten;
        let mut known = admitted.rows;
        if let Some(key) = &wish.key {
            let remembered = self.state.remember_commit(
                key,
                (&base_offsets, &unwritten),
                &schedules,
                lsn,
                now_ms,
            );
            known.extend(remembered);
        }
        self.apply_rows(&known);
        rows.extend(known);
        let payloads = admitted.appends.into_iter().flatten();
        let appends = lines.into_iter().zip(payloads);
        let appends = appends.map(|(line, (_, payload))| Append { line, payload });
        self.push_entry(appends.collect(), rows, draft);
        Ok(Ok(Committed {
            published: Published {
                base_offsets,
                unwritten,
                lsn,
                append_time_ms: now_ms,
            },
            schedules,
            repeated: None,
        }))
    }

    /// Does what a commit says beside its batches. Returns the rows, which were applied.
    fn carry_out_commit(&mut self, wish: &CommitWish, draft: &mut Draft) -> Vec<Row> {
        let now_ms = self.time.now_ms();
        let mut rows = self.state.commit_rows(wish, now_ms);
        self.apply_rows(&rows);
        for (id, settlement) in wish.settlements_in_order() {
            let settled = self.state.settle_deliveries(id, &settlement, now_ms);
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

    /// Whether the entry of a batch fits into the round, beside what is kept for commands that make room.
    pub(super) fn fits_data(&self, draft: &Draft, command: &DataCommand) -> bool {
        self.fits(draft, room_of(command) + RESERVE_BYTES)
    }

    /// Whether `room` more bytes of entries fit into the round.
    pub(super) fn fits(&self, draft: &Draft, room: u64) -> bool {
        draft.round.journal_bytes() + room + ENTRY_OVERHEAD_BYTES <= self.journal.round_bytes_max()
    }

    /// Asks for a journal file that holds what is first in the backlog.
    fn ask_for_room(&mut self, draft: &mut Draft) {
        let round_bytes = self.backlog.front().map_or(0, room_of) + 2 * RESERVE_BYTES;
        if self.journal_wish == JournalWish::None && draft.round.is_empty() {
            self.ask_for_journal_file(round_bytes, draft);
        }
    }
}

impl Draft {
    pub(super) fn placing(&self, partition: PartitionRef) -> Placing {
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
        DataCommand::Append { request, facts, .. }
            if request.expected.is_some() || facts.is_some() =>
        {
            PRODUCER_ROW_BYTES + command.record_row_bytes().unwrap_or(0) as u64
        }
        DataCommand::Commit(commit) => ENTRY_OVERHEAD_BYTES + commit.row_bytes() as u64,
        DataCommand::Fire(fire) => ENTRY_OVERHEAD_BYTES + fire.row_bytes() as u64,
        DataCommand::Reschedule(command) => {
            ENTRY_OVERHEAD_BYTES + command.row_bytes(RECORD_BYTES_MAX) as u64
        }
        DataCommand::Publish { .. } => command.record_row_bytes().unwrap_or(0) as u64,
        DataCommand::Append { .. } | DataCommand::Bury { .. } => 0,
    };
    let overhead_bytes = command.appends().count() as u64 * ENTRY_OVERHEAD_BYTES;
    rows + overhead_bytes + command.batch_bytes_max() as u64
}

pub(super) fn accepted(line: &DirectoryLine) -> AcceptedBatch {
    AcceptedBatch {
        base_offset: line.frame.base_offset,
        record_count: line.frame.record_count,
        lsn: line.frame.lsn,
        append_time_ms: line.frame.append_time_ms,
    }
}

/// What a repeated batch is answered with.
pub(super) fn repeat(outcome: Outcome) -> AppendAnswer {
    match outcome {
        Outcome::Accepted(batch) => AppendAnswer::Accepted {
            batch,
            is_duplicate: true,
            unwritten: Vec::new(),
        },
        Outcome::Spent { reason } => AppendAnswer::Spent { reason },
    }
}
