//! Commands that change something else than records.

use std::collections::VecDeque;
use std::sync::Arc;

use towpath_proto::names::TopicName;
use towpath_storage::{
    FIRST_STEP_BYTES, Offset, PartitionRef, Row, SegmentRef, SegmentWish, TopicId,
};

use super::super::command::{
    Answer, ControlCommand, DataCommand, OpenTopicRefusal, OpenedTopic, TrimmedTopic, UpdatedTopic,
};
use super::super::published::TopicView;
use super::super::settle::SettleWork;
use super::Sequencer;
use super::draft::{Draft, PendingAnswer, TableChange};
use crate::core::{
    CreateTopic, CreateTopicRefusal, DeleteTopicRefusal, ProducerLife, TopicNotFound,
    TopicSettings, TrimRefusal, TrimTopic, UpdateTopic, UpdateTopicRefusal,
};

/// Segments that one entry drops at most: with the rest of its rows it stays below
/// [`super::CONTROL_ROOM_BYTES`].
const DROPPED_PER_ENTRY_MAX: usize = 128;

impl Sequencer {
    /// Decides on one control command. Batches whose partition it changes go to `data`.
    pub(super) fn take_control(
        &mut self,
        command: ControlCommand,
        draft: &mut Draft,
        data: &mut VecDeque<DataCommand>,
    ) {
        match command {
            ControlCommand::CreateTopic {
                wish,
                is_dry_run,
                answer,
            } => self.create_topic(&wish, is_dry_run, answer, draft),
            ControlCommand::DeleteTopic {
                name,
                topic_id,
                is_dry_run,
                answer,
            } => {
                let result = self.delete_topic(&name, topic_id, is_dry_run, draft, data);
                let pending = PendingAnswer::DeleteTopic { answer, result };
                draft.answers.push(pending);
            }
            ControlCommand::OpenTopic {
                name,
                topic_id,
                producer,
                answer,
            } => {
                let result = self.open_topic(&name, topic_id, producer);
                let pending = PendingAnswer::OpenTopic { answer, result };
                draft.answers.push(pending);
            }
            ControlCommand::UpdateTopic {
                wish,
                is_dry_run,
                answer,
            } => {
                let result = self.update_topic(&wish, is_dry_run, draft);
                let pending = PendingAnswer::UpdateTopic { answer, result };
                draft.answers.push(pending);
            }
            ControlCommand::TrimTopic {
                wish,
                is_dry_run,
                answer,
                ..
            } => {
                let result = self.trim_topic(&wish, is_dry_run, draft);
                let pending = PendingAnswer::TrimTopic { answer, result };
                draft.answers.push(pending);
            }
            ControlCommand::Producer(command) => self.take_producer_command(command, draft),
            ControlCommand::FindCommit { key, answer } => {
                let result = self.state.repeated_commit(&key, self.time.now_ms());
                let answer = PendingAnswer::FindCommit { answer, result };
                draft.answers.push(answer);
            }
            ControlCommand::FindKey { wish, answer } => {
                let found = self.state.changed_key(&wish);
                draft.answers.push(PendingAnswer::FindKey { answer, found });
            }
            ControlCommand::Group(command) => self.take_group_command(command, draft),
            ControlCommand::Subscription(command) => {
                self.take_subscription_command(command, draft, data);
            }
            ControlCommand::Schedule(command) => self.take_schedule_command(command, draft),
            ControlCommand::CompactTopic { wish, answer } => {
                self.compact_topic(&wish, answer, draft);
            }
            ControlCommand::SwapSegments { compacted, verdict } => {
                self.swap_segments(&compacted, &verdict, draft);
            }
            ControlCommand::ForgetDropped { topics, segments } => {
                self.forget_dropped(&topics, &segments, draft);
            }
        }
    }

    fn forget_dropped(&mut self, topics: &[TopicId], segments: &[SegmentRef], draft: &mut Draft) {
        let mut rows = self.state.forget_dropped(topics);
        rows.extend(self.state.forget_dropped_segments(segments));
        self.push_rows(rows, draft);
    }

    fn create_topic(
        &mut self,
        wish: &CreateTopic,
        is_dry_run: bool,
        answer: Answer<Option<Arc<TopicView>>, CreateTopicRefusal>,
        draft: &mut Draft,
    ) {
        match self.state.create_topic(wish, self.time.now_ms()) {
            Ok((topic, rows)) if !is_dry_run => {
                self.push_rows(rows, draft);
                if let Some(topic) = self.state.topic(topic) {
                    let view = Arc::new(TopicView::new(topic));
                    draft.table_changes.push(TableChange::Created(view, answer));
                }
            }
            result => {
                let result = result.map(|_| None);
                let pending = PendingAnswer::CreateTopic { answer, result };
                draft.answers.push(pending);
            }
        }
    }

    fn delete_topic(
        &mut self,
        name: &TopicName,
        topic_id: Option<TopicId>,
        is_dry_run: bool,
        draft: &mut Draft,
        data: &mut VecDeque<DataCommand>,
    ) -> Result<Arc<TopicView>, DeleteTopicRefusal> {
        let (id, rows) = self.state.delete_topic(name, topic_id)?;
        let view = self.view(id, name)?;
        if !is_dry_run {
            self.push_rows(rows, draft);
            self.drop_topic(id, draft, data);
        }
        Ok(view)
    }

    fn update_topic(
        &mut self,
        wish: &UpdateTopic,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<UpdatedTopic, UpdateTopicRefusal> {
        let (id, config, rows) = self.state.update_topic(wish)?;
        let not_found = || UpdateTopicRefusal::NotFound {
            name: wish.name.clone(),
        };
        let topic = self.table.with_id(id).map(Arc::clone);
        let topic = topic.ok_or_else(not_found)?;
        let is_changed = !is_dry_run && !rows.is_empty();
        if is_changed {
            self.push_rows(rows, draft);
        }
        let now = self.state.topic(id).ok_or_else(not_found)?.settings();
        if is_changed {
            draft.table_changes.push(TableChange::Updated(now));
        }
        let settings = TopicSettings { config, ..now };
        Ok(UpdatedTopic { topic, settings })
    }

    fn trim_topic(
        &mut self,
        wish: &TrimTopic,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<TrimmedTopic, TrimRefusal> {
        let (id, trimmed) = self.state.trim_topic(wish)?;
        let not_found = || TrimRefusal::NotFound {
            name: wish.name.clone(),
        };
        let topic = self.table.with_id(id).map(Arc::clone);
        let topic = topic.ok_or_else(not_found)?;
        if !is_dry_run {
            let log_starts = trimmed
                .iter()
                .map(|(partition, range)| (*partition, range.end));
            self.trim(log_starts, draft);
        }
        Ok(TrimmedTopic { topic, trimmed })
    }

    /// Moves log starts up. The segments below them are dropped as far as one entry may name them; the
    /// rest goes with the next look at what has expired.
    pub(super) fn trim(
        &mut self,
        log_starts: impl IntoIterator<Item = (PartitionRef, Offset)>,
        draft: &mut Draft,
    ) {
        let mut rows = Vec::new();
        let mut drop_max = DROPPED_PER_ENTRY_MAX;
        for (partition, log_start) in log_starts {
            let Some(mut trim) = self.state.trim(partition, log_start, drop_max) else {
                continue;
            };
            drop_max -= trim.dropped.len();
            rows.append(&mut trim.rows);
            if !trim.dropped.is_empty() {
                self.checkpoint.add_dropped(self.time.now_ms());
            }
            draft.table_changes.push(TableChange::Trimmed(trim));
        }
        self.push_rows(rows, draft);
    }

    /// Adds an entry of rows to the round and applies it.
    pub(super) fn push_rows(&mut self, rows: Vec<Row>, draft: &mut Draft) {
        if !rows.is_empty() {
            self.apply_rows(&rows);
            let lsn = self.take_lsn();
            draft.round.push(lsn, self.time.now_ms(), Vec::new(), rows);
        }
    }

    /// Begins a new segment of a partition: first an entry names it, then its files are made.
    pub(super) fn roll(&mut self, partition: PartitionRef, draft: &mut Draft) {
        if let Some(rows) = self.state.roll(partition) {
            self.push_rows(rows, draft);
            if let Some(active) = self.state.partition(partition).and_then(|it| it.active()) {
                let segment = SegmentRef::new(partition, active.base);
                draft.table_changes.push(TableChange::Rolled(segment));
            }
        }
        self.wish(partition, FIRST_STEP_BYTES, draft);
    }

    /// Asks for the active segment of a partition to be made ready up to `allocated_end`.
    pub(super) fn wish(&mut self, partition: PartitionRef, allocated_end: u64, draft: &mut Draft) {
        let Some(topic) = self.state.topic(partition.topic) else {
            return;
        };
        let active = self.state.partition(partition).and_then(|it| it.active());
        if let Some(active) = active
            && self.wished.insert(partition)
        {
            draft.settle_work.push(SettleWork::Segment(SegmentWish {
                segment: SegmentRef::new(partition, active.base),
                topic_name: topic.name().as_str().to_owned(),
                next_position: active.next_position,
                allocated_end,
            }));
        }
    }

    pub(super) fn view(
        &self,
        id: TopicId,
        name: &TopicName,
    ) -> Result<Arc<TopicView>, TopicNotFound> {
        let refusal = || TopicNotFound { name: name.clone() };
        self.table.with_id(id).map(Arc::clone).ok_or_else(refusal)
    }

    fn open_topic(
        &self,
        name: &TopicName,
        topic_id: Option<TopicId>,
        producer: ProducerLife,
    ) -> Result<OpenedTopic, OpenTopicRefusal> {
        let id = self.state.find_topic(name, topic_id)?.id();
        self.state.check_life(producer)?;
        let topic = self.view(id, name)?;
        let last_sequences = self.state.last_sequences(producer, id).collect();
        Ok(OpenedTopic {
            topic,
            last_sequences,
        })
    }

    /// Lets go of a topic whose rows are gone.
    pub(super) fn drop_topic(
        &mut self,
        id: TopicId,
        draft: &mut Draft,
        data: &mut VecDeque<DataCommand>,
    ) {
        draft.table_changes.push(TableChange::Deleted(id));
        self.checkpoint.add_dropped(self.time.now_ms());
        let first = PartitionRef {
            topic: id,
            partition: 0,
        };
        let last = PartitionRef {
            topic: id,
            partition: u32::MAX,
        };
        let waiting: Vec<_> = self.lines.range(first..=last).map(|(it, _)| *it).collect();
        for partition in waiting {
            data.extend(self.lines.remove(&partition).unwrap_or_default());
        }
        self.wished.retain(|partition| partition.topic != id);
    }
}
