//! Workers and members come and go.

use std::sync::Arc;

use tokio::sync::oneshot;
use towpath_broker::core::{
    Connect, ConsumerDeparture, CreateSubscription, Credit, Departure, GroupId, HashKey, JoinGroup,
    Mode, OnDeadLetter, OnFilterError, RetryPolicy, SessionId, SubscriptionConfig, TopicStart,
};
use towpath_broker::runtime::group_command::{GroupCommand, GroupSink};
use towpath_broker::runtime::subscription_command::{SubscriptionCommand, SubscriptionSink};
use towpath_storage::{Offset, TopicId};

use super::{MOVERS, WORKERS, World};
use crate::swarm::world::DEAD_LETTERS;

impl World {
    /// Connects a worker, also in place of its older connection; creates the subscription at first.
    pub(super) fn connect_worker(&mut self, who: usize, sources: TopicId, replaces: bool) {
        let Some(subscription) = self.subscription_of_workers() else {
            return self.create_workers(sources);
        };
        if self.forwarding().workers[who].seat.is_some() && !replaces {
            return;
        }
        let forwarding = self.forwarding();
        let session = SessionId(forwarding.next_number());
        let worker = &mut forwarding.workers[who];
        worker.ear = Arc::default();
        worker.seat = Some((session, subscription));
        let wish = Connect {
            consumer: worker.id,
            session,
            client_name: String::new(),
            credit: Credit {
                records: u64::MAX,
                bytes: i64::MAX,
            },
            reports_start: false,
            refuses_to_wait: false,
        };
        let sink = Arc::clone(&worker.ear) as Arc<dyn SubscriptionSink>;
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::Connect {
            name: WORKERS.parse().unwrap(),
            id: Some(subscription),
            wish: Box::new(wish),
            sink,
            answer,
        });
    }

    fn create_workers(&mut self, sources: TopicId) {
        let wish = CreateSubscription {
            name: WORKERS.parse().unwrap(),
            topic: sources,
            config: SubscriptionConfig {
                mode: [Mode::KeyShared, Mode::Shared][self.random.usize(..2)],
                on_dead_letter: OnDeadLetter::Skip,
                // Whose lease expires has failed: nothing is to die of that.
                retry: RetryPolicy {
                    backoff_ms_min: 50,
                    backoff_ms_max: 100,
                    attempts_max: 1_000_000,
                    age_ms_max: None,
                },
                ack_deadline_ms: self.random.u64(1_000..8_000),
                filter: None,
                on_filter_error: OnFilterError::default(),
            },
            starts: vec![Offset::ZERO; 2],
            hash_key: HashKey::default(),
            dead_letter_topic: format!("{WORKERS}{DEAD_LETTERS}").parse().unwrap(),
        };
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::Create {
            wish: Box::new(wish),
            is_dry_run: false,
            answer,
        });
    }

    /// A worker's connection ends.
    pub(super) fn part_worker(&mut self, who: usize) {
        let departure = match self.random.bool() {
            true => ConsumerDeparture::Left,
            false => ConsumerDeparture::CutOff,
        };
        let worker = &mut self.forwarding().workers[who];
        if let Some((session, subscription)) = worker.seat.take() {
            worker.held.clear();
            worker.ear = Arc::default();
            let consumer = worker.id;
            self.push_subscription(SubscriptionCommand::Disconnect {
                subscription,
                consumer,
                session,
                departure,
            });
        }
    }

    fn movers(&self) -> Option<GroupId> {
        let state = self.engine.as_ref()?.sequencer.state();
        let group = state.group_named(&MOVERS.parse().unwrap())?;
        Some(group.id())
    }

    /// A member joins the group, also in place of its older connection.
    pub(super) fn join_mover(&mut self, who: usize, sources: TopicId, replaces: bool) {
        if self.forwarding().movers[who].seat.is_some() && !replaces {
            return;
        }
        let forwarding = self.forwarding();
        let session = SessionId(forwarding.next_number());
        let mover = &mut forwarding.movers[who];
        mover.owned.clear();
        mover.ear = Arc::default();
        let wish = JoinGroup {
            name: MOVERS.parse().unwrap(),
            member: mover.id,
            session,
            client_name: String::new(),
            topics: vec![TopicStart {
                topic: sources,
                starts: Some(vec![Offset::ZERO; 2]),
            }],
            rejoins: None,
        };
        let sink = Arc::clone(&mover.ear) as Arc<dyn GroupSink>;
        let (answer, _) = oneshot::channel();
        self.push_group(GroupCommand::Join {
            wish: Box::new(wish),
            sink,
            answer,
        });
        // The group is there from the round on in which its first member joins.
        self.drive(|engine| engine.step_round().map(drop));
        let group = self.movers();
        self.forwarding().movers[who].seat = group.map(|group| (session, group));
    }

    /// A member's connection ends.
    pub(super) fn part_mover(&mut self, who: usize) {
        let departure = match self.random.bool() {
            true => Departure::Left,
            false => Departure::CutOff,
        };
        let mover = &mut self.forwarding().movers[who];
        if let Some((session, group)) = mover.seat.take() {
            mover.owned.clear();
            mover.ear = Arc::default();
            let member = mover.id;
            self.push_group(GroupCommand::Leave {
                group,
                member,
                session,
                departure,
            });
        }
    }
}
