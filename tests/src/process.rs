//! The real binary as a process: started, watched, stopped and killed.
//!
//! [`BrokerSetup`] says how a broker is started: on which folder and port, with which flags, under
//! which other program (`strace`, `prlimit`). [`BrokerProcess`] is one life of it. A setup outlives
//! its processes and keeps its port, so that clients find the next life where the last one was.
//!
//! Everything waits with a bound and for an event of the operating system: a line in a pipe, the end of
//! a process. Nothing is left running when a value is dropped. Linux only.

mod binary;
mod broker;
mod command;
mod ended;
mod family;
mod pipe;
mod port;
mod running;
mod setup;
#[cfg(test)]
mod tests;

pub use binary::towpath;
pub use broker::{BrokerProcess, Ready};
pub use command::{command, spawn_cli};
pub use ended::Ended;
pub use pipe::Pipe;
pub use running::Running;
pub use rustix::process::Signal;
pub use setup::BrokerSetup;
