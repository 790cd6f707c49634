//! How a round file is made and written; also the flags that say so.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::size::parse_bytes;

/// How bytes get from memory into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Through the page cache, gathered with `pwritev`.
    Buffered,
    /// Copied into an aligned buffer and written with `O_DIRECT`.
    Direct,
}

/// What the file was before a round reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Written to the end before the run and used in a circle, as a recycled journal is.
    Overwritten,
    /// Preallocated and never written; a full one is followed by another.
    Fresh,
}

/// What an append waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Each round is on the disk: `fdatasync`.
    #[value(name = "on")]
    Fdatasync,
    /// Each round was handed to the operating system.
    #[value(name = "off")]
    None,
}

/// How a [`RoundFile`](super::RoundFile) is made and written.
#[derive(Debug, Clone, Args)]
pub struct RoundFileOptions {
    /// Folder on the file system to measure.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// How rounds are written.
    #[arg(long, value_enum, default_value_t = WriteMode::Buffered)]
    pub write: WriteMode,
    /// What the file was before a round reaches it.
    #[arg(long = "file", value_enum, default_value_t = FileKind::Overwritten)]
    pub kind: FileKind,
    /// Whether each round is synced.
    #[arg(long = "sync", value_enum, default_value_t = Durability::Fdatasync)]
    pub durability: Durability,
    /// Length of the file in bytes, rounded up to whole rounds.
    #[arg(long, value_parser = parse_bytes, default_value = "512MiB")]
    pub file_bytes: usize,
}

/// Several ways to make and write a file: every combination is one.
#[derive(Debug, Clone, Args)]
pub struct FileVariants {
    /// Folder on the file system to measure.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Ways of writing to compare.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "buffered,direct"
    )]
    pub write: Vec<WriteMode>,
    /// Kinds of file to compare.
    #[arg(
        long = "file",
        value_enum,
        value_delimiter = ',',
        default_value = "overwritten"
    )]
    pub kind: Vec<FileKind>,
    /// Kinds of durability to compare.
    #[arg(long = "sync", value_enum, value_delimiter = ',', default_value = "on")]
    pub durability: Vec<Durability>,
    /// Length of the file in bytes, rounded up to whole rounds.
    #[arg(long, value_parser = parse_bytes, default_value = "512MiB")]
    pub file_bytes: usize,
}

impl FileVariants {
    /// Lists the combinations, those of one kind of durability together.
    pub fn combinations(&self) -> Vec<RoundFileOptions> {
        let mut combinations = Vec::new();
        for durability in &self.durability {
            for kind in &self.kind {
                for write in &self.write {
                    combinations.push(RoundFileOptions {
                        dir: self.dir.clone(),
                        write: *write,
                        kind: *kind,
                        durability: *durability,
                        file_bytes: self.file_bytes,
                    });
                }
            }
        }
        combinations
    }
}
