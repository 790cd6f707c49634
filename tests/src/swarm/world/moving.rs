//! Groups are moved and deleted while their members run.

use tokio::sync::oneshot::{self, error::TryRecvError};
use towpath_broker::core::{Group, GroupId, SeekGroup, SeekRefusal};
use towpath_broker::runtime::command::CommandError;
use towpath_broker::runtime::group_command::GroupCommand;
use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef};

use super::World;
use crate::history::{Event, GroupEvent};
use crate::swarm::members::{PendingGroupControl, to_place};

impl World {
    /// A group that nobody has asked to delete.
    fn pick_group(&mut self) -> Option<&Group> {
        let doomed = &self.cast.doomed;
        let groups = self.groups().filter(|it| !doomed.contains(&it.id()));
        let ids: Vec<_> = groups.map(Group::id).collect();
        let picked = *ids.get(self.random.usize(..ids.len().max(1)))?;
        self.groups().find(|it| it.id() == picked)
    }

    pub(super) fn seek_group(&mut self) {
        let Some(group) = self.pick_group() else {
            return;
        };
        let (id, name) = (group.id(), group.name().clone());
        let mut partitions: Vec<_> = group.partitions().map(|(it, _)| it).collect();
        partitions.retain(|_| self.random.bool());
        let positions: Vec<_> = partitions
            .into_iter()
            .filter_map(|it| Some((it, self.draw_position(it)?)))
            .collect();
        let is_dry_run = self.random.u8(..6) == 0;
        let is_beyond = self.random.u8(..8) == 0;
        if positions.is_empty() {
            return;
        }
        self.counts.seeks += 1;
        match (is_dry_run, is_beyond) {
            (true, _) => self.send_seek(&name, &positions, true, None),
            (false, true) => self.seek_beyond_end(&name, positions),
            (false, false) => {
                for (partition, to) in &positions {
                    let offset = to.get();
                    self.note_group(id, to_place(*partition), GroupEvent::SeekSent { offset });
                }
                self.send_seek(&name, &positions, false, Some(id));
            }
        }
    }

    fn draw_position(&mut self, partition: PartitionRef) -> Option<Offset> {
        let topics = self.engine.as_ref()?.shared.published.topics();
        let view = topics.with_id(partition.topic)?;
        let log = view.partition(partition.partition)?.log();
        let offsets = log.log_start().get()..=log.end().get();
        Some(Offset::new(self.random.u64(offsets)))
    }

    /// One partition out of range refuses all of it.
    fn seek_beyond_end(&mut self, name: &GroupName, mut positions: Vec<(PartitionRef, Offset)>) {
        if let Some((_, to)) = positions.last_mut() {
            *to = Offset::new(1 << 40);
        }
        self.send_seek(name, &positions, false, None);
    }

    /// With the group if it is to be moved, and not only asked.
    fn send_seek(
        &mut self,
        name: &GroupName,
        positions: &[(PartitionRef, Offset)],
        is_dry_run: bool,
        group: Option<GroupId>,
    ) {
        let (sender, answer) = oneshot::channel();
        let wish = SeekGroup {
            name: name.clone(),
            positions: positions.to_vec(),
        };
        self.cast.controls.push(PendingGroupControl::Seek {
            group,
            is_dry_run,
            answer,
        });
        self.push_group(GroupCommand::Seek {
            wish,
            is_dry_run,
            answer: sender,
        });
    }

    pub(super) fn delete_group(&mut self) {
        let Some(group) = self.pick_group() else {
            return;
        };
        let (id, name) = (group.id(), group.name().clone());
        let (sender, answer) = oneshot::channel();
        self.cast.doomed.insert(id);
        let group = id;
        self.cast
            .controls
            .push(PendingGroupControl::Delete { group, answer });
        let is_forced = self.random.bool();
        self.push_group(GroupCommand::Delete {
            name,
            is_forced,
            is_dry_run: false,
            answer: sender,
        });
    }

    pub(super) fn take_group_control_answers(&mut self) {
        for mut control in std::mem::take(&mut self.cast.controls) {
            match &mut control {
                PendingGroupControl::Seek {
                    group,
                    is_dry_run,
                    answer,
                } => match (answer.try_recv(), *group) {
                    (Err(TryRecvError::Empty), _) => self.cast.controls.push(control),
                    (Ok(Ok(sought)), Some(group)) => {
                        for it in sought {
                            let offset = it.to.get();
                            let place = to_place(it.partition);
                            self.note_group(group, place, GroupEvent::Sought { offset });
                        }
                    }
                    (Ok(Ok(_)), None) => assert!(*is_dry_run, "there are no such records"),
                    (Ok(Err(CommandError::Refused(SeekRefusal::NotFound { name }))), Some(_)) => {
                        panic!("nobody has deleted {name}")
                    }
                    _ => {}
                },
                PendingGroupControl::Delete { group, answer } => match answer.try_recv() {
                    Err(TryRecvError::Empty) => self.cast.controls.push(control),
                    Ok(Ok(())) => {
                        let group = group.get();
                        self.history.push(Event::GroupDeleted { group });
                    }
                    // Nothing happened.
                    Ok(Err(CommandError::Refused(_))) => drop(self.cast.doomed.remove(group)),
                    Ok(Err(_)) | Err(TryRecvError::Closed) => {}
                },
            }
        }
    }
}
