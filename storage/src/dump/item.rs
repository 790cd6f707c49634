//! What a dump tells: one item at a time, as a line of text or as named values.

mod fields;

use std::path::PathBuf;

use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::{DirectoryLine, EntryHeader};
use crate::format::frame::FrameHeader;
use crate::format::index_entry::IndexEntry;
use crate::format::journal_header::JournalHeader;
use crate::format::row::Row;
use crate::format::run_file::{RunFooter, TableSummary};
use crate::format::segment_header::SegmentHeader;
use crate::ids::{BrokerId, Lsn, SegmentRef};
use crate::journal::JournalPosition;
pub use fields::Value;

/// One fact about a data folder. `None` for a header or footer means that it is damaged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Item {
    /// The folder; always the first item.
    Folder {
        /// Its path as a person would name it.
        path: PathBuf,
        /// Its identity, if the format file is readable.
        broker_id: Option<BrokerId>,
        /// The process that is using it.
        user_pid: Option<u32>,
        /// What is wrong with the format file.
        trouble: Option<String>,
    },
    /// A name that storage did not give.
    Unknown {
        /// Where.
        path: PathBuf,
    },
    /// A file that was set aside.
    Quarantined {
        /// Where.
        path: PathBuf,
        /// Its length, if it could be opened.
        bytes: Option<u64>,
    },
    /// A checkpoint file.
    Checkpoint {
        /// Where.
        path: PathBuf,
        /// Its footer.
        footer: Option<CheckpointFooter>,
        /// What is wrong with it.
        damage: Option<String>,
    },
    /// The rows of one table in a checkpoint.
    Table {
        /// Number of the table.
        table: u16,
        /// Number of its rows.
        row_count: u64,
        /// Length of the rows as they are encoded.
        bytes: u64,
    },
    /// A run of index rows.
    Run {
        /// Where.
        path: PathBuf,
        /// Its footer.
        footer: Option<RunFooter>,
        /// Its place by age among those that the newest checkpoint names, the newest has the highest; none
        /// if that checkpoint does not name it.
        rank: Option<u64>,
        /// What is wrong with it.
        damage: Option<String>,
    },
    /// The rows of one table in a run.
    RunTable(TableSummary),
    /// A row of a checkpoint, a run or an entry.
    Row(Row),
    /// A journal file.
    JournalFile {
        /// Where.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// Its header.
        header: Option<JournalHeader>,
        /// What the newest intact checkpoint makes of it.
        role: &'static str,
    },
    /// An entry whose header is intact.
    Entry {
        /// Where it begins.
        at: JournalPosition,
        /// Its header.
        header: EntryHeader,
        /// What is wrong with the rest of it.
        damage: Option<&'static str>,
    },
    /// An append of an entry.
    Append {
        /// Its directory line.
        line: DirectoryLine,
        /// What is wrong with the frame in the entry.
        damage: Option<&'static str>,
    },
    /// What looks like an entry of an earlier life of its file; nothing vouches for it.
    StaleEntry {
        /// Where.
        at: JournalPosition,
        /// The LSN that it claims.
        lsn: Lsn,
    },
    /// Where the journal ends, as recovery would judge it.
    JournalEnd {
        /// The last entry that recovery would replay.
        lsn: Lsn,
        /// How it ends.
        ending: Ending,
    },
    /// A segment file.
    Segment {
        /// Where.
        path: PathBuf,
        /// The segment that its path names.
        segment: SegmentRef,
        /// Its length.
        bytes: u64,
        /// Its header.
        header: Option<SegmentHeader>,
    },
    /// A frame whose header is intact.
    Frame {
        /// Where it begins in the segment.
        position: u64,
        /// Its header.
        header: FrameHeader,
        /// What is wrong with its payload.
        damage: Option<&'static str>,
    },
    /// An entry of a segment's index.
    IndexEntry(IndexEntry),
    /// Something that is not as it should be.
    Trouble {
        /// In which file or folder.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What.
        what: String,
    },
}

/// How the journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Behind a whole entry; what follows was never written in this life of the file.
    Clean {
        /// Where the next entry would be.
        at: JournalPosition,
    },
    /// With bytes of a round that was never acknowledged.
    Torn {
        /// Where they begin.
        at: JournalPosition,
        /// How many recovery would set aside.
        bytes: u64,
    },
    /// At an entry that had been durable: recovery refuses to start.
    Damaged {
        /// Where.
        at: JournalPosition,
        /// What is wrong with it.
        what: &'static str,
        /// Where something says that it had been durable.
        evidence: JournalPosition,
    },
    /// Before it begins: the file that the newest checkpoint names is missing or not that file.
    Missing {
        /// Where it should begin.
        at: JournalPosition,
    },
}

impl Item {
    /// The word that begins its line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::Unknown { .. } => "unknown",
            Self::Quarantined { .. } => "quarantined",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Table { .. } => "table",
            Self::Run { .. } => "run",
            Self::RunTable(_) => "run_table",
            Self::Row(_) => "row",
            Self::JournalFile { .. } => "journal_file",
            Self::Entry { .. } => "entry",
            Self::Append { .. } => "append",
            Self::StaleEntry { .. } => "stale_entry",
            Self::JournalEnd { .. } => "journal_end",
            Self::Segment { .. } => "segment",
            Self::Frame { .. } => "frame",
            Self::IndexEntry(_) => "index_entry",
            Self::Trouble { .. } => "trouble",
        }
    }

    /// How deep it lies inside the items before it, from 0.
    pub fn depth(&self) -> usize {
        match self {
            Self::Folder { .. }
            | Self::Unknown { .. }
            | Self::Quarantined { .. }
            | Self::Checkpoint { .. }
            | Self::Run { .. }
            | Self::JournalFile { .. }
            | Self::JournalEnd { .. }
            | Self::Segment { .. } => 0,
            Self::Table { .. }
            | Self::RunTable(_)
            | Self::Entry { .. }
            | Self::StaleEntry { .. }
            | Self::Frame { .. }
            | Self::IndexEntry(_)
            | Self::Trouble { .. } => 1,
            Self::Row(_) | Self::Append { .. } => 2,
        }
    }

    /// Whether it tells of damage, or of something that should not be there.
    pub fn is_trouble(&self) -> bool {
        self.fields()
            .iter()
            .any(|(name, _)| ["damage", "trouble", "what"].contains(name))
    }
}
