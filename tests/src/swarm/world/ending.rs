//! The end of a run: everything is healed, sent, and read.

use std::time::Duration;

use towpath_storage::StorageError;

use super::World;
use crate::history::{Event, FINAL_READER, Place};
use crate::swarm::actors::Reader;

impl World {
    /// The liveness phase: no more faults, everything in doubt is sent until it is answered, and all
    /// of it is read.
    pub(super) fn heal_and_finish(&mut self) {
        self.disk.heal();
        self.disk.set_total_bytes(4 << 30);
        self.weather.has_crashes = false;
        if self.disk.is_stopped() {
            self.die();
            self.disk.heal();
            self.disk.set_total_bytes(4 << 30);
        }
        self.settle_down();
        for _ in 0..20 {
            let is_done = self.producers.iter().all(|producer| {
                producer
                    .lanes
                    .values()
                    .all(|lane| lane.unanswered.is_empty())
            });
            if is_done {
                break;
            }
            self.send_again();
            self.settle_down();
        }
        for producer in &self.producers {
            for (place, lane) in &producer.lanes {
                assert!(
                    lane.unanswered.is_empty(),
                    "{place:?}: {} unanswered",
                    lane.unanswered.len()
                );
            }
        }
        self.finish_groups();
        self.finish_subscriptions();
        self.finish_apart();
        self.read_everything();
        self.grow_old();
        self.digest_trace();
    }

    /// What nobody keeps goes in the end, with its files.
    fn grow_old(&mut self) {
        for _ in 0..4 {
            self.clock.advance(Duration::from_secs(2 * 3600));
            self.drive(|engine| {
                engine.sequencer.idle()?;
                engine.sequencer.take_checkpoint();
                Ok(())
            });
            self.settle_down();
        }
        for view in self.views() {
            let logs = || view.partitions().iter().map(|handle| handle.log());
            let config = view.settings().config;
            let is_empty = logs().all(|log| log.log_start() == log.end());
            assert!(
                config.retention_age_ms.is_none() || is_empty,
                "{} keeps what is too old",
                view.name()
            );
            let (size, largest) = (logs().map(|log| log.size_bytes()).sum::<u64>(), 70_000);
            assert!(
                config
                    .retention_bytes
                    .is_none_or(|bytes| size < bytes + largest),
                "{} keeps {size} bytes, {config:?}",
                view.name()
            );
        }
        let engine = self.engine.as_ref().expect("it runs");
        let state = engine.sequencer.state();
        let dropped = state.dropped().count() + state.dropped_segments().count();
        assert_eq!(dropped, 0, "everything that was dropped is forgotten");
        crate::orphans::check_none(state, &self.disk);
    }

    pub(super) fn settle_down(&mut self) {
        loop {
            let Some(engine) = self.engine.as_mut() else {
                return;
            };
            engine.maintenance_worker.watch_space();
            let outcome = (|| {
                Ok::<_, StorageError>(
                    engine.step_round()?
                        || engine.step_settle()?
                        || engine.step_maintenance()?
                        || engine.step_inspect(),
                )
            })();
            self.take_answers();
            self.observe();
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => panic!("a healthy broker goes on: {error:?}"),
            }
        }
    }

    fn read_everything(&mut self) {
        for view in self.views() {
            for (partition, handle) in (0..).zip(view.partitions()) {
                let place = Place {
                    topic: view.id().get(),
                    partition,
                };
                let offset = handle.log().log_start();
                let reader = self.readers.len();
                self.readers.push(Reader {
                    number: FINAL_READER,
                    place,
                    offset,
                    cursor: None,
                });
                self.start_session(reader);
                while self.read_once(reader, 100_000) {}
                let (log_start, end) = (offset.get(), handle.log().end().get());
                self.history.push(Event::Final {
                    place,
                    log_start,
                    end,
                });
            }
        }
    }
}
