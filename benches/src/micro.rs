//! What single steps of the way of a batch cost: instructions, counted by callgrind, and allocations.
//!
//! Both are numbers of events and no times, so that they are the same each time and a change of a
//! hundredth is seen. One call of a subject is one batch of a [`Shape`].
//!
//! ```text
//! micro ──> valgrind ──> micro call SUBJECT SHAPE   prepares, then calls inside of [`measured`]:
//!                                                   only what that does is counted
//! ```

mod broker;
mod callgrind;
mod codec;
mod deliveries;
mod index;
mod outside;
mod plan;
mod rows;
mod sdk;
mod server;
mod shape;
mod wire;

pub use deliveries::{Consumed, SubscribedState};
pub use plan::{MicroPlan, call, run};
pub use rows::{Cost, CostSetting, ServerCost, ServerSetting};
pub use server::{ServerPlan, run as run_server};
pub use shape::{SHAPES, Shape};

use crate::Result;
use crate::allocations::Allocations;

/// Does for one batch what is measured.
pub type Work = Box<dyn FnMut() -> Result<()>>;

/// A step of the way of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// What is done with a batch.
    pub name: &'static str,
    /// Makes everything ready for so many calls.
    pub prepare: fn(&'static Shape, usize) -> Result<Work>,
}

/// All steps, in the order in which a batch goes through them.
pub const SUBJECTS: [Subject; 17] = [
    sdk::ENQUEUE,
    wire::BUILD,
    wire::DECODE,
    wire::CHECKSUM,
    wire::WALK,
    codec::LZ4_COMPRESS,
    codec::LZ4_DECOMPRESS,
    codec::ZSTD_COMPRESS,
    codec::ZSTD_DECOMPRESS,
    broker::DECIDE,
    broker::ENCODE,
    broker::PRODUCE,
    broker::FETCH_TAIL,
    broker::READ_SEGMENT,
    index::LOOK_UP,
    deliveries::DELIVER,
    deliveries::SETTLE,
];

/// Calls made before anything is counted: pools and buffers have their size then.
const WARM_UP_CALLS: usize = 8;

/// Prepares a subject, calls it so often and returns what that allocated.
///
/// # Errors
/// Those of the subject.
pub fn measure(subject: &Subject, shape: &'static Shape, calls: usize) -> Result<Allocations> {
    let mut work = (subject.prepare)(shape, calls + WARM_UP_CALLS)?;
    (0..WARM_UP_CALLS).try_for_each(|_| work())?;
    let (allocations, done) = Allocations::during(|| measured(&mut work, calls));
    done.map(|()| allocations)
}

/// Callgrind counts while this function runs: its name is given to it, so it must have a body of its own.
#[inline(never)]
fn measured(work: &mut Work, calls: usize) -> Result<()> {
    (0..calls).try_for_each(|_| work())
}
