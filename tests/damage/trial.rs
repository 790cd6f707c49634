//! Opening a damaged folder and judging what comes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokio::sync::oneshot;
use towpath_broker::core::AppendRequest;
use towpath_broker::offline::verify_folder;
use towpath_broker::runtime::command::{DataCommand, Permits};
use towpath_broker::runtime::engine::Engine;
use towpath_storage::dump::{Dump, Ending, Item, Selection};
use towpath_storage::verify::Summary;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::vfs::{OpenMode, write_all_at};
use towpath_storage::{DirectoryLine, OpenError, StorageError};

use crate::script::{Golden, golden};
use crate::view::{Found, Named, View, check_look_ups, compare, open};

/// Appended behind damage.
const BEHIND: &[u8] = b"behind the damage";

/// What comes of damage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Everything is as it was.
    Harmless,
    /// Some records are said to be lost.
    Lost,
    /// Fewer records are lost than checking the folder said.
    FewerLost,
    /// Rows of indexes cannot be read, and that is said.
    Unreadable,
    /// The folder is not opened.
    Refused(&'static str),
    /// The newest records are gone without a word, all before them is right.
    Shorter,
    /// An answer is wrong, or the broker panics.
    Wrong(String),
}

/// How often each came.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<Outcome, u64>,
    wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn note(&mut self, outcome: Outcome, what: impl FnOnce() -> String) {
        match outcome {
            Outcome::Wrong(why) => self.wrong.push(format!("{}: {why}", what())),
            outcome => *self.counts.entry(outcome).or_default() += 1,
        }
    }

    /// Says what came, and fails if an answer was wrong.
    pub(crate) fn conclude(self, title: &str) {
        println!("{title}: {self}");
        let shown: Vec<_> = self.wrong.iter().take(20).collect();
        assert!(
            self.wrong.is_empty(),
            "{} wrong: {shown:#?}",
            self.wrong.len()
        );
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum: u64 = self.counts.values().sum();
        write!(f, "{} cases", sum + self.wrong.len() as u64)?;
        for (outcome, count) in &self.counts {
            write!(f, ", {count} {outcome:?}")?;
        }
        write!(f, ", {} wrong", self.wrong.len())
    }
}

/// A folder to be damaged.
pub(crate) struct Subject {
    pub(crate) golden: Golden,
    pub(crate) truth: View,
    /// The files as they are.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    last_journal_file: String,
}

impl Subject {
    pub(crate) fn new() -> Self {
        let golden = golden();
        let whole = golden.disk.fork();
        let engine = open(&whole, 77).unwrap();
        let truth = View::of(&engine, &whole).unwrap();
        check_look_ups(&engine, &truth, &truth).unwrap();
        assert_eq!(
            compare(&truth, &truth),
            Ok(Named::default()),
            "nothing is lost"
        );
        assert!(truth.reported.is_empty(), "nor was it reported");
        let files = golden.disk.paths().into_iter().filter_map(|path| {
            let bytes = golden.disk.read(Path::new(&path)).ok()?;
            Some((path, bytes))
        });
        let files: BTreeMap<_, _> = files.collect();
        println!(
            "{} files with {} bytes, {} frames, {} rows, {} rows of indexes",
            files.len(),
            files.values().map(Vec::len).sum::<usize>(),
            truth.frame_count(),
            truth.row_count(),
            truth.index_row_count(),
        );
        let mut last_journal_file = String::new();
        Dump::new(golden.disk.vfs()).run(&Selection::default(), &mut |item| {
            if let Item::JournalEnd {
                ending: Ending::Clean { at },
                ..
            } = item
            {
                last_journal_file = format!("journal/{:020}.journal", at.file);
            }
            ControlFlow::Continue(())
        });
        Self {
            golden,
            truth,
            files,
            last_journal_file,
        }
    }

    /// The journal file that the broker was writing.
    pub(crate) fn last_journal_file(&self) -> &str {
        &self.last_journal_file
    }

    /// What comes of what `damage` does to a copy of the folder. If it is about the end of the journal, a
    /// shorter one may be found.
    pub(crate) fn try_damage(
        &self,
        goes_on: bool,
        damage: impl FnOnce(&SimDisk) -> std::io::Result<()>,
    ) -> Outcome {
        match self.try_cut(goes_on, damage) {
            Outcome::FewerLost => Outcome::Wrong("verify: more lost than are".to_owned()),
            outcome => outcome,
        }
    }

    /// As [`Subject::try_damage`]. A file that was cut within zeros has them again when it becomes longer, so
    /// that fewer records may be lost than are while it is short.
    pub(crate) fn try_cut(
        &self,
        goes_on: bool,
        damage: impl FnOnce(&SimDisk) -> std::io::Result<()>,
    ) -> Outcome {
        let disk = self.golden.disk.fork();
        damage(&disk).unwrap();
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let verified = verify_folder(disk.vfs(), &mut |_| ControlFlow::Continue(()));
            let (outcome, lost) = self.judge(&disk, goes_on);
            match check_verified(verified, &outcome, lost) {
                Ok(true) => Outcome::FewerLost,
                Ok(false) => outcome,
                Err(why) => Outcome::Wrong(why),
            }
        }));
        tried.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Outcome::Wrong(format!("panic: {text:?}"))
        })
    }

    /// What comes of it, and how many records are said to be lost.
    fn judge(&self, disk: &SimDisk, goes_on: bool) -> (Outcome, u64) {
        let mut engine = match open(disk, 78) {
            Ok(engine) => engine,
            Err(error) => return (self.judge_refused(disk, &error), 0),
        };
        let found = match View::of(&engine, disk) {
            Ok(found) => found,
            Err(error) => return (Outcome::Wrong(format!("a read fails: {error}")), 0),
        };
        let named = match compare(&self.truth, &found) {
            Ok(named) => named,
            Err(_) if is_shorter(&self.truth, &found) => return (Outcome::Shorter, 0),
            Err(why) => return (Outcome::Wrong(why), 0),
        };
        if let Err(why) = check_look_ups(&engine, &self.truth, &found) {
            return (Outcome::Wrong(format!("look-up: {why}")), 0);
        }
        if goes_on && let Err(why) = go_on(&mut engine, disk, &found) {
            return (Outcome::Wrong(format!("going on: {why}")), 0);
        }
        let outcome = match named {
            Named { records: 1.., .. } => Outcome::Lost,
            Named { tables: 1.., .. } => Outcome::Unreadable,
            Named { .. } => Outcome::Harmless,
        };
        (outcome, named.records)
    }

    /// A refused start has changed nothing that matters: undo the damage, and all is there.
    fn judge_refused(&self, disk: &SimDisk, error: &OpenError) -> Outcome {
        let refusal = match error {
            OpenError::JournalDamaged { .. } => "JournalDamaged",
            OpenError::NotUsable { .. } => "NotUsable",
            OpenError::NewerFormat { .. } => "NewerFormat",
            OpenError::Storage(StorageError::Corrupt(_)) => "Corrupt",
            other => return Outcome::Wrong(format!("refused for {other:?}")),
        };
        for (path, bytes) in &self.files {
            write_file(disk, path, bytes).unwrap();
        }
        let engine = match open(disk, 79) {
            Ok(engine) => engine,
            Err(error) => return Outcome::Wrong(format!("damage undone: {error}")),
        };
        let compared = match View::of(&engine, disk) {
            Ok(found) => compare(&self.truth, &found),
            Err(error) => Err(error.to_string()),
        };
        match compared {
            Ok(named) if named == Named::default() => Outcome::Refused(refusal),
            other => Outcome::Wrong(format!("damage undone: {other:?}")),
        }
    }
}

/// An entry of the journal.
pub(crate) struct JournalEntry {
    /// Its file.
    pub(crate) path: String,
    /// Where in the file it begins.
    pub(crate) position: u64,
    /// What it appends.
    pub(crate) appends: Vec<DirectoryLine>,
}

/// All entries of the journal.
pub(crate) fn entries(disk: &SimDisk) -> Vec<JournalEntry> {
    let (mut file, mut entries) = (String::new(), Vec::<JournalEntry>::new());
    Dump::new(disk.vfs()).run(&Selection::default(), &mut |item| {
        match item {
            Item::JournalFile { path, .. } => file = path.display().to_string(),
            Item::Entry { at, .. } => entries.push(JournalEntry {
                path: file.clone(),
                position: at.position,
                appends: Vec::new(),
            }),
            Item::Append { line, .. } => {
                if let Some(entry) = entries.last_mut() {
                    entry.appends.push(*line);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    entries
}

/// Gives a file this content.
pub(crate) fn write_file(disk: &SimDisk, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let (vfs, path) = (disk.vfs(), Path::new(path));
    let file = match vfs.open(path, OpenMode::Write) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            vfs.open(path, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    file.set_len(bytes.len() as u64)?;
    write_all_at(&*file, bytes, 0)
}

pub(crate) fn overwrite(
    disk: &SimDisk,
    path: &str,
    position: u64,
    bytes: &[u8],
) -> std::io::Result<()> {
    let file = disk.vfs().open(Path::new(path), OpenMode::Write)?;
    write_all_at(&*file, bytes, position)?;
    file.sync_data()
}

fn is_shorter(truth: &View, found: &View) -> bool {
    let mut partitions = found.partitions.iter();
    partitions.all(|(partition, found)| {
        let truth = truth.partitions.get(partition);
        truth.is_some_and(|truth| found.is_beginning_of(truth))
    })
}

/// What checking the folder says must be what opening and reading it then comes to; returns whether it says
/// that more is lost than is.
fn check_verified(
    verified: Result<Summary, OpenError>,
    outcome: &Outcome,
    lost: u64,
) -> Result<bool, String> {
    let summary = match (verified, outcome) {
        (Ok(summary), _) => summary,
        (Err(_), Outcome::Refused(_)) => return Ok(false),
        (Err(error), _) => return Err(format!("verify: {error}, and it is {outcome:?}")),
    };
    let expected = match outcome {
        Outcome::Refused(_) => summary.is_refused,
        Outcome::Lost => !summary.is_refused && summary.lost_record_count == lost,
        Outcome::Unreadable => {
            !summary.is_refused && summary.finding_count > summary.harmless_count
        }
        Outcome::Harmless => !summary.is_refused && summary.finding_count == summary.harmless_count,
        Outcome::Shorter | Outcome::FewerLost | Outcome::Wrong(_) => true,
    };
    let is_more = matches!(outcome, Outcome::Lost | Outcome::Harmless)
        && !summary.is_refused
        && summary.lost_record_count > lost;
    match expected {
        true => Ok(false),
        false if is_more => Ok(true),
        false => Err(format!(
            "verify: {summary:?}, and it is {outcome:?}, {lost} lost"
        )),
    }
}

fn settle_down(engine: &mut Engine) -> Result<(), StorageError> {
    while engine.step_round()? || engine.step_settle()? || engine.step_maintenance()? {}
    Ok(())
}

/// Appends to every partition, opens the folder again, and compares: what was found is still found, and what
/// was acknowledged stands behind it.
fn go_on(engine: &mut Engine, disk: &SimDisk, found: &View) -> Result<(), String> {
    let mut accepted = Vec::new();
    for partition in found.partitions.keys() {
        let request = AppendRequest::plain(*partition, BEHIND, 1);
        let (answer, mut published) = oneshot::channel();
        let command = DataCommand::Publish {
            appends: vec![(request, BEHIND.into())],
            facts: None,
            letters: None,
            answer,
            permits: Permits::default(),
        };
        engine.shared.commands.push_data(command).unwrap();
        settle_down(engine).map_err(|error| error.to_string())?;
        match published.try_recv() {
            Ok(Ok(_)) => accepted.push(*partition),
            Ok(Err(_)) => {}
            Err(error) => return Err(format!("{partition} is not answered: {error}")),
        }
    }
    let again = disk.crash(&towpath_storage::vfs::sim::CrashMode::Kill);
    let engine = open(&again, 80).map_err(|error| format!("opened again: {error}"))?;
    let later = View::of(&engine, &again).map_err(|error| error.to_string())?;
    for (partition, before) in &found.partitions {
        let after = &later.partitions[partition].read;
        let (kept, new) = after.split_at(before.read.len().min(after.len()));
        let is_new = match new {
            [] => !accepted.contains(partition),
            [Found::Frame(read)] => read.payload() == BEHIND,
            _ => false,
        };
        if kept != before.read || !is_new {
            return Err(format!(
                "{partition}: {} became {}",
                before.read.len(),
                after.len()
            ));
        }
    }
    Ok(())
}
