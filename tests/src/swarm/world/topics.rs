//! Topics come, change, are trimmed and go; what the broker lets go of is watched.

use std::collections::BTreeMap;

use tokio::sync::oneshot::{self, Receiver};
use towpath_broker::core::{
    AcceptedBatch, CreateTopic, SettingChange, TopicConfig, TopicConfigChange, TrimRefusal,
    TrimTopic, UpdateTopic, UpdateTopicRefusal,
};
use towpath_broker::runtime::command::{CommandError, ControlCommand, TrimmedTopic, UpdatedTopic};
use towpath_broker::runtime::published::TopicView;
use towpath_proto::names::TopicName;
use towpath_storage::Offset;

use super::World;
use crate::history::{Event, Place};

const NAMES: [&str; 2] = ["orders", "stock"];

/// What clients know of one life of a topic.
#[derive(Debug, Default)]
pub(super) struct TopicLedger {
    /// Its settings as of the last look.
    seen: TopicConfig,
    /// Its settings as they were acknowledged; none while a change of them is in doubt.
    acknowledged: Option<TopicConfig>,
    /// The highest log start of each partition that was seen or acknowledged.
    log_starts: BTreeMap<u32, u64>,
    /// The highest that was asked for.
    asked: BTreeMap<u32, u64>,
    /// Append time of each acknowledged batch, by partition and offset.
    append_times_ms: BTreeMap<(u32, u64), i64>,
}

impl TopicLedger {
    pub(super) fn note_append(&mut self, partition: u32, batch: &AcceptedBatch) {
        let key = (partition, batch.base_offset.get());
        self.append_times_ms.insert(key, batch.append_time_ms);
    }

    /// Whether the settings, as they are or were a moment ago, let go of these offsets.
    fn lets_go(&self, view: &TopicView, now_ms: i64, partition: u32, start: u64, end: u64) -> bool {
        let is_aged = |config: TopicConfig| {
            let batches = (partition, start)..(partition, end);
            config.retention_age_ms.is_some_and(|age_ms| {
                let mut times = self.append_times_ms.range(batches.clone());
                times.all(|(_, time_ms)| now_ms - time_ms > i64::try_from(age_ms).unwrap())
            })
        };
        let sizes = view.partitions().iter().map(|it| it.log().size_bytes());
        let size_bytes: u64 = sizes.sum();
        [self.seen, view.settings().config]
            .into_iter()
            .any(|config| {
                let has_rest = |bytes| size_bytes >= bytes;
                is_aged(config) || config.retention_bytes.is_some_and(has_rest)
            })
    }
}

/// A command about a topic that was not answered.
#[derive(Debug)]
pub(super) enum PendingControl {
    Update {
        topic: u64,
        config: TopicConfig,
        answer: Receiver<Result<UpdatedTopic, CommandError<UpdateTopicRefusal>>>,
    },
    Trim {
        place: Place,
        below: u64,
        answer: Receiver<Result<TrimmedTopic, CommandError<TrimRefusal>>>,
    },
}

impl World {
    pub(super) fn push_control(&mut self, command: ControlCommand) {
        if let Some(engine) = &self.engine {
            let pushed = engine.shared.commands.push_control(command);
            pushed.expect("the broker is running");
        }
        self.drive(|engine| engine.step_round().map(drop));
    }

    fn draw_config(&mut self) -> TopicConfig {
        let age_ms = self.random.u64(5_000..40_000);
        let bytes = self.random.u64(20_000..300_000);
        let config = TopicConfig {
            retention_age_ms: (self.random.u8(..3) == 0).then_some(age_ms),
            retention_bytes: (self.random.u8(..3) == 0).then_some(bytes),
            // The publisher sends events again for as long as they are not answered.
            dedupe_window_ms: { self.publisher.as_ref() }
                .map(|_| TopicConfig::DEDUPE_WINDOW_MS_MAX),
            ..TopicConfig::default()
        };
        // A clock that jumps ends what subscriptions hold.
        match self.crowd.is_absent() || !self.weather.has_clock_jumps {
            true => config,
            false => TopicConfig::default(),
        }
    }

    pub(super) fn create_topic(&mut self) {
        let name = NAMES[self.random.usize(..NAMES.len())];
        let wish = CreateTopic {
            name: TopicName::new(name).unwrap(),
            partition_count: self.random.u32(1..4),
            config: self.draw_config(),
        };
        let (answer, _) = oneshot::channel();
        self.push_control(ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        });
    }

    pub(super) fn delete_topic(&mut self) {
        let Some((_, view)) = self.pick_view() else {
            return;
        };
        self.cast.doomed_topics.insert(view.id().get());
        // From here on its records may go, whatever becomes of the command.
        for partition in 0..u32::try_from(view.partitions().len()).unwrap() {
            let topic = view.id().get();
            let place = Place { topic, partition };
            let below = u64::MAX;
            self.history.push(Event::MayGo { place, below });
        }
        let (answer, _) = oneshot::channel();
        self.push_control(ControlCommand::DeleteTopic {
            name: view.name().clone(),
            topic_id: Some(view.id()),
            is_dry_run: false,
            answer,
        });
    }

    pub(super) fn update_topic(&mut self) {
        let Some((_, view)) = self.pick_view() else {
            return;
        };
        let (topic, config) = (view.id().get(), self.draw_config());
        let change = TopicConfigChange {
            retention_age_ms: SettingChange::Become(config.retention_age_ms),
            retention_bytes: SettingChange::Become(config.retention_bytes),
            ..TopicConfigChange::default()
        };
        let wish = UpdateTopic {
            name: view.name().clone(),
            expected: Some(view.settings().revision),
            change,
        };
        self.ledgers.entry(topic).or_default().acknowledged = None;
        let (sender, answer) = oneshot::channel();
        self.controls.push(PendingControl::Update {
            topic,
            config,
            answer,
        });
        self.push_control(ControlCommand::UpdateTopic {
            wish,
            is_dry_run: false,
            answer: sender,
        });
    }

    pub(super) fn trim_topic(&mut self) {
        let Some((place, view)) = self.pick_view() else {
            return;
        };
        let Some(handle) = view.partition(place.partition) else {
            return;
        };
        let below = self.random.u64(..=handle.log().end().get());
        let ledger = self.ledgers.entry(place.topic).or_default();
        let asked = ledger.asked.entry(place.partition).or_default();
        *asked = below.max(*asked);
        self.history.push(Event::MayGo { place, below });
        self.history.push(Event::TrimSent { place, below });
        let wish = TrimTopic {
            name: view.name().clone(),
            topic_id: Some(view.id()),
            log_starts: vec![(place.partition, Offset::new(below))],
        };
        let (sender, answer) = oneshot::channel();
        self.controls.push(PendingControl::Trim {
            place,
            below,
            answer,
        });
        self.push_control(ControlCommand::TrimTopic {
            is_continuation: false,
            wish,
            is_dry_run: false,
            answer: sender,
        });
    }

    pub(super) fn take_control_answers(&mut self) {
        let pending = std::mem::take(&mut self.controls);
        for mut control in pending {
            match &mut control {
                PendingControl::Update {
                    topic,
                    config,
                    answer,
                } => match answer.try_recv() {
                    Ok(Ok(updated)) => {
                        assert_eq!(updated.settings.config, *config, "as asked for");
                        let ledger = self.ledgers.entry(*topic).or_default();
                        ledger.acknowledged = Some(*config);
                    }
                    Err(oneshot::error::TryRecvError::Empty) => self.controls.push(control),
                    Ok(Err(_)) | Err(_) => {}
                },
                PendingControl::Trim {
                    place,
                    below,
                    answer,
                } => match answer.try_recv() {
                    Ok(Ok(_)) => self.note_start(*place, *below),
                    Err(oneshot::error::TryRecvError::Empty) => self.controls.push(control),
                    Ok(Err(_)) | Err(_) => {}
                },
            }
        }
    }

    /// Notes that a partition starts at least here.
    fn note_start(&mut self, place: Place, at_least: u64) {
        let ledger = self.ledgers.entry(place.topic).or_default();
        let known = ledger.log_starts.entry(place.partition).or_default();
        *known = at_least.max(*known);
        let log_start = *known;
        self.history.push(Event::Starts { place, log_start });
    }

    /// Looks at what the broker let go of, whether it was allowed to, and at where groups are.
    pub(super) fn observe(&mut self) {
        self.observe_groups();
        self.observe_apart();
        let Some(engine) = &self.engine else { return };
        let now_ms = engine.shared.published.time_ms();
        for view in self.views() {
            let topic = view.id().get();
            for (partition, handle) in (0..).zip(view.partitions()) {
                let place = Place { topic, partition };
                let log_start = handle.log().log_start().get();
                let ledger = self.ledgers.entry(topic).or_default();
                let known = ledger.log_starts.get(&partition).copied().unwrap_or(0);
                if log_start < known {
                    self.history.push(Event::Starts { place, log_start });
                } else if log_start > known {
                    self.counts.trims += 1;
                    let asked = ledger.asked.get(&partition).copied().unwrap_or(0);
                    let start = known.max(asked);
                    if start < log_start
                        && ledger.lets_go(&view, now_ms, partition, start, log_start)
                    {
                        let below = log_start;
                        self.history.push(Event::MayGo { place, below });
                    }
                    self.note_start(place, log_start);
                }
            }
            let ledger = self.ledgers.entry(topic).or_default();
            ledger.seen = view.settings().config;
            if let Some(acknowledged) = ledger.acknowledged {
                assert_eq!(ledger.seen, acknowledged, "settings of {}", view.name());
            }
        }
    }
}
