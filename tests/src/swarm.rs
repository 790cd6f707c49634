//! A seeded simulation: the shipped core, sequencer, storage and recovery on the simulated disk, driven
//! step by step by one scheduler, with producers and readers as actors and faults that each seed draws; in some runs with members of
//! consumer groups, or consumers of durable subscriptions, as well.
//!
//! The safety phase runs with faults and crashes; then everything is healed, in-doubt batches are sent
//! again, and the liveness phase must end with everything acknowledged readable. What the clients saw
//! is checked as a history.

mod actors;
mod consumers;
mod faults;
mod members;
mod world;

pub use world::{Counts, Outcome, run, run_on_lying_disk, run_with_groups, run_with_subscriptions};
