//! The one that creates and deletes topics, and writes to them without a producer.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::timeout;
use towpath_client::{Client, Error, ErrorReason, NewTopic, Record, Topic, TopicDeletion, TopicId};

use super::notebook::Notebook;

const NAMES: [&str; 3] = ["scratch-0", "scratch-1", "scratch-2"];
const PAUSE_MS_MAX: u64 = 60;

/// Works on a few names over and over, and sees that what was acknowledged stays as it is: a topic that
/// was created is there, with every record; one that was deleted does not come back, and neither do its
/// records nor its id.
#[derive(Debug)]
pub(super) struct Clerk {
    client: Client,
    notebook: Arc<Notebook>,
    random: Rng,
    /// By name.
    known: [Known; NAMES.len()],
    /// The highest id that was seen.
    last_id: Option<TopicId>,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Absent,
    Present {
        id: TopicId,
        /// Those that were acknowledged, and those that may have been written.
        record_count: RangeInclusive<u64>,
    },
    /// The answer to a change was lost.
    InDoubt,
}

impl Clerk {
    pub(super) fn new(client: Client, notebook: Arc<Notebook>, seed: u64) -> Self {
        Self {
            client,
            notebook,
            random: Rng::with_seed(seed.wrapping_mul(41)),
            known: [const { Known::Absent }; NAMES.len()],
            last_id: None,
        }
    }

    /// Works until it is told to stop, and looks at everything once more then.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let index = self.random.usize(..NAMES.len());
            self.look(index).await;
            self.change(index).await;
            let pause = Duration::from_millis(self.random.u64(..PAUSE_MS_MAX));
            // Either of both is an end of the pause.
            drop(timeout(pause, stop.changed()).await);
        }
        for index in 0..NAMES.len() {
            self.look(index).await;
        }
    }

    /// Compares a topic with what is known of it.
    async fn look(&mut self, index: usize) {
        let found = match self.client.admin().topic(NAMES[index]).await {
            Ok(topic) => Some(topic),
            Err(error) if error.reason() == Some(ErrorReason::TopicNotFound) => None,
            // Whoever is away for so long is missed by others.
            Err(_) => return,
        };
        let is_right = match (&self.known[index], &found) {
            (Known::Absent, found) => found.is_none(),
            (Known::Present { .. }, None) => false,
            (Known::Present { id, record_count }, Some(topic)) => {
                topic.topic_id == *id && record_count.contains(&topic.record_count)
            }
            (Known::InDoubt, _) => true,
        };
        if !is_right {
            let known = &self.known[index];
            self.complain(index, &format!("{known:?} was known, {found:?} is there"));
        }
        self.known[index] = found.as_ref().map_or(Known::Absent, Known::from);
    }

    async fn change(&mut self, index: usize) {
        let Known::Present { id, record_count } = self.known[index].clone() else {
            return self.create(index).await;
        };
        match self.random.bool() {
            true => self.publish(index, id, record_count).await,
            false => self.delete(index, id).await,
        }
    }

    async fn create(&mut self, index: usize) {
        let topic = NewTopic::new(NAMES[index]).partitions(2);
        let created = self.client.admin().create_topic(topic).await;
        if let Ok(topic) = &created {
            let id = Some(topic.topic_id);
            if topic.record_count != 0 || id <= self.last_id {
                let last_id = self.last_id;
                self.complain(
                    index,
                    &format!("{topic:?} is not new, {last_id:?} was last"),
                );
            }
            self.last_id = id.max(self.last_id);
        }
        self.known[index] = match created {
            Ok(topic) => Known::from(&topic),
            Err(error) => self.after_failure(index, &error, Known::Absent, Known::InDoubt),
        };
    }

    async fn publish(&mut self, index: usize, id: TopicId, before: RangeInclusive<u64>) {
        let count = self.random.u64(1..5);
        let records = (0..count).map(|number| Record::new("scratch").key(number.to_string()));
        let published = self.client.publish(NAMES[index], records).await;
        let (low, high) = before.clone().into_inner();
        let present = |record_count| Known::Present { id, record_count };
        self.known[index] = match published {
            Ok(_) => present(low + count..=high + count),
            Err(error) => {
                let in_doubt = present(low..=high + count);
                self.after_failure(index, &error, present(before), in_doubt)
            }
        };
    }

    async fn delete(&mut self, index: usize, id: TopicId) {
        let before = self.known[index].clone();
        let deletion = TopicDeletion::new(NAMES[index]).only(id);
        self.known[index] = match self.client.admin().delete_topic(deletion).await {
            Ok(_) => Known::Absent,
            Err(error) => self.after_failure(index, &error, before, Known::InDoubt),
        };
    }

    /// What is known after a change that was not acknowledged. Nobody else changes these topics, so
    /// that only a broker that is away is a reason.
    fn after_failure(&self, index: usize, error: &Error, before: Known, in_doubt: Known) -> Known {
        if error.may_have_happened() {
            return in_doubt;
        }
        if let Some(reason) = error.reason().filter(|it| *it != ErrorReason::ShuttingDown) {
            self.complain(index, &format!("{before:?}: {reason}: {error}"));
        }
        before
    }

    fn complain(&self, index: usize, what: &str) {
        let name = NAMES[index];
        self.notebook.complain(format!("topic {name}: {what}"));
    }
}

impl From<&Topic> for Known {
    fn from(topic: &Topic) -> Self {
        Self::Present {
            id: topic.topic_id,
            record_count: topic.record_count..=topic.record_count,
        }
    }
}
