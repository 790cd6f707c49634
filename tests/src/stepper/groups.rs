//! Consumer groups of a broker that is driven by hand: one member owns everything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use towpath_broker::core::{
    Commit, CommitVerdict, Generation, Group, GroupEvent, GroupId, JoinGroup, MemberId, SeekGroup,
    SessionId, TopicStart,
};
use towpath_broker::runtime::command::{CommandError, ControlCommand};
use towpath_broker::runtime::group_command::{GroupCommand, GroupSink};
use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef, StorageError, TopicId};

use super::Stepper;
use crate::model::{Deletion, KnownGroup, KnownPosition};

pub(super) const MEMBER: MemberId = MemberId::new([5; 16]);
/// How long a change of owners waits for others, and more.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// What the member was told.
#[derive(Debug, Default)]
pub(super) struct Ear {
    generations: Mutex<BTreeMap<PartitionRef, Generation>>,
    verdicts: Mutex<Vec<CommitVerdict>>,
}

impl GroupSink for Ear {
    fn tell(&self, event: GroupEvent) {
        let mut generations = self.generations.lock().unwrap();
        match event {
            GroupEvent::Assigned(assigned) => {
                let told = assigned.iter().map(|it| (it.partition, it.generation));
                generations.extend(told);
            }
            GroupEvent::Lost(lost) => generations.retain(|place, _| !lost.contains(place)),
            GroupEvent::Revoking { .. } | GroupEvent::Replaced | GroupEvent::Deleted => {}
        }
    }

    fn answer(&self, verdicts: Result<Vec<CommitVerdict>, CommandError<Infallible>>) {
        *self.verdicts.lock().unwrap() = verdicts.unwrap_or_default();
    }
}

impl Stepper {
    /// Joins a group that begins at the beginning of a topic, and waits for its partitions.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn join_group(&mut self, name: &str, topic: &str) -> Result<(), StorageError> {
        let id = self.model.topic(topic).id.expect("a topic");
        let topic = TopicId::new(id);
        let topics = self.engine.shared.published.topics();
        let view = topics.with_id(topic).expect("a topic");
        let count = view.partitions().len();
        let partitions = (0..u32::try_from(count).unwrap()).map(|partition| {
            let begun = KnownPosition {
                done: None,
                asked: Some(0),
            };
            ((id, partition), begun)
        });
        self.model.groups.push(KnownGroup {
            name: name.to_owned(),
            deletion: Deletion::None,
            partitions: partitions.collect(),
        });
        let wish = JoinGroup {
            name: name.parse().unwrap(),
            member: MEMBER,
            session: SessionId(1),
            client_name: String::new(),
            topics: vec![TopicStart {
                topic,
                starts: Some(vec![Offset::ZERO; count]),
            }],
            rejoins: None,
        };
        let sink = Arc::clone(&self.ear) as Arc<dyn GroupSink>;
        let wish = Box::new(wish);
        self.control(|answer| ControlCommand::Group(GroupCommand::Join { wish, sink, answer }))?;
        let known = self.model.group(name).partitions.values_mut();
        known.for_each(KnownPosition::acknowledge);
        self.pass(DEBOUNCE)
    }

    pub(super) fn group_named(&self, name: &str) -> Option<&Group> {
        let name: GroupName = name.parse().unwrap();
        self.engine.sequencer.state().group_named(&name)
    }

    /// Commits an offset as the owner, and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn commit(&mut self, name: &str, partition: u32, offset: u64) -> Result<(), StorageError> {
        let group = self.group_named(name).map(Group::id).expect("a group");
        let place = self.ask_for(name, partition, offset);
        let generation = self.generation_of(place);
        self.push_commit(group, place, generation, offset)?;
        let told = std::mem::take(&mut *self.ear.verdicts.lock().unwrap());
        let expected = CommitVerdict::Committed(Offset::new(offset));
        assert_eq!(told, [expected], "the owner commits");
        self.acknowledge(name, place);
        Ok(())
    }

    /// The generation in which the member got a partition.
    pub(super) fn generation_of(&self, place: PartitionRef) -> Generation {
        self.ear.generations.lock().unwrap()[&place]
    }

    fn push_commit(
        &mut self,
        group: GroupId,
        partition: PartitionRef,
        generation: Generation,
        offset: u64,
    ) -> Result<(), StorageError> {
        let commit = Commit {
            partition,
            generation,
            offset: Offset::new(offset),
            gaps: Vec::new(),
        };
        let command = GroupCommand::Commit {
            group,
            member: MEMBER,
            commits: vec![commit],
            sink: Arc::clone(&self.ear) as Arc<dyn GroupSink>,
        };
        let commands = &self.engine.shared.commands;
        let pushed = commands.push_control(ControlCommand::Group(command));
        pushed.expect("the broker is running");
        self.settle_down()
    }

    /// Moves a group, and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn seek(&mut self, name: &str, partition: u32, offset: u64) -> Result<(), StorageError> {
        let place = self.ask_for(name, partition, offset);
        let wish = SeekGroup {
            name: name.parse().unwrap(),
            positions: vec![(place, Offset::new(offset))],
        };
        self.control(|answer| {
            ControlCommand::Group(GroupCommand::Seek {
                wish,
                is_dry_run: false,
                answer,
            })
        })?;
        self.acknowledge(name, place);
        Ok(())
    }

    /// Deletes a group with its member, and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn delete_group(&mut self, name: &str) -> Result<(), StorageError> {
        self.model.group(name).deletion = Deletion::InDoubt;
        let command = |answer| GroupCommand::Delete {
            name: name.parse().unwrap(),
            is_forced: true,
            is_dry_run: false,
            answer,
        };
        self.control(|answer| ControlCommand::Group(command(answer)))?;
        self.model.group(name).deletion = Deletion::Done;
        Ok(())
    }

    pub(super) fn ask_for(&mut self, name: &str, partition: u32, offset: u64) -> PartitionRef {
        let (topic, known) = self.model.group(name).position(partition);
        known.asked = Some(offset);
        PartitionRef {
            topic: TopicId::new(topic),
            partition,
        }
    }

    pub(super) fn acknowledge(&mut self, name: &str, place: PartitionRef) {
        let (_, known) = self.model.group(name).position(place.partition);
        known.acknowledge();
    }

    /// Compares where groups are with what the model knows.
    pub(super) fn check_groups(&self) {
        for (place, known) in self.model.groups.iter().enumerate() {
            let later = self.model.groups.iter().skip(place + 1);
            if later.into_iter().any(|it| it.name == known.name) {
                // The name has a later life.
                continue;
            }
            let name = &known.name;
            let group = self.group_named(name);
            match known.deletion {
                Deletion::Done => assert!(group.is_none(), "{name} was deleted"),
                Deletion::InDoubt if group.is_none() => {}
                Deletion::InDoubt | Deletion::None => check_positions(known, group),
            }
        }
    }

    /// What was in doubt is decided: from now on it may not change.
    pub fn settle_groups(&mut self) {
        let mut groups = std::mem::take(&mut self.model.groups);
        for known in &mut groups {
            let group = self.group_named(&known.name);
            if known.deletion == Deletion::InDoubt {
                known.deletion = match group {
                    Some(_) => Deletion::None,
                    None => Deletion::Done,
                };
            }
            for ((topic, partition), position) in &mut known.partitions {
                let committed = group.and_then(|it| committed(it, *topic, *partition));
                (position.done, position.asked) = (committed, None);
            }
        }
        self.model.groups = groups;
    }
}

pub(super) fn committed(group: &Group, topic: u64, partition: u32) -> Option<u64> {
    let topic = TopicId::new(topic);
    let known = group.partition(PartitionRef { topic, partition })?;
    Some(known.committed.get())
}

fn check_positions(known: &KnownGroup, group: Option<&Group>) {
    for ((topic, partition), position) in &known.partitions {
        let found = group.and_then(|it| committed(it, *topic, *partition));
        assert!(
            found == position.done || (found.is_some() && found == position.asked),
            "{} is at {found:?} in {topic}/{partition}, known {position:?}",
            known.name
        );
    }
}
