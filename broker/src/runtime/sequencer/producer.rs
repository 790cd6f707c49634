//! Commands about producers with a name.

use towpath_proto::names::ProducerName;

use super::super::producer_command::{ProducerCommand, ProducerPage};
use super::Sequencer;
use super::draft::{Draft, PendingAnswer};
use crate::core::{
    NamedProducer, NamedProducerId, OpenProducerRefusal, ProducerLife, ProducerNotFound,
};

impl Sequencer {
    /// Decides on one command about producers with a name.
    pub(super) fn take_producer_command(&mut self, command: ProducerCommand, draft: &mut Draft) {
        let answer = match command {
            ProducerCommand::Open { name, answer } => {
                let result = self.open_producer(&name, draft);
                PendingAnswer::OpenProducer { answer, result }
            }
            ProducerCommand::List {
                after,
                prefix,
                count_max,
                answer,
            } => {
                let page = self.list_producers(after.as_ref(), &prefix, count_max);
                PendingAnswer::ListProducers { answer, page }
            }
            ProducerCommand::Delete {
                name,
                is_dry_run,
                answer,
            } => {
                let result = self.delete_producer(&name, is_dry_run, draft);
                PendingAnswer::DeleteProducer { answer, result }
            }
        };
        draft.answers.push(answer);
    }

    fn open_producer(
        &mut self,
        name: &ProducerName,
        draft: &mut Draft,
    ) -> Result<ProducerLife, OpenProducerRefusal> {
        let entropy = &self.shared.environment.entropy;
        let mut new_id = [0; NamedProducerId::BYTES];
        for part in new_id.chunks_mut(8) {
            let drawn = entropy.next_u64().to_le_bytes();
            part.copy_from_slice(&drawn[..part.len()]);
        }
        let new_id = NamedProducerId::new(new_id);
        let now_ms = self.time.now_ms();
        let (life, rows) = self.state.open_producer(name, new_id, now_ms)?;
        self.push_rows(rows, draft);
        Ok(life)
    }

    fn delete_producer(
        &mut self,
        name: &ProducerName,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<NamedProducer, ProducerNotFound> {
        let (deleted, rows) = self.state.delete_producer(name)?;
        if !is_dry_run {
            self.push_rows(rows, draft);
        }
        Ok(deleted)
    }

    fn list_producers(
        &self,
        after: Option<&ProducerName>,
        prefix: &str,
        count_max: usize,
    ) -> ProducerPage {
        let known = self.state.named_producers_after(after);
        let mut known = known.filter(|it| it.name().as_str().starts_with(prefix));
        ProducerPage {
            producers: known.by_ref().take(count_max).cloned().collect(),
            has_more: known.next().is_some(),
        }
    }
}
