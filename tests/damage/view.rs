//! All that can be read of a data folder, and whether what is read of a damaged one is right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use towpath_broker::runtime::engine::Engine;
use towpath_storage::dump::{Dump, Item, Selection};
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{
    Direction, Environment, Frame, INDEX_TABLES, Lsn, Offset, OffsetRange, OpenError, PartitionLog,
    PartitionRef, ReadCursor, ReadLimit, RowKey, RowRange, SimClock, SimEntropy, StorageError,
    TailRead,
};

use crate::script::options;

/// Above the tables of index rows.
const INDEX_TABLES_END: u16 = INDEX_TABLES + 0x20;

/// A frame, in all that readers see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) base: u64,
    pub(crate) end: u64,
    lsn: u64,
    time_ms: i64,
    codec: u8,
    offsets: Vec<u64>,
    payload: Bytes,
}

impl Read {
    fn of(frame: &Frame) -> Self {
        let header = &frame.header;
        let offsets = (0..header.record_count).filter_map(|place| frame.offset_of(place));
        Self {
            base: header.base_offset.get(),
            end: header.next_offset().get(),
            lsn: header.lsn.get(),
            time_ms: header.append_time_ms,
            codec: header.codec,
            offsets: offsets.map(Offset::get).collect(),
            payload: frame.payload.clone(),
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// What a reader comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Frame(Read),
    Loss(u64, u64),
}

/// What is read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionView {
    log_start: u64,
    end: u64,
    /// From the start to the end.
    pub(crate) read: Vec<Found>,
}

impl PartitionView {
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether all that was read is also at the beginning of another view, which may be trimmed further.
    pub(crate) fn is_beginning_of(&self, other: &Self) -> bool {
        let known = |it: &Found| other.read.contains(it) || other.is_below_start(it);
        self.read.iter().all(known)
    }

    /// Whether a frame lies wholly below the start.
    pub(crate) fn is_below_start(&self, read: &Found) -> bool {
        match read {
            Found::Frame(read) => read.end <= self.log_start,
            Found::Loss(..) => false,
        }
    }
}

/// The rows of a table of an index, or why they cannot be read.
type Table = Result<BTreeMap<Bytes, Bytes>, String>;

/// All that there is.
#[derive(Debug)]
pub(crate) struct View {
    /// The state, without storage's own rows.
    rows: BTreeMap<RowKey, Bytes>,
    index: BTreeMap<u16, Table>,
    pub(crate) partitions: BTreeMap<PartitionRef, PartitionView>,
    /// Ranges that recovery said are lost.
    pub(crate) reported: Vec<(PartitionRef, OffsetRange)>,
}

/// Opens a folder.
pub(crate) fn open(disk: &SimDisk, seed: u64) -> Result<Engine, OpenError> {
    let environment = Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(1_700_000_100_000)),
        entropy: Arc::new(SimEntropy::new(seed)),
    };
    Engine::open(&environment, &options())
}

impl View {
    /// Reads all of an open folder.
    pub(crate) fn of(engine: &Engine, disk: &SimDisk) -> Result<Self, StorageError> {
        let topics = engine.shared.published.topics();
        let mut partitions = BTreeMap::new();
        for handle in topics.topics().flat_map(|view| view.partitions()) {
            let log = handle.log();
            let view = PartitionView {
                log_start: log.log_start().get(),
                end: log.end().get(),
                read: read_all(engine, log)?,
            };
            partitions.insert(log.partition(), view);
        }
        let losses = engine.report.losses.iter();
        Ok(Self {
            rows: rows_of(disk),
            index: index_of(engine),
            partitions,
            reported: losses.map(|it| (it.partition, it.range)).collect(),
        })
    }

    /// Number of frames.
    pub(crate) fn frame_count(&self) -> usize {
        let read = self.partitions.values().flat_map(|it| &it.read);
        read.filter(|it| matches!(it, Found::Frame(_))).count()
    }

    /// Number of rows of indexes.
    pub(crate) fn index_row_count(&self) -> usize {
        let tables = self.index.values();
        tables
            .filter_map(|it| it.as_ref().ok())
            .map(BTreeMap::len)
            .sum()
    }

    /// Number of rows of the state.
    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }
}

impl View {
    /// What is there, for people and for later releases: nothing of how it is written down.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        let mut tables: BTreeMap<u16, u64> = BTreeMap::new();
        self.rows
            .keys()
            .for_each(|key| *tables.entry(key.table).or_default() += 1);
        for (table, count) in tables {
            writeln!(text, "table {table}: {count} rows").unwrap();
        }
        for (table, rows) in &self.index {
            let count = rows.as_ref().map(BTreeMap::len);
            writeln!(text, "index table {table}: {count:?} rows").unwrap();
        }
        for (partition, view) in &self.partitions {
            writeln!(
                text,
                "partition {partition}: {}..{}",
                view.log_start, view.end
            )
            .unwrap();
            for read in &view.read {
                match read {
                    Found::Loss(start, end) => writeln!(text, "  lost {start}..{end}"),
                    Found::Frame(it) => writeln!(
                        text,
                        "  frame {}..{} lsn={} time={} codec={} offsets={:?} bytes={} crc={:08x}",
                        it.base,
                        it.end,
                        it.lsn,
                        it.time_ms,
                        it.codec,
                        it.offsets,
                        it.payload.len(),
                        towpath_proto::batch::crc(&it.payload),
                    ),
                }
                .unwrap();
            }
        }
        text
    }
}

/// What is wrong with what was read of a damaged folder, if anything is; else how much is lost or cannot be
/// read, and was named.
pub(crate) fn compare(truth: &View, found: &View) -> Result<Named, String> {
    let mut named = Named::default();
    if truth.rows != found.rows {
        return Err(format!("rows differ: {}", differing(truth, found)));
    }
    for (number, table) in &truth.index {
        match found.index.get(number) {
            Some(Err(_)) => named.tables += 1,
            read if read == Some(table) => {}
            read => return Err(format!("index table {number}: {read:?}")),
        }
    }
    if truth.partitions.keys().ne(found.partitions.keys()) {
        return Err("other partitions".to_owned());
    }
    for (partition, truth) in &truth.partitions {
        let found = &found.partitions[partition];
        let lost = compare_partition(truth, found);
        named.records += lost.map_err(|what| format!("partition {partition}: {what}"))?;
    }
    Ok(named)
}

/// What was said to be lost, or cannot be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) records: u64,
    pub(crate) tables: u64,
}

fn differing(truth: &View, found: &View) -> String {
    let keys = truth.rows.keys().chain(found.rows.keys());
    let differs = |key: &&RowKey| truth.rows.get(*key) != found.rows.get(*key);
    let keys: Vec<_> = keys.filter(differs).take(3).collect();
    format!("{keys:?}")
}

fn compare_partition(truth: &PartitionView, found: &PartitionView) -> Result<u64, String> {
    if (truth.log_start, truth.end) != (found.log_start, found.end) {
        return Err(format!("from {} to {}", found.log_start, found.end));
    }
    let mut lost = 0;
    for read in &found.read {
        match read {
            Found::Frame(_) if truth.read.contains(read) => {}
            Found::Frame(read) => {
                return Err(format!(
                    "a frame that was never written: {}..{}",
                    read.base, read.end
                ));
            }
            Found::Loss(start, end) => lost += end - start,
        }
    }
    Ok(lost)
}

fn rows_of(disk: &SimDisk) -> BTreeMap<RowKey, Bytes> {
    let mut rows = BTreeMap::new();
    let selection = Selection {
        checkpoints: true,
        runs: false,
        journal: false,
        segments: false,
        rows: true,
        stale: false,
        topic: None,
    };
    Dump::new(disk.vfs()).run(&selection, &mut |item| {
        match item {
            // Oldest first: what is left in the end is of the newest.
            Item::Checkpoint { damage: None, .. } => rows.clear(),
            Item::Row(row) if row.key.table < INDEX_TABLES - 1 => {
                rows.insert(row.key.clone(), row.value.clone().unwrap_or_default());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    rows
}

fn index_of(engine: &Engine) -> BTreeMap<u16, Table> {
    let runs = engine.shared.index.snapshot().runs;
    let table = |number| {
        let scan = runs.scan(&RowRange::table(number), Direction::Forward);
        let rows = scan.map(|row| row.map(|(key, value)| (key.key, value)));
        let rows: Result<BTreeMap<_, _>, _> = rows.collect();
        (number, rows.map_err(|error| error.to_string()))
    };
    let tables = (INDEX_TABLES..INDEX_TABLES_END).map(table);
    tables
        .filter(|(_, rows)| rows.as_ref().is_err() || rows.as_ref().is_ok_and(|it| !it.is_empty()))
        .collect()
}

/// Frames, and what is lost behind them.
type Piece = (Vec<Frame>, Option<OffsetRange>);

/// One read behind an offset: frames, then what is lost behind them.
fn step(
    engine: &Engine,
    log: &PartitionLog,
    cursor: &mut Option<ReadCursor>,
    offset: Offset,
) -> Result<Option<Piece>, StorageError> {
    let limit = ReadLimit {
        bytes_max: 4_000,
        lsn_max: Lsn::new(u64::MAX),
    };
    Ok(match log.read_tail(offset, limit) {
        TailRead::AtEnd => None,
        TailRead::Frames(frames) => Some((frames, None)),
        TailRead::OnDisk { until } => {
            let read = engine.reader.read(log, *cursor, offset, until, limit)?;
            *cursor = read.cursor;
            Some((read.frames, read.loss))
        }
    })
}

fn read_all(engine: &Engine, log: &PartitionLog) -> Result<Vec<Found>, StorageError> {
    let (mut offset, mut cursor) = (log.log_start(), None);
    let mut found = Vec::new();
    while let Some((frames, loss)) = step(engine, log, &mut cursor, offset)? {
        assert!(!frames.is_empty() || loss.is_some(), "nothing at {offset}");
        for frame in frames {
            assert!(frame.header.base_offset <= offset, "a gap at {offset}");
            offset = frame.header.next_offset();
            found.push(Found::Frame(Read::of(&frame)));
        }
        if let Some(loss) = loss {
            assert_eq!(loss.start, offset, "a loss begins where the frames end");
            assert!(loss.end > loss.start, "a loss of nothing at {offset}");
            offset = loss.end;
            found.push(Found::Loss(loss.start.get(), loss.end.get()));
        }
    }
    assert_eq!(offset, log.end(), "a read reaches the end");
    Ok(found)
}

/// Looks each frame up by its offset and by its time, as a reader does who begins there. Compares with what
/// is read from the beginning.
pub(crate) fn check_look_ups(engine: &Engine, truth: &View, found: &View) -> Result<(), String> {
    let topics = engine.shared.published.topics();
    for handle in topics.topics().flat_map(|view| view.partitions()) {
        let log = handle.log();
        let (truth, found) = (
            &truth.partitions[&log.partition()],
            &found.partitions[&log.partition()],
        );
        let failed = |error: StorageError| format!("{}: {error}", log.partition());
        for read in &found.read {
            let Found::Frame(read) = read else { continue };
            let start = Offset::new(read.base.max(found.log_start));
            let first = step(engine, log, &mut None, start).map_err(failed)?;
            let (frames, _) = first.unwrap_or_default();
            if frames.first().map(Read::of).as_ref() != Some(read) {
                return Err(format!("{}: not found at {start}", log.partition()));
            }
        }
        let is_lost = |offset: u64| {
            found.read.iter().any(|it| match it {
                Found::Loss(start, end) => (*start..*end).contains(&offset),
                Found::Frame(_) => false,
            })
        };
        for read in &truth.read {
            let Found::Frame(read) = read else { continue };
            let first = truth.read.iter().find_map(|it| match it {
                Found::Frame(it) if it.time_ms >= read.time_ms => Some(it.base),
                _ => None,
            });
            let sought = engine
                .reader
                .offset_at_time(log, read.time_ms)
                .map_err(failed)?;
            let mut expected = first.unwrap_or(truth.end).max(truth.log_start);
            while is_lost(expected) {
                expected += 1;
            }
            if sought.get() != expected {
                let time_ms = read.time_ms;
                let partition = log.partition();
                return Err(format!(
                    "{partition}: time {time_ms} is at {sought}, not {expected}"
                ));
            }
        }
    }
    Ok(())
}
