//! Golden scripts: what a few steps leave on the disk and which calls they make, written down.
//!
//! Each file in `storage/tests/scripts` is one scenario: its steps, the calls of each with the number of
//! syncs in words, then the dump and the bytes of the structures that it is about. `UPDATE=1` writes the
//! files anew; a change of them is reviewed as a diff.

mod bytes;
mod scenarios;

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use towpath_storage::PartitionRef;
use towpath_storage::dump::{Dump, Selection};
use towpath_storage::vfs::sim::{CrashMode, OperationKind, SimDisk, SimOptions};

use crate::driver::Driver;

/// A scenario while it runs.
struct Script {
    disk: SimDisk,
    broker: Option<Driver>,
    text: String,
}

impl Script {
    fn new(title: &str) -> Self {
        Self {
            disk: SimDisk::new(SimOptions::default()),
            broker: None,
            text: format!("{title}\n"),
        }
    }

    /// Starts in a folder with empty partitions; how those are made is not the subject.
    fn with_partitions(title: &str, partitions: &[PartitionRef]) -> Self {
        let mut script = Self::new(title);
        let mut broker = Driver::open(&script.disk).unwrap();
        for partition in partitions {
            broker.create(*partition);
        }
        broker.checkpoint();
        script.broker = Some(broker);
        script
    }

    fn broker(&self) -> &Driver {
        self.broker.as_ref().expect("the folder is open")
    }

    /// Runs a step and notes its calls under a heading.
    fn step<T>(&mut self, heading: &str, act: impl FnOnce(&mut Driver) -> T) -> T {
        let mut broker = self.broker.take().expect("the script opens the folder");
        let result = self.note(heading, |_| act(&mut broker));
        self.broker = Some(broker);
        result
    }

    /// Opens the folder and notes the calls.
    fn open(&mut self, heading: &str) {
        let broker = self.note(heading, |disk| Driver::open(disk).unwrap());
        self.broker = Some(broker);
    }

    /// The process is killed: the page cache stays.
    fn kill(&mut self) {
        self.broker = None;
        self.disk = self.disk.crash(&CrashMode::Kill);
        self.text += "\n== kill\n";
    }

    fn note<T>(&mut self, heading: &str, act: impl FnOnce(&SimDisk) -> T) -> T {
        let kinds = [
            OperationKind::Write,
            OperationKind::SyncData,
            OperationKind::SyncDir,
        ];
        let counts = |disk: &SimDisk| kinds.map(|kind| disk.count(kind));
        let before = counts(&self.disk);
        self.disk.take_trace();
        let result = act(&self.disk);
        let after = counts(&self.disk);
        let [writes, syncs, folder_syncs] = [0, 1, 2].map(|kind| after[kind] - before[kind]);
        writeln!(
            self.text,
            "\n== {heading}: {}, {}, {}",
            words(writes, "write"),
            words(syncs, "sync"),
            words(folder_syncs, "folder sync")
        )
        .unwrap();
        for line in self.disk.take_trace() {
            writeln!(self.text, "{line}").unwrap();
        }
        result
    }

    fn dump(&mut self) {
        self.text += "\n== dump\n";
        let selection = Selection {
            rows: true,
            stale: true,
            ..Selection::default()
        };
        let text = &mut self.text;
        Dump::new(self.disk.vfs()).run(&selection, &mut |item| {
            let width = 2 * item.depth();
            writeln!(text, "{:width$}{item}", "").unwrap();
            ControlFlow::Continue(())
        });
    }

    /// The bytes of a file, without its runs of zeros.
    fn bytes(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        writeln!(self.text, "\n== bytes of {}", path.display()).unwrap();
        self.text += &bytes::hex(&self.disk.read(path).unwrap());
    }
}

fn words(count: u64, what: &str) -> String {
    match count {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn script_path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    folder.join(name).with_extension("txt")
}

/// Compares what a scenario wrote with its file.
#[expect(
    clippy::disallowed_methods,
    reason = "the scripts are files of the source tree, not of a data folder"
)]
fn check(name: &str, run: fn() -> Script) {
    let found = run().text;
    let path = script_path(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let first_difference = found
        .lines()
        .zip(expected.lines())
        .zip(1..)
        .find(|((found, expected), _)| found != expected);
    assert!(
        found == expected,
        "{} differs, first at {first_difference:?}; UPDATE=1 writes it anew",
        path.display()
    );
    assert_eq!(
        run().text,
        found,
        "the same steps, the same calls and bytes"
    );
}
