//! What workers and members are told.

use std::convert::Infallible;

use towpath_broker::core::{CommitVerdict, GroupEvent, SubscriptionEvent};
use towpath_broker::runtime::command::CommandError;
use towpath_broker::runtime::group_command::{GroupCommand, GroupSink};
use towpath_broker::runtime::subscription_command::SubscriptionSink;
use towpath_storage::{Lsn, OffsetRange};

use super::{Ear, World};

impl SubscriptionSink for Ear {
    fn tell(&self, event: SubscriptionEvent, _: Lsn) {
        self.deliveries.lock().unwrap().push(event);
    }

    fn answer(&self, _: Result<Vec<Vec<OffsetRange>>, CommandError<Infallible>>) {}
}

impl GroupSink for Ear {
    fn tell(&self, event: GroupEvent) {
        self.notices.lock().unwrap().push(event);
    }

    fn answer(&self, _: Result<Vec<CommitVerdict>, CommandError<Infallible>>) {}
}

impl World {
    /// A worker hears what it has, and has no longer.
    pub(super) fn hear_worker(&mut self, who: usize) {
        let worker = &mut self.forwarding().workers[who];
        let told = std::mem::take(&mut *worker.ear.deliveries.lock().unwrap());
        for event in told {
            match event {
                SubscriptionEvent::Delivered(delivery) => {
                    let ranges = delivery.spans.iter().map(|span| span.range);
                    for offset in ranges.flat_map(|it| it.start.get()..it.end.get()) {
                        let spot = (delivery.partition, offset);
                        worker.held.insert(spot, delivery.number);
                    }
                }
                SubscriptionEvent::Lost { partition, ranges } => {
                    for offset in ranges.iter().flat_map(|it| it.start.get()..it.end.get()) {
                        worker.held.remove(&(partition, offset));
                    }
                }
                SubscriptionEvent::Skipped(_) => panic!("nothing is trimmed: {event:?}"),
                SubscriptionEvent::CaughtUp(_) => {}
                SubscriptionEvent::Replaced | SubscriptionEvent::Deleted => {
                    worker.held.clear();
                    worker.seat = None;
                }
            }
        }
    }

    /// A member hears what it owns, and gives back what it is asked for, or loses it.
    pub(super) fn hear_mover(&mut self, who: usize) {
        let is_willing = self.random.bool();
        let mover = &mut self.forwarding().movers[who];
        let told = std::mem::take(&mut *mover.ear.notices.lock().unwrap());
        let mut returned = Vec::new();
        for event in told {
            match event {
                GroupEvent::Assigned(assigned) => {
                    let owned = assigned.iter().map(|it| {
                        let position = it.committed.get();
                        (it.partition.partition, (it.generation, position))
                    });
                    mover.owned.extend(owned);
                }
                GroupEvent::Revoking { partitions, .. } => {
                    for place in partitions.into_iter().filter(|_| is_willing) {
                        if let Some((generation, _)) = mover.owned.remove(&place.partition) {
                            returned.push((place, generation));
                        }
                    }
                }
                GroupEvent::Lost(lost) => {
                    for place in lost {
                        mover.owned.remove(&place.partition);
                    }
                }
                GroupEvent::Replaced | GroupEvent::Deleted => {
                    mover.owned.clear();
                    mover.seat = None;
                }
            }
        }
        let (member, seat) = (mover.id, mover.seat);
        if let Some((_, group)) = seat.filter(|_| !returned.is_empty()) {
            self.push_group(GroupCommand::Return {
                group,
                member,
                partitions: returned,
            });
        }
    }
}
