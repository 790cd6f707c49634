//! The broker's own threads: each a loop around the step of one worker, joined at the end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use towpath_storage::{StorageError, with_causes};

use super::command_queue::{Appetite, CommandQueue};
use super::compaction::STEP_PAUSE;
use super::engine::Engine;
use super::maintenance::{CheckpointJob, MaintenanceWorker};
use super::queue::{Popped, WorkQueue};
use super::read_pool::ReadPool;
use super::sequencer::{Sequencer, Shared};
use super::settle::{SettleWork, SettleWorker};

/// Silence after which a mark is written, so that the last round too has later evidence.
const MARK_AFTER: Duration = Duration::from_millis(100);
/// How often the disk's space is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Steps of compaction after which it is looked at as well.
const STEPS_PER_WATCH: u32 = 50;
/// How long a stop waits for batches that wait for room, by the boot clock.
const LINES_WAIT: Duration = Duration::from_secs(2);
/// Threads that read segments.
const READ_THREAD_COUNT: usize = 2;

/// Why the broker cannot go on, once it cannot.
#[derive(Debug, Default)]
pub struct Failure {
    cause: OnceLock<String>,
    failed: Notify,
}

impl Failure {
    /// The cause, if the broker failed.
    pub fn cause(&self) -> Option<&str> {
        self.cause.get().map(String::as_str)
    }

    /// Waits until the broker fails. Safe to drop.
    pub async fn wait(&self) -> &str {
        loop {
            let notified = self.failed.notified();
            if let Some(cause) = self.cause() {
                return cause;
            }
            notified.await;
        }
    }

    fn set(&self, error: &StorageError) {
        self.set_cause(with_causes(error).to_string());
    }

    fn set_panic(&self, thread: &str, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("no message");
        self.set_cause(format!("the {thread} thread panicked: {message}"));
    }

    fn set_cause(&self, text: String) {
        tracing::error!(cause = text, "the broker cannot go on");
        if self.cause.set(text).is_ok() {
            self.failed.notify_waiters();
        }
    }
}

/// The running threads of one broker.
#[derive(Debug)]
pub struct Threads {
    shared: Shared,
    read_pool: ReadPool,
    failure: Arc<Failure>,
    sequencer: Mutex<Option<JoinHandle<()>>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    is_maintenance_stopped: Arc<AtomicBool>,
    /// Held until the last thread has ended.
    _lock: Box<dyn towpath_storage::vfs::LockGuard>,
}

impl Threads {
    /// Starts the threads of an open engine.
    ///
    /// # Errors
    /// What the operating system says if it has no more threads.
    pub fn start(engine: Engine, read_pool: ReadPool) -> io::Result<Self> {
        let Engine {
            sequencer,
            settle_worker,
            maintenance_worker,
            mut inspect_worker,
            shared,
            lock,
            ..
        } = engine;
        let failure = Arc::new(Failure::default());
        // Ends those that run already, should there be no thread for another.
        let mut threads = Self {
            shared: shared.clone(),
            read_pool: read_pool.clone(),
            failure: Arc::clone(&failure),
            sequencer: Mutex::default(),
            workers: Mutex::default(),
            is_maintenance_stopped: Arc::new(AtomicBool::new(false)),
            _lock: lock,
        };
        threads.spawn_worker("settle", {
            let (work, failure) = (Arc::clone(&shared.settle), Arc::clone(&failure));
            let commands = Arc::clone(&shared.commands);
            move || run_settle(settle_worker, &work, &commands, &failure)
        })?;
        threads.spawn_worker("maintenance", {
            let run = MaintenanceRun {
                worker: maintenance_worker,
                jobs: Arc::clone(&shared.maintenance),
                shared: shared.clone(),
                failure: Arc::clone(&failure),
                is_stopped: Arc::clone(&threads.is_maintenance_stopped),
            };
            move || run.run()
        })?;
        threads.spawn_worker("inspect", {
            let jobs = Arc::clone(&shared.inspect);
            move || {
                while let Popped::Work(job) = jobs.pop(None) {
                    inspect_worker.step(job);
                }
            }
        })?;
        for _ in 0..READ_THREAD_COUNT {
            let pool = read_pool.clone();
            threads.spawn_worker("read", move || pool.work())?;
        }
        let sequencer = spawn("sequencer", &threads, move || {
            run_sequencer(sequencer, &shared, &failure);
        })?;
        threads.sequencer = Mutex::new(Some(sequencer));
        Ok(threads)
    }

    fn spawn_worker(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let worker = spawn(name, self, body)?;
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(worker);
        Ok(())
    }

    /// Why the broker cannot go on, once it cannot.
    pub fn failure(&self) -> &Arc<Failure> {
        &self.failure
    }

    /// Takes no more commands, finishes those that were taken, and joins all threads. Blocks; calling
    /// it again does nothing.
    pub fn stop(&self) {
        self.shared.commands.close();
        // The sequencer first: it may still need files made ready by the others.
        let sequencer = self
            .sequencer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        sequencer.into_iter().for_each(join);
        // ORDERING: only a flag; the queue's own lock orders it.
        self.is_maintenance_stopped.store(true, Ordering::Relaxed);
        self.shared.maintenance.close();
        self.shared.settle.close();
        self.shared.inspect.close();
        self.read_pool.close();
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        workers.into_iter().for_each(join);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a thread. Where panics unwind, one of its own fails the broker as the disk would: nobody goes
/// on waiting for what the thread would have done.
fn spawn(
    name: &'static str,
    threads: &Threads,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (failure, commands) = (
        Arc::clone(&threads.failure),
        Arc::clone(&threads.shared.commands),
    );
    Builder::new()
        .name(format!("towpath-{name}"))
        .spawn(move || {
            // What the body leaves behind is looked at by nobody but the queue's own lock.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
                failure.set_panic(name, &*payload);
                commands.close();
                commands.try_take(EVERYTHING).refuse();
            }
        })
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the broker panicked");
    }
}

/// For a queue that is emptied.
const EVERYTHING: Appetite = Appetite {
    takes_control: true,
    data_bytes_max: usize::MAX,
};

fn run_sequencer(mut sequencer: Sequencer, shared: &Shared, failure: &Failure) {
    let commands = &shared.commands;
    if let Err(error) = sequence(&mut sequencer, shared, failure) {
        failure.set(&error);
    }
    commands.close();
    sequencer.refuse_waiting();
    // What came after the last round was never begun.
    commands.try_take(EVERYTHING).refuse();
}

fn sequence(
    sequencer: &mut Sequencer,
    shared: &Shared,
    failure: &Failure,
) -> Result<(), StorageError> {
    let Shared {
        commands,
        environment,
        ..
    } = shared;
    let mut give_up_at = None;
    loop {
        let timeout = if sequencer.has_backlog() {
            Duration::ZERO
        } else {
            MARK_AFTER
        };
        let taken = commands.take(sequencer.appetite(), timeout);
        if failure.cause().is_some() {
            taken.refuse();
            return Ok(());
        }
        let (is_empty, is_closed) = (taken.is_empty(), taken.is_closed);
        if !is_empty || sequencer.has_backlog() {
            sequencer.round(taken)?;
        } else if is_closed {
            let now = environment.clock.boot();
            let give_up_at = *give_up_at.get_or_insert(now + LINES_WAIT);
            if !sequencer.is_waiting() || now >= give_up_at {
                return sequencer.mark();
            }
            commands.wait_for_event(MARK_AFTER);
        } else {
            sequencer.idle()?;
        }
    }
}

fn run_settle(
    mut worker: SettleWorker,
    work: &WorkQueue<SettleWork>,
    commands: &CommandQueue,
    failure: &Failure,
) {
    while let Popped::Work(piece) = work.pop(None) {
        if let Err(error) = worker.step(piece) {
            failure.set(&error);
            commands.close();
            work.close();
            return;
        }
    }
}

struct MaintenanceRun {
    worker: MaintenanceWorker,
    jobs: Arc<WorkQueue<CheckpointJob>>,
    shared: Shared,
    failure: Arc<Failure>,
    is_stopped: Arc<AtomicBool>,
}

impl MaintenanceRun {
    fn run(mut self) {
        self.worker.watch_space();
        let mut steps = 0;
        loop {
            // Merging and compaction go on between checkpoints.
            let patience = if self.worker.is_merging() {
                Duration::ZERO
            } else if self.worker.is_compacting() {
                STEP_PAUSE
            } else {
                let pause = self.worker.scrub_pause().unwrap_or(WATCH_INTERVAL);
                pause.clamp(STEP_PAUSE, WATCH_INTERVAL)
            };
            match self.jobs.pop(Some(patience)) {
                Popped::Work(job) => {
                    if let Err(error) = self.checkpoint(job) {
                        self.failure.set(&error);
                        self.shared.commands.close();
                        return;
                    }
                }
                Popped::TimedOut if self.worker.merge() => {}
                Popped::TimedOut => {
                    if let Err(error) = self.pass_time(&mut steps) {
                        self.failure.set(&error);
                        self.shared.commands.close();
                        return;
                    }
                }
                Popped::Closed => {
                    self.worker.keep_scrub();
                    return;
                }
            }
        }
    }

    /// Does a little of what has time, and looks at the disk now and then.
    fn pass_time(&mut self, steps: &mut u32) -> Result<(), StorageError> {
        *steps += 1;
        self.worker.scrub();
        if !self.worker.compact()? || *steps >= STEPS_PER_WATCH {
            *steps = 0;
            self.worker.watch_space();
        }
        Ok(())
    }

    /// Waits until everything is settled, and writes the checkpoint. A stop ends the wait: the journal
    /// holds everything that the checkpoint would have covered.
    fn checkpoint(&mut self, job: CheckpointJob) -> Result<(), StorageError> {
        while !self
            .shared
            .progress
            .wait_settled(job.input.lsn, WATCH_INTERVAL)
        {
            self.worker.watch_space();
            let is_over = self.is_stopped.load(Ordering::Relaxed) || self.failure.cause().is_some();
            if is_over {
                return Ok(());
            }
        }
        self.worker.checkpoint(job)
    }
}
