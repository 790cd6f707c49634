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

/// A target, by the name of its program.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of its folders of inputs.
    pub name: &'static str,
    /// What is called with each input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("batch", batch::batch),
    target("calls", calls::calls),
    target("checkpoint", files::checkpoint),
    target("cli_plan", cli::cli_plan),
    target("cli_record", cli::cli_record),
    target("compression", compression::compression),
    target("entry", entry::entry),
    target("filter", filter::filter),
    target("frame", frame::frame),
    target("headers", files::headers),
    target("index", files::index),
    target("recovery", recovery::recovery),
    target("rows", entry::rows),
    target("run", run::run),
    target("wire", wire::wire),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Runs the target with a name.
///
/// # Panics
/// If there is none, and where the target finds something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}
