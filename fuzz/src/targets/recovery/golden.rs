//! The folder that is damaged: two partitions, inline and by reference, segments that ended, a run of index
//! rows, two checkpoints and a journal behind them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use towpath_storage::vfs::sim::{CrashMode, SimDisk, SimOptions, Trace};
use towpath_storage::{Offset, PartitionRef, Row};

use crate::storage_rooms::driver::{Batch, Driver, Found, P0, P1, index_row, note_row, payload};

pub(super) struct Golden {
    pub(super) disk: SimDisk,
    pub(super) files: Vec<GoldenFile>,
    pub(super) first: Vec<Found>,
    pub(super) second: Vec<Found>,
    pub(super) rows: Vec<Row>,
    ends: [Offset; 2],
}

pub(super) struct GoldenFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) kind: Kind,
}

/// What a file is, by what its loss means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Journal,
    Checkpoint,
    Segment,
    Index,
    Run,
    Other,
}

impl Golden {
    /// The same in every process.
    pub(super) fn get() -> &'static Self {
        static GOLDEN: OnceLock<Golden> = OnceLock::new();
        GOLDEN.get_or_init(Self::make)
    }

    pub(super) fn end(&self, partition: PartitionRef) -> Offset {
        self.ends[partition.partition as usize]
    }

    fn make() -> Self {
        let disk = SimDisk::new(SimOptions {
            trace: Trace::Off,
            ..SimOptions::default()
        });
        let mut broker = Driver::open_seeded(&disk, 7).expect("a new folder");
        let rows = write(&mut broker);
        let found = |partition| broker.read(partition, 0);
        let (first, second) = (found(P0), found(P1));
        let ends = [P0, P1].map(|partition| broker.log(partition).end());
        drop(broker);
        let disk = disk.crash(&CrashMode::Kill);
        let paths = disk.paths().into_iter();
        let files = paths.filter_map(|path| {
            let path = PathBuf::from(path);
            let bytes = disk.read(&path).ok()?;
            let kind = kind_of(&path);
            Some(GoldenFile { path, bytes, kind })
        });
        let files = files.filter(|file| !file.bytes.is_empty()).collect();
        Self {
            disk,
            files,
            first,
            second,
            rows,
            ends,
        }
    }
}

fn write(broker: &mut Driver) -> Vec<Row> {
    let row = |number: u64| index_row(&format!("row {number:03}"), Some(payload(number, 40)));
    let rows: Vec<Row> = (0..60).map(row).collect();
    broker.create(P0);
    broker.create(P1);
    broker.round([
        Batch::inline(P0, payload(0, 50)).records(3),
        Batch::inline(P1, payload(1, 401)),
    ]);
    broker.round([
        Batch::reference(P0, payload(2, 300)).records(2),
        Batch::reference(P0, payload(3, 18_000)),
    ]);
    broker.entry(Vec::new(), rows[..40].to_vec());
    broker.entry(Vec::new(), vec![note_row("colour", Some("red"))]);
    broker.commit();
    broker.checkpoint();
    broker.roll(P0);
    broker.round([
        Batch::inline(P0, payload(4, 17_000)),
        Batch::inline(P0, payload(5, 90)),
    ]);
    broker.entry(Vec::new(), rows[40..50].to_vec());
    broker.commit();
    broker.checkpoint();
    broker.round([
        Batch::inline(P0, payload(6, 60)),
        Batch::inline(P1, payload(7, 61)),
    ]);
    broker.settle();
    broker.entry(vec![Batch::inline(P1, payload(8, 62))], rows[50..].to_vec());
    broker.commit();
    broker.round([Batch::reference(P1, payload(9, 900))]);
    broker.round([Batch::inline(P0, payload(10, 30))]);
    broker.mark();
    rows
}

fn kind_of(path: &Path) -> Kind {
    let is = |name: &str| path.extension().is_some_and(|it| it == name);
    match path {
        _ if path.starts_with("journal") => Kind::Journal,
        _ if path.starts_with("checkpoint") => Kind::Checkpoint,
        _ if path.starts_with("index") => Kind::Run,
        _ if is("log") => Kind::Segment,
        _ if is("index") => Kind::Index,
        _ => Kind::Other,
    }
}
