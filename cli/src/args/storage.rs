//! `towpath storage`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use towpath_broker::Config;
use towpath_storage::TopicId;
use towpath_storage::dump::Selection;

/// Which of the commands about data folders.
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath storage verify
  towpath storage dump --only journal -o json
  towpath storage repair
")]
pub(crate) struct StorageArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: StorageCommand,
}

/// One command about data folders. None of them needs a broker.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Tell what a data folder holds, without changing it; exit code 1 if something is damaged
    #[command(before_help = "Examples:
  towpath storage dump
  towpath storage dump --data-dir /var/lib/towpath --only journal
  towpath storage dump --only segments --topic 3 -o json | jq 'select(.item == \"frame\")'
")]
    Dump(DumpArgs),
    /// Check a data folder that no broker uses, and name all damage; exit code 1 if something is lost
    #[command(before_help = "Examples:
  towpath storage verify
  towpath storage verify --data-dir /mnt/backup/towpath && echo this backup is whole
  towpath storage verify -o json | jq 'select(.effect == \"lost\")'
")]
    Verify(FolderArgs),
    /// Let a broker start again whose journal is damaged: shows what would be lost, and does it only with
    /// --accept-loss
    #[command(before_help = "Examples:
  towpath storage repair
  towpath storage repair --data-dir /var/lib/towpath --accept-loss
")]
    Repair(RepairArgs),
}

/// Which folder.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder [default: ./towpath-data]
    #[arg(
        long,
        value_name = "DIR",
        env = "TOWPATH_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
}

impl FolderArgs {
    /// The folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        folder_or_default(self.data_dir.as_ref())
    }
}

/// Which folder to repair, and whether.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Do it: what is shown is lost then, and kept in the folder lost+found for people to look at
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

fn folder_or_default(given: Option<&PathBuf>) -> PathBuf {
    given.map_or_else(|| Config::default().data_dir, PathBuf::clone)
}

/// What to tell of a data folder.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The folder; a broker may be using it, and what it is writing may then look torn
    /// [default: ./towpath-data]
    #[arg(
        long,
        value_name = "DIR",
        env = "TOWPATH_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
    /// Only this part; may be given more than once
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        value_name = "checkpoints|runs|journal|segments"
    )]
    only: Vec<DumpPart>,
    /// Only the segments of the topic with this id
    #[arg(long, value_name = "ID")]
    topic: Option<u64>,
    /// Also the rows of checkpoints, runs and journal, with keys and values
    #[arg(long)]
    rows: bool,
    /// Also what earlier lives of journal files have left behind
    #[arg(long)]
    stale: bool,
}

/// A part of a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DumpPart {
    Checkpoints,
    Runs,
    Journal,
    Segments,
}

impl DumpArgs {
    /// The folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        folder_or_default(self.data_dir.as_ref())
    }

    /// What to tell of it.
    pub(crate) fn selection(&self) -> Selection {
        let has = |part| self.only.is_empty() || self.only.contains(&part);
        Selection {
            checkpoints: has(DumpPart::Checkpoints),
            runs: has(DumpPart::Runs),
            journal: has(DumpPart::Journal),
            segments: has(DumpPart::Segments),
            rows: self.rows,
            stale: self.stale,
            topic: self.topic.map(TopicId::new),
        }
    }
}
