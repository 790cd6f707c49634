//! Where commands and events wait for the sequencer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use towpath_storage::{PreparedFile, Row, SegmentRef};

use super::command::{ControlCommand, DataCommand};

/// Something that happened on another thread. Needs no entry to be taken in.
#[derive(Debug)]
pub enum Event {
    /// A segment's files are ready up to this end.
    SegmentReady {
        /// The segment.
        segment: SegmentRef,
        /// End of its allocated space.
        allocated_end: u64,
    },
    /// The disk has no room for a segment.
    SegmentFull {
        /// The segment.
        segment: SegmentRef,
    },
    /// A segment's files are damaged: its partition goes on in a new one.
    SegmentDamaged {
        /// The segment.
        segment: SegmentRef,
    },
    /// A journal file is ready.
    JournalFileReady(PreparedFile),
    /// The disk has no room for a journal file.
    JournalFull,
    /// Frames were settled: more may be taken.
    Settled,
    /// A checkpoint is durable.
    CheckpointDone,
    /// Files of what was dropped could not be removed.
    FilesLeft,
    /// Runs of index rows were merged that a short life would leave behind: a checkpoint is to name what has
    /// become of them.
    RunsMerged,
    /// A checkpoint failed; its rows.
    CheckpointFailed(Vec<Row>),
    /// Whether the disk is nearly full.
    SpaceLow(bool),
}

#[derive(Debug, Default)]
struct Arrived {
    events: Vec<Event>,
    control: Vec<ControlCommand>,
    data: VecDeque<DataCommand>,
    data_bytes: usize,
    is_closed: bool,
    /// Whether the sequencer sleeps and must be woken.
    is_sleeping: bool,
}

/// Commands of one round.
#[derive(Debug, Default)]
pub struct Taken {
    /// Everything that happened elsewhere.
    pub events: Vec<Event>,
    /// Control before data.
    pub control: Vec<ControlCommand>,
    /// As many as fit.
    pub data: VecDeque<DataCommand>,
    /// Nothing more will come.
    pub is_closed: bool,
}

impl Taken {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.control.is_empty() && self.data.is_empty()
    }

    /// Answers every command as not begun: the broker stops.
    pub fn refuse(self) {
        for command in self.control {
            command.fail(false);
        }
        for command in self.data {
            command.fail(false);
        }
    }
}

/// What the sequencer is ready to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appetite {
    /// Whether control commands can be journaled.
    pub takes_control: bool,
    /// Bytes of data commands; 0 for none.
    pub data_bytes_max: usize,
}

/// Where commands wait for the sequencer.
#[derive(Debug, Default)]
pub struct CommandQueue {
    arrived: Mutex<Arrived>,
    wake: Condvar,
}

impl CommandQueue {
    /// Adds a data command. Its bytes were admitted before.
    ///
    /// # Errors
    /// Gives the command back if the queue is closed.
    #[expect(
        clippy::result_large_err,
        reason = "the command comes back, as it went in"
    )]
    pub fn push_data(&self, command: DataCommand) -> Result<(), DataCommand> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(command);
        }
        arrived.data_bytes += command.cost_bytes();
        arrived.data.push_back(command);
        self.wake(arrived);
        Ok(())
    }

    /// Adds a control command.
    ///
    /// # Errors
    /// Gives the command back if the queue is closed.
    pub fn push_control(&self, command: ControlCommand) -> Result<(), ControlCommand> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(command);
        }
        arrived.control.push(command);
        self.wake(arrived);
        Ok(())
    }

    /// Adds control commands that belong together: nothing comes between them, neither another command
    /// nor the end of the queue.
    ///
    /// # Errors
    /// Gives them back if the queue is closed.
    pub fn push_controls(&self, commands: Vec<ControlCommand>) -> Result<(), Vec<ControlCommand>> {
        let mut arrived = self.lock();
        if arrived.is_closed {
            return Err(commands);
        }
        arrived.control.extend(commands);
        self.wake(arrived);
        Ok(())
    }

    /// Adds an event. Accepted even after the queue was closed.
    pub fn push_event(&self, event: Event) {
        let mut arrived = self.lock();
        arrived.events.push(event);
        self.wake(arrived);
    }

    /// Takes no more commands; what is there can still be taken.
    pub fn close(&self) {
        let mut arrived = self.lock();
        arrived.is_closed = true;
        self.wake(arrived);
    }

    /// Takes what has arrived.
    pub fn try_take(&self, appetite: Appetite) -> Taken {
        self.lock().take(appetite)
    }

    /// Takes what has arrived, waiting at most `timeout` for anything that fits the appetite.
    pub fn take(&self, appetite: Appetite, timeout: Duration) -> Taken {
        let mut arrived = self.lock();
        let taken = arrived.take(appetite);
        if !taken.is_empty() || taken.is_closed {
            return taken;
        }
        arrived.is_sleeping = true;
        let mut arrived = self
            .wake
            .wait_timeout(arrived, timeout)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        arrived.is_sleeping = false;
        arrived.take(appetite)
    }

    /// Waits until there is an event, at most `timeout`. For a queue that is closed, whose
    /// [`CommandQueue::take`] does not wait.
    pub fn wait_for_event(&self, timeout: Duration) {
        let mut arrived = self.lock();
        if arrived.events.is_empty() {
            arrived.is_sleeping = true;
            let waited = self.wake.wait_timeout(arrived, timeout);
            waited.unwrap_or_else(PoisonError::into_inner).0.is_sleeping = false;
        }
    }

    fn wake(&self, mut arrived: MutexGuard<'_, Arrived>) {
        if std::mem::take(&mut arrived.is_sleeping) {
            drop(arrived);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn take(&mut self, appetite: Appetite) -> Taken {
        let events = std::mem::take(&mut self.events);
        let control = match appetite.takes_control {
            true => std::mem::take(&mut self.control),
            false => Vec::new(),
        };
        let data = self.take_data(appetite.data_bytes_max);
        let is_closed = self.is_closed && self.control.is_empty() && self.data.is_empty();
        Taken {
            events,
            control,
            data,
            is_closed,
        }
    }

    fn take_data(&mut self, bytes_max: usize) -> VecDeque<DataCommand> {
        if bytes_max == 0 {
            return VecDeque::new();
        }
        if self.data_bytes <= bytes_max {
            self.data_bytes = 0;
            return std::mem::take(&mut self.data);
        }
        let mut taken = VecDeque::new();
        let mut taken_bytes = 0;
        while let Some(next) = self.data.front() {
            let bytes = next.cost_bytes();
            if taken_bytes + bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken_bytes += bytes;
            self.data_bytes -= bytes;
            taken.extend(self.data.pop_front());
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_belong_together_are_all_taken_or_none() {
        let queue = CommandQueue::default();
        let command = || ControlCommand::ForgetDropped {
            topics: Vec::new(),
            segments: Vec::new(),
        };
        let commands = || vec![command(), command()];
        assert!(queue.push_controls(commands()).is_ok(), "open");
        queue.close();
        assert_eq!(queue.push_controls(commands()).unwrap_err().len(), 2);
        let everything = Appetite {
            takes_control: true,
            data_bytes_max: 0,
        };
        assert_eq!(queue.try_take(everything).control.len(), 2, "the first two");
    }
}
