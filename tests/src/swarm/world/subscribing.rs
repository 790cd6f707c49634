//! Subscriptions are created, paused, moved, changed and deleted.

use tokio::sync::oneshot::{self, error::TryRecvError};
use towpath_broker::core::{
    CreateSubscription, DeleteSubscription, HashKey, Mode, OnDeadLetter, OnFilterError,
    RetryPolicy, SeekSubscription, SubscriptionConfig, SubscriptionId, UpdateSubscription,
};
use towpath_broker::runtime::subscription_command::SubscriptionCommand;
use towpath_storage::{Offset, TopicId};

use super::{DEAD_LETTERS, World};
use crate::history::DeliveryEvent;
use crate::swarm::consumers::PendingSubscriptionControl as Pending;

impl World {
    pub(super) fn create_subscription(&mut self) {
        let Some((_, view)) = self.pick_view() else {
            return;
        };
        let place = self.random.usize(..self.crowd.consumers.len());
        let name = self.crowd.consumers[place].name.clone();
        let is_there = self.crowd.known.values().any(|it| it.name == name);
        if is_there && self.random.u8(..4) != 0 {
            return;
        }
        let logs = view.partitions().iter().map(|handle| handle.log());
        let starts = logs.map(|log| match self.random.u8(..4) {
            0 => log.end(),
            1 => Offset::new(self.random.u64(log.log_start().get()..=log.end().get())),
            _ => log.log_start(),
        });
        let starts = starts.collect();
        let dead_letter_topic = format!("{name}-{}{DEAD_LETTERS}", self.crowd.next_number());
        let wish = CreateSubscription {
            name,
            topic: view.id(),
            config: self.draw_subscription(),
            starts,
            hash_key: HashKey::default(),
            dead_letter_topic: dead_letter_topic.parse().unwrap(),
        };
        let (sender, answer) = oneshot::channel();
        self.crowd.controls.push(Pending::Create { answer });
        self.push_subscription(SubscriptionCommand::Create {
            wish: Box::new(wish),
            is_dry_run: false,
            answer: sender,
        });
        self.drive(|engine| engine.step_round().map(drop));
    }

    fn draw_subscription(&mut self) -> SubscriptionConfig {
        let mode = [Mode::KeyShared, Mode::Shared, Mode::Exclusive][self.random.usize(..3)];
        let parks = mode.is_ordered() && self.random.u8(..3) != 0;
        SubscriptionConfig {
            mode,
            on_dead_letter: match parks {
                true => OnDeadLetter::Park,
                false => OnDeadLetter::Skip,
            },
            retry: RetryPolicy {
                backoff_ms_min: self.random.u64(50..1_000),
                backoff_ms_max: self.random.u64(1_000..5_000),
                attempts_max: self.random.u32(1..5),
                age_ms_max: None,
            },
            ack_deadline_ms: self.random.u64(1_000..8_000),
            filter: None,
            on_filter_error: OnFilterError::default(),
        }
    }

    fn pick_subscription(&mut self) -> Option<SubscriptionId> {
        let ids: Vec<_> = self.crowd.known.keys().copied().collect();
        ids.get(self.random.usize(..ids.len().max(1))).copied()
    }

    pub(super) fn pause_subscription(&mut self) {
        let Some(id) = self.pick_subscription() else {
            return;
        };
        let is_paused = self.random.u8(..3) == 0;
        self.pause(id, is_paused);
    }

    pub(super) fn pause(&mut self, id: SubscriptionId, is_paused: bool) {
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::Pause {
            name: self.crowd.known[&id].name.clone(),
            is_paused,
            answer,
        });
    }

    pub(super) fn seek_subscription(&mut self) {
        let Some(id) = self.pick_subscription() else {
            return;
        };
        let known = &self.crowd.known[&id];
        let (name, topic, partition_count) =
            (known.name.clone(), known.topic, known.partition_count);
        let topics = self.engine.as_ref().map(|it| it.shared.published.topics());
        let view = topics.and_then(|it| it.with_id(TopicId::new(topic)).cloned());
        let Some(view) = view else { return };
        let mut positions = Vec::new();
        for partition in 0..partition_count {
            let log = view.partition(partition).map(|it| it.log());
            if let Some(log) = log.filter(|_| self.random.bool()) {
                let offsets = log.log_start().get()..=log.end().get();
                positions.push((partition, Offset::new(self.random.u64(offsets))));
            }
        }
        let is_dry_run = self.random.u8(..6) == 0;
        if !is_dry_run {
            self.counts.seeks += 1;
            for (partition, to) in &positions {
                let (partition, offset) = (*partition, to.get());
                self.note_delivery(id, DeliveryEvent::SeekSent { partition, offset });
            }
        }
        let (sender, answer) = oneshot::channel();
        let wish = SeekSubscription {
            name,
            positions: positions.clone(),
        };
        if !is_dry_run {
            self.crowd.controls.push(Pending::Seek {
                subscription: id,
                positions,
                answer,
            });
        }
        self.push_subscription(SubscriptionCommand::Seek {
            wish,
            is_dry_run,
            answer: sender,
        });
    }

    pub(super) fn update_subscription(&mut self) {
        let Some(id) = self.pick_subscription() else {
            return;
        };
        let (ack_deadline_ms, attempts_max) =
            (self.random.u64(1_000..8_000), self.random.u32(1..5));
        let known = self.crowd.known.get_mut(&id).expect("it was picked");
        known.ack_deadline_ms = known.ack_deadline_ms.min(ack_deadline_ms);
        let name = known.name.clone();
        self.note_delivery(id, DeliveryEvent::AttemptsMax { attempts_max });
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::Update {
            wish: Box::new(UpdateSubscription {
                name,
                expected: None,
                ack_deadline_ms: Some(ack_deadline_ms),
                backoff_ms_min: None,
                backoff_ms_max: None,
                attempts_max: Some(attempts_max),
                age_ms_max: None,
                filter: None,
                on_filter_error: None,
            }),
            is_dry_run: false,
            answer,
        });
    }

    pub(super) fn delete_subscription(&mut self) {
        let Some(id) = self.pick_subscription() else {
            return;
        };
        let known = self.crowd.known.get_mut(&id).expect("it was picked");
        known.is_doomed = true;
        let name = known.name.clone();
        self.note_delivery(id, DeliveryEvent::Ended);
        let with_dead_letters = self.random.bool();
        let (answer, _) = oneshot::channel();
        self.push_subscription(SubscriptionCommand::Delete {
            wish: DeleteSubscription {
                name,
                with_dead_letters,
            },
            is_dry_run: false,
            answer,
        });
        self.drive(|engine| engine.step_round().map(drop));
    }

    pub(super) fn take_subscription_controls(&mut self) {
        for mut control in std::mem::take(&mut self.crowd.controls) {
            match &mut control {
                Pending::Create { answer } => match answer.try_recv() {
                    Err(TryRecvError::Empty) => self.crowd.controls.push(control),
                    Ok(Ok(created)) => {
                        let id = created.subscription.id.expect("it is there");
                        let is_known = self.crowd.known.contains_key(&id);
                        assert!(is_known, "what was created is there: {created:?}");
                    }
                    Ok(Err(_)) | Err(TryRecvError::Closed) => {}
                },
                Pending::Seek {
                    subscription,
                    positions,
                    answer,
                } => match answer.try_recv() {
                    Err(TryRecvError::Empty) => self.crowd.controls.push(control),
                    Ok(Ok(_)) => {
                        // What was gone before nobody gets.
                        self.observe();
                        let id = *subscription;
                        for (partition, to) in std::mem::take(positions) {
                            let offset = to.get();
                            let event = DeliveryEvent::Sought { partition, offset };
                            self.note_delivery(id, event);
                        }
                    }
                    Ok(Err(_)) | Err(TryRecvError::Closed) => {}
                },
                Pending::Republish { answer, .. } => match answer.try_recv() {
                    Err(TryRecvError::Empty) => self.crowd.controls.push(control),
                    Err(TryRecvError::Closed) => {}
                    Ok(result) => self.take_republished(&control, result),
                },
            }
        }
    }
}
