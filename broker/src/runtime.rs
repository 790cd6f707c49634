//! Threads, queues and time around the core: what makes decisions durable, visible and answered.
//!
//! One sequencer thread orders and syncs; one settle thread writes segments and allocates; one
//! maintenance thread writes checkpoints and removes what was dropped; two threads read. Each is a
//! plain loop around a struct with a step function, so a simulation can drive the same steps with a
//! scheduler of its own.

pub mod bury;
pub mod command;
pub mod command_queue;
pub mod compaction;
pub mod engine;
pub mod group_command;
pub mod index_view;
pub mod inspect;
pub mod inspected_frames;
mod judge;
pub mod maintenance;
pub mod metrics;
pub mod producer_command;
pub mod published;
pub mod queue;
pub mod read_pool;
pub(crate) mod record_facts;
pub mod schedule_command;
pub mod schedules;
pub mod scrub;
pub mod sequencer;
pub mod settle;
mod space;
pub mod subscription_command;
pub mod subscription_question;
pub mod threads;
