//! Scheduled records: reading ahead, delivering those that are due, cancelling and moving.

use towpath_storage::{Append, Placing, Row, TopicId};

use super::super::command::DataCommand;
use super::super::inspect::InspectWork;
use super::super::schedule_command::{
    AnsweredSchedule, Fire, RescheduleCommand, ScheduleChanges, ScheduleCommand,
};
use super::super::schedules::ScheduleJob;
use super::Sequencer;
use super::admission::AdmittedBatches;
use super::data::Verdict;
use super::draft::{Draft, PendingAnswer};
use crate::core::{
    AppendDecision, AppendRefusal, CommitWish, FireFailure, RescheduleRefusal, ScheduleKey,
};

impl Sequencer {
    /// Asks for what is due, and for what is due next.
    pub(super) fn step_schedules(&mut self, draft: &mut Draft) {
        let now_ms = self.time.now_ms();
        let step = self.state.step_schedules(now_ms);
        self.shared.metrics.schedules.note(&self.state, now_ms);
        let refill = step.refill.map(ScheduleJob::Refill);
        let fire = (!step.due.is_empty()).then_some(ScheduleJob::Fire(step.due));
        let jobs = refill.into_iter().chain(fire);
        draft.inspections.extend(jobs.map(InspectWork::Schedule));
    }

    /// Decides on one command about scheduled records.
    pub(super) fn take_schedule_command(&mut self, command: ScheduleCommand, draft: &mut Draft) {
        match command {
            // What it carries is good for as long as the snapshot is held.
            ScheduleCommand::Refilled { refill, snapshot } => {
                self.state.take_refill(refill, self.time.now_ms());
                drop(snapshot);
            }
            ScheduleCommand::Cancel {
                wish,
                snapshot,
                answer,
            } => {
                let cancelled = self.state.cancel_schedule(&wish);
                let result = cancelled.map(|(key, rows)| {
                    self.push_rows(rows, draft);
                    key
                });
                drop(snapshot);
                let answered = AnsweredSchedule::Cancel(answer, result);
                draft.answers.push(PendingAnswer::Schedule(answered));
            }
            ScheduleCommand::List {
                from,
                topic,
                count_max,
                answer,
            } => {
                let changes = self.schedule_changes(from, topic, count_max);
                let answered = AnsweredSchedule::List(answer, changes);
                draft.answers.push(PendingAnswer::Schedule(answered));
            }
        }
    }

    fn schedule_changes(
        &self,
        from: ScheduleKey,
        topic: Option<TopicId>,
        count_max: usize,
    ) -> ScheduleChanges {
        let mut rows = self.state.schedule_rows_between(from, None);
        let changed = rows.by_ref().take(count_max);
        let changed = changed.map(|(key, value)| (key, value.cloned()));
        let changed = changed.collect();
        let until = rows.next().map(|(key, _)| key);
        let counts = match topic {
            Some(topic) => self.state.topic_schedule_counts(topic),
            None => self.state.schedule_counts(),
        };
        ScheduleChanges {
            changed,
            until,
            counts,
        }
    }

    /// Schedules what a commit says. Returns the rows, which were applied, and where each record stands.
    pub(super) fn schedule(&mut self, wish: &CommitWish) -> (Vec<Row>, Vec<ScheduleKey>) {
        let (rows, keys) = self
            .state
            .schedule_rows(&wish.schedules, self.time.now_ms());
        self.apply_rows(&rows);
        (rows, keys)
    }

    /// Decides to make a record due at another time.
    pub(super) fn decide_reschedule(
        &mut self,
        command: RescheduleCommand,
        draft: &mut Draft,
    ) -> Verdict {
        let RescheduleCommand {
            wish, when, answer, ..
        } = command;
        let moved = self.state.reschedule(&wish, when, self.time.now_ms());
        let result = moved.map(|(key, rows)| {
            self.push_rows(rows, draft);
            key
        });
        let answered = AnsweredSchedule::Reschedule(answer, result);
        draft.answers.push(PendingAnswer::Schedule(answered));
        Verdict::Answered
    }

    /// Appends due records and takes them away, with one entry.
    pub(super) fn decide_fire(&mut self, fire: Box<Fire>, draft: &mut Draft) -> Verdict {
        let now_ms = self.time.now_ms();
        self.state.set_aside(&fire.unreadable, now_ms);
        let keys = fire.all_keys();
        if !self.state.are_pending(&keys) {
            self.state.fire_failed(&[], &FireFailure::Changed, now_ms);
            return Verdict::Answered;
        }
        let admitted = match fire.facts.as_deref() {
            Some(facts) => self.admit_each(&fire.batches, facts),
            None => Ok(AdmittedBatches::of_unwatched(&fire.batches)),
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            // Nothing is expected of them.
            Err(refusal) => return self.fire_refused(&keys, refusal),
        };
        let mut lines = Vec::with_capacity(fire.batches.len());
        for (request, _) in admitted.appends.iter().flatten() {
            let partition = request.partition;
            let placed = self
                .state
                .append(request, Placing::Inline, self.next_lsn, now_ms);
            match placed {
                Ok(AppendDecision::Append(line)) => lines.push(line),
                Ok(AppendDecision::Wait(needs)) => {
                    return Verdict::Wait(DataCommand::Fire(fire), partition, needs);
                }
                // Scheduled records carry no sequence.
                Ok(AppendDecision::Repeated(_)) => {}
                Err(refusal) => {
                    tracing::warn!(%partition, %refusal, "due records cannot be appended");
                    return self.fire_refused(fire.keys_of(partition), refusal);
                }
            }
        }
        let mut rows = self.state.fire(&keys);
        if keys.is_empty() {
            return Verdict::Answered;
        }
        rows.extend(admitted.rows);
        self.apply_rows(&rows);
        let metrics = &self.shared.metrics.schedules;
        metrics.note_delivered(lines.iter().map(|line| line.frame.record_count).sum());
        let metrics = &self.shared.metrics;
        for unwritten in &admitted.unwritten {
            metrics.note_looked_at(unwritten, 0);
        }
        metrics.note_looked_at(&[], admitted.marked_count);
        let stale: usize = admitted.unwritten.iter().map(Vec::len).sum();
        if stale > 0 {
            tracing::warn!(
                count = stale,
                "due records bring old versions of their entities"
            );
        }
        let payloads = admitted.appends.into_iter().flatten();
        let appends = lines.into_iter().zip(payloads);
        let appends = appends.map(|(line, (_, payload))| Append { line, payload });
        self.push_entry(appends.collect(), rows, draft);
        Verdict::Answered
    }

    fn fire_refused(&mut self, keys: &[ScheduleKey], refusal: AppendRefusal) -> Verdict {
        let failure = FireFailure::Refused(refusal);
        let now_ms = self.time.now_ms();
        self.state.fire_failed(keys, &failure, now_ms);
        Verdict::Answered
    }

    /// Due records have no room: they are tried again later.
    pub(super) fn fire_refused_full(&mut self) {
        let failure = FireFailure::Refused(AppendRefusal::StorageFull);
        let now_ms = self.time.now_ms();
        self.state.fire_failed(&[], &failure, now_ms);
    }
}

/// Refuses for want of space.
pub(super) fn refuse_reschedule(command: RescheduleCommand, draft: &mut Draft) {
    let result = Err(RescheduleRefusal::StorageFull);
    let answered = AnsweredSchedule::Reschedule(command.answer, result);
    draft.answers.push(PendingAnswer::Schedule(answered));
}
