//! The targets: each takes any bytes, panics where a promise is broken, and keeps nothing.

mod batch;
pub(crate) mod calls;
mod cli;
mod compression;
mod entry;
mod files;
mod filter;
mod frame;
mod recovery;
mod run;
mod wire;

pub use batch::batch;
pub use calls::calls;
pub use cli::{cli_plan, cli_record};
pub use compression::compression;
pub use entry::{entry, rows};
pub use files::{checkpoint, headers, index};
pub use filter::filter;
pub use frame::frame;
pub use recovery::recovery;
pub use run::run;
pub use wire::wire;

/// A target, by the name of its program. The programs call theirs by itself: one that went through
/// [`TARGETS`] would link all of them, and libFuzzer looks at the counters of all that is linked after each
/// input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of its folders of inputs.
    pub name: &'static str,
    /// What is called with each input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("batch", batch),
    target("calls", calls),
    target("checkpoint", checkpoint),
    target("cli_plan", cli_plan),
    target("cli_record", cli_record),
    target("compression", compression),
    target("entry", entry),
    target("filter", filter),
    target("frame", frame),
    target("headers", headers),
    target("index", index),
    target("recovery", recovery),
    target("rows", rows),
    target("run", run),
    target("wire", wire),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
