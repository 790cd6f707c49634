//! `towpath demo`.

use clap::Args;

/// How to show the main job.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath demo
  towpath demo --keep                          leaves the data folder, to look at or to serve
")]
pub(crate) struct DemoArgs {
    /// Keep the data folder and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}
