//! Runs against a plain map of rows: whatever is written, merged and opened again, in any order.
#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "storage gave these names"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::environment::testing::seeded;
use crate::environment::{SimClock, SimEntropy};
use crate::error::StorageError;
use crate::folder;
use crate::format::row::{Row, RowKey};
use crate::ids::Lsn;
use crate::vfs::sim::{Fault, Injection, OperationKind, SimDisk, SimOptions, Trace};
use crate::vfs::{OpenMode, write_all_at};

const TABLES: [u16; 2] = [0x8000, 0x8001];
const BROKER: BrokerId = BrokerId::new([1; 16]);

fn disk() -> SimDisk {
    SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    })
}

fn options(cache_bytes: u64) -> IndexOptions {
    IndexOptions {
        cache_bytes,
        // The rows of one table share their first bytes, those of the other are looked for one by one.
        filter_key_bytes: |table| if table == 0x8000 { 2 } else { usize::MAX },
    }
}

fn key(table: u16, key: &[u8]) -> RowKey {
    RowKey {
        table,
        key: Bytes::copy_from_slice(key),
    }
}

/// The index store of one folder, as checkpoints would drive it.
struct Folder {
    disk: SimDisk,
    keeper: RunKeeper,
    lsn: Lsn,
    cache_bytes: u64,
}

impl Folder {
    fn new(cache_bytes: u64) -> Self {
        let disk = disk();
        let keeper = open(&disk, cache_bytes, &[]).unwrap();
        let lsn = Lsn::ZERO;
        Self {
            disk,
            keeper,
            lsn,
            cache_bytes,
        }
    }

    fn current(&self) -> Arc<RunSet> {
        self.keeper.store().current()
    }

    fn write(&mut self, rows: &[Row]) {
        self.lsn = self.lsn.next();
        let mut staged = self.keeper.stage(rows, self.lsn).unwrap();
        self.keeper.note_named(&mut staged);
        self.keeper.install(staged);
        self.keeper.remove_unneeded();
    }

    /// Carries out a merge if one is due, and installs it.
    fn merge(&mut self, mut keep: impl FnMut(&RowKey, &[u8]) -> bool) -> bool {
        let Some(mut job) = self.keeper.merge_job() else {
            return false;
        };
        assert!(self.keeper.merge_job().is_none(), "one at a time");
        let merged = loop {
            match job.step(&mut keep).unwrap() {
                MergeStep::Unfinished(rest) => job = rest,
                MergeStep::Finished(merged) => break merged,
            }
        };
        self.keeper.take_merged(merged);
        assert!(self.keeper.merge_job().is_none(), "one waits");
        self.write(&[]);
        true
    }

    fn reopen(&mut self) {
        let current = self.current();
        let named: Vec<_> = current.runs().iter().map(|run| run.row()).collect();
        self.keeper = open(&self.disk, self.cache_bytes, &named).unwrap();
    }
}

fn open(
    disk: &SimDisk,
    cache_bytes: u64,
    named: &[crate::format::run_row::RunRow],
) -> Result<RunKeeper, StorageError> {
    let environment = Environment {
        vfs: disk.vfs(),
        clock: Arc::new(SimClock::new(0)),
        entropy: Arc::new(SimEntropy::new(disk.operations())),
    };
    RunKeeper::open(&environment, BROKER, &options(cache_bytes), named)
}

#[derive(Debug, Clone)]
enum Step {
    Write(BTreeMap<(u16, Vec<u8>), Option<usize>>),
    /// Keys that begin with this byte are not needed any more.
    Merge(Option<u8>),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = (0..TABLES.len(), prop::collection::vec(0..3_u8, 0..5));
    let key = key.prop_map(|(table, key)| (TABLES[table], key));
    let length = prop_oneof![12 => 0..200_usize, 2 => 5_000..40_000_usize];
    let value = prop_oneof![1 => Just(None), 3 => length.prop_map(Some)];
    let write = prop::collection::btree_map(key, value, 0..60).prop_map(Step::Write);
    let merge = prop::option::of(0..3_u8).prop_map(Step::Merge);
    let step = prop_oneof![5 => write, 3 => merge, 1 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..24)
}

/// What is expected, and which keys nobody needs any more.
#[derive(Default)]
struct Model {
    rows: BTreeMap<RowKey, Option<Bytes>>,
    dead: BTreeSet<u8>,
}

impl Model {
    fn is_dead(&self, key: &RowKey) -> bool {
        key.key
            .first()
            .is_some_and(|first| self.dead.contains(first))
    }

    /// Whether this may be the answer about a row.
    fn allows(&self, key: &RowKey, found: Option<&Bytes>) -> bool {
        let known = self.rows.get(key).and_then(|value| value.as_ref());
        found == known || found.is_none() && self.is_dead(key)
    }

    fn check(&self, set: &RunSet) {
        for table in TABLES {
            for key in universe(table) {
                let cached = set.get_cached(&key);
                let found = set.get(&key).unwrap();
                assert!(self.allows(&key, found.value()), "{key:?} {found:?}");
                if let Some(cached) = cached {
                    assert_eq!(cached, found, "in memory as on disk, {key:?}");
                }
            }
            for (start, end) in [
                (&[][..], None),
                (&[1], Some(&[2][..])),
                (&[1, 2], Some(&[1, 2, 1])),
                (&[0, 1, 1], None),
            ] {
                let range = RowRange {
                    table,
                    start: Bytes::copy_from_slice(start),
                    end: end.map(Bytes::copy_from_slice),
                };
                self.check_scan(set, &range);
            }
            self.check_scan(set, &RowRange::prefix(table, &[2, 1]));
        }
    }

    fn check_scan(&self, set: &RunSet, range: &RowRange) {
        let scan =
            |direction| -> Vec<_> { set.scan(range, direction).map(Result::unwrap).collect() };
        let forward = scan(Direction::Forward);
        let mut backward = scan(Direction::Backward);
        backward.reverse();
        assert_eq!(forward, backward, "both ways, {range:?}");
        let (dead, living): (Vec<_>, Vec<_>) =
            forward.into_iter().partition(|(key, _)| self.is_dead(key));
        for (key, value) in dead {
            assert!(self.allows(&key, Some(&value)), "{key:?} came back");
        }
        let inside = |key: &RowKey| {
            let end = range.end.as_ref();
            key.table == range.table
                && key.key >= range.start
                && end.is_none_or(|end| key.key < *end)
        };
        let rows = self
            .rows
            .iter()
            .filter(|(key, _)| inside(key) && !self.is_dead(key));
        let expected: Vec<_> = rows
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
            .collect();
        assert_eq!(living, expected, "{range:?}");
    }
}

/// All keys that steps use, and some that they do not.
fn universe(table: u16) -> Vec<RowKey> {
    let mut keys = vec![Vec::new()];
    let mut last = keys.clone();
    for _ in 0..4 {
        last = last
            .iter()
            .flat_map(|key| (0..4_u8).map(|byte| [&key[..], &[byte]].concat()))
            .collect();
        keys.extend(last.iter().cloned());
    }
    keys.iter().map(|bytes| key(table, bytes)).collect()
}

proptest! {
    #![proptest_config(seeded(48))]

    #[test]
    fn runs_are_a_map_of_rows(
        steps in steps(),
        cache_bytes in prop_oneof![Just(0_u64), Just(100_000), Just(8_000_000)],
        has_large_run in any::<bool>(),
    ) {
        let mut folder = Folder::new(cache_bytes);
        let mut model = Model::default();
        if has_large_run {
            let rows = large_rows();
            folder.write(&rows);
            model.rows.extend(rows.into_iter().map(|row| (row.key, row.value)));
        }
        let mut number = 0_u8;
        for step in steps {
            match step {
                Step::Write(changes) => {
                    let mut rows = Vec::new();
                    for ((table, bytes), length) in changes {
                        number = number.wrapping_add(1);
                        let value = length.map(|length| vec![number; length].into());
                        let key = key(table, &bytes);
                        if !model.is_dead(&key) {
                            model.rows.insert(key.clone(), value.clone());
                            rows.push(Row { key, value });
                        }
                    }
                    folder.write(&rows);
                }
                Step::Merge(dead) => {
                    model.dead.extend(dead);
                    let held = folder.current();
                    if folder.merge(|key, _| !model.is_dead(key)) {
                        // Who still holds what was merged and unlinked reads it.
                        model.check(&held);
                    }
                }
                Step::Reopen => folder.reopen(),
            }
            model.check(&folder.current());
            prop_assert!(folder.keeper.store().cached_bytes() <= cache_bytes, "bounded");
        }
        let files = folder.disk.paths().into_iter().filter(|path| path.ends_with(".run"));
        prop_assert_eq!(files.count(), folder.current().run_count(), "no file is left over");
    }
}

/// So many rows of 4-byte groups of 4, each with a value of 100 bytes.
fn many_rows(range: std::ops::Range<u32>) -> Vec<Row> {
    let row = |number: u32| Row {
        key: many_key(number),
        value: Some(vec![u8::try_from(number % 251).unwrap(); 100].into()),
    };
    range.map(row).collect()
}

fn many_key(number: u32) -> RowKey {
    let [low, high, ..] = (number / 4).to_le_bytes();
    key(0x8000, &[high, low, u8::try_from(number % 4).unwrap()])
}

#[test]
fn a_row_among_many_partitions_is_found_with_two_reads_and_a_missing_one_with_one() {
    let mut folder = Folder::new(0);
    folder.write(&many_rows(0..60_000));
    let set = folder.current();
    assert!(
        set.runs()[0].contents().partitions.len() > 8,
        "many partitions"
    );
    let reads = || folder.disk.count(OperationKind::Read);
    for number in (0..60_000).step_by(997) {
        let before = reads();
        let found = set.get(&many_key(number)).unwrap();
        let expected = vec![u8::try_from(number % 251).unwrap(); 100];
        assert_eq!(found, Lookup::Value(expected.into()), "{number}");
        assert_eq!(reads() - before, 2, "index block and data block");
    }
    let before = reads();
    for number in 60_000..61_000 {
        let found = set.get(&many_key(number)).unwrap();
        assert_eq!(found, Lookup::Unknown, "{number}");
    }
    // Four rows have a filter key in common, so that of a wrong one four lookups read.
    let read = reads() - before;
    assert!(
        read < 1_100,
        "the filter answers, {read} reads for 1000 rows"
    );
}

#[test]
fn a_scan_reads_no_more_than_its_range() {
    let mut folder = Folder::new(0);
    folder.write(&many_rows(0..60_000));
    let set = folder.current();
    for direction in [Direction::Forward, Direction::Backward] {
        for group in [0, 77, 14_999] {
            let prefix = many_key(group * 4).key.slice(..2);
            let before = folder.disk.count(OperationKind::Read);
            let range = RowRange::prefix(0x8000, &prefix);
            let found: Vec<_> = set
                .scan(&range, direction)
                .map(|row| row.unwrap().0)
                .collect();
            assert_eq!(found.len(), 4, "{direction:?} {group}");
            let read = folder.disk.count(OperationKind::Read) - before;
            assert!(read <= 4, "at most two blocks and their indexes, {read}");
        }
        let mut scan = set.scan(&RowRange::table(0x8000), direction);
        let before = folder.disk.count(OperationKind::Read);
        scan.next().unwrap().unwrap();
        let read = folder.disk.count(OperationKind::Read) - before;
        assert_eq!(read, 2, "lazily, {direction:?}");
        assert_eq!(scan.count(), 59_999, "all the others, {direction:?}");
    }
}

#[test]
fn rows_of_two_mebibytes_are_kept() {
    let mut folder = Folder::new(32 << 20);
    let row = |number: u8| Row {
        key: key(0x8001, &[number]),
        value: Some(vec![number; 2 << 20].into()),
    };
    folder.write(&[row(1), row(2), row(3)]);
    let set = folder.current();
    for number in [1, 2, 3] {
        let found = set.get(&row(number).key).unwrap();
        assert_eq!(found.value(), row(number).value.as_ref());
        assert_eq!(
            set.get_cached(&row(number).key),
            Some(found),
            "kept in memory"
        );
    }
    assert_eq!(
        set.scan(&RowRange::table(0x8001), Direction::Backward)
            .count(),
        3
    );
}

#[test]
fn a_damaged_block_fails_its_rows_and_no_others() {
    let mut folder = Folder::new(1 << 20);
    folder.write(&many_rows(0..2_000));
    folder.reopen();
    let set = folder.current();
    let path = folder::run_file(set.runs()[0].number());
    // In the second data block.
    folder.disk.flip_bit(&path, 20_000, 3).unwrap();
    let found: Vec<_> = (0..2_000).map(|it| set.get(&many_key(it))).collect();
    let damaged = found.iter().filter(|found| found.is_err()).count();
    assert!((50..500).contains(&damaged), "one block, {damaged} rows");
    for (number, found) in (0..).zip(&found) {
        match found {
            Ok(Lookup::Value(_)) => {}
            Err(StorageError::Corrupt(found)) => assert_eq!(found.path, path),
            other => panic!("{number}: {other:?}"),
        }
        if found.is_err() {
            assert_eq!(set.get_cached(&many_key(number)), None, "never 'unknown'");
        }
    }
    let mut scan = set.scan(&RowRange::table(0x8000), Direction::Forward);
    let good = scan.by_ref().take_while(Result::is_ok).count();
    assert!(good < 1_000, "up to the damage, {good}");
    assert!(scan.next().is_none(), "and then nothing");
}

#[test]
fn a_damaged_run_is_not_merged_and_keeps_its_other_rows() {
    let mut folder = Folder::new(1 << 20);
    for part in 0..4 {
        folder.write(&many_rows(part * 2_000..(part + 1) * 2_000));
    }
    let set = folder.current();
    let path = folder::run_file(set.runs()[1].number());
    folder.disk.flip_bit(&path, 20_000, 3).unwrap();
    let mut job = folder.keeper.merge_job().unwrap();
    let error = loop {
        match job.step(&mut |_, _| true) {
            Ok(MergeStep::Unfinished(rest)) => job = rest,
            Ok(MergeStep::Finished(_)) => panic!("rows would be lost"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
    assert!(folder.keeper.merge_job().is_none(), "not again");
    let names = folder.disk.paths();
    assert!(
        names.iter().all(|name| !name.ends_with(".tmp")),
        "{names:?}"
    );
    assert_eq!(folder.current().run_count(), 4);
    // Those behind it are merged when there are enough.
    for part in 4..8 {
        folder.write(&many_rows(part * 2_000..(part + 1) * 2_000));
    }
    assert!(folder.merge(|_, _| true));
    assert_eq!(
        folder.current().run_count(),
        4,
        "two older, the damaged one, and one of five"
    );
}

#[test]
fn a_merge_that_is_given_up_leaves_nothing_and_can_begin_anew() {
    let mut folder = Folder::new(0);
    for part in 0..4 {
        folder.write(&many_rows(part * 2_000..(part + 1) * 2_000));
    }
    let before = folder.disk.paths();
    let job = folder.keeper.merge_job().unwrap();
    assert!(job.input_bytes() > 800_000);
    let Ok(MergeStep::Unfinished(job)) = job.step(&mut |_, _| true) else {
        panic!("there are more rows than one step takes");
    };
    drop(job);
    assert_eq!(folder.disk.paths(), before);
    let mut job = folder.keeper.merge_job().unwrap();
    let merged = loop {
        match job.step(&mut |_, _| true).unwrap() {
            MergeStep::Unfinished(rest) => job = rest,
            MergeStep::Finished(merged) => break merged,
        }
    };
    assert_eq!(folder.disk.paths().len(), before.len() + 1);
    drop(merged);
    assert_eq!(folder.disk.paths(), before, "nor one that nobody wants");
    assert!(folder.merge(|_, _| true));
    assert_eq!(folder.current().run_count(), 1);
    assert_eq!(folder.current().row_count(), 8_000);
}

/// An oldest run that is too large to be merged with those behind it.
fn large_rows() -> Vec<Row> {
    let row = |number: u8| Row {
        key: key(0x8001, &[number]),
        value: Some(vec![number; 300_000].into()),
    };
    (0..8).map(row).collect()
}

#[test]
fn what_is_gone_or_dropped_hides_what_older_runs_still_have() {
    let mut folder = Folder::new(0);
    folder.write(&large_rows());
    let gone = |number: u8| Row {
        key: key(0x8001, &[number]),
        value: None,
    };
    let newer = |number: u8| Row {
        value: Some(Bytes::from_static(b"newer")),
        ..gone(number)
    };
    folder.write(&[gone(1)]);
    folder.write(&[newer(2)]);
    folder.write(&[newer(3), gone(4)]);
    folder.write(&[newer(4)]);
    assert!(folder.merge(|key, _| key.key[..] != [2]), "four small ones");
    let set = folder.current();
    assert_eq!(set.run_count(), 2, "the large one is left");
    let find = |number: u8| set.get(&gone(number).key).unwrap();
    assert_eq!(find(1), Lookup::Gone, "gone before the merge");
    assert_eq!(find(2), Lookup::Gone, "dropped by the merge");
    for number in [3, 4] {
        assert_eq!(find(number), Lookup::Value(Bytes::from_static(b"newer")));
    }
    let scan = set.scan(&RowRange::table(0x8001), Direction::Forward);
    let keys: Vec<_> = scan.map(|row| row.unwrap().0.key[0]).collect();
    assert_eq!(keys, [0, 3, 4, 5, 6, 7]);
}

#[test]
fn when_nothing_is_left_there_is_no_run() {
    let mut folder = Folder::new(0);
    for part in 0..4 {
        folder.write(&many_rows(part * 10..(part + 1) * 10));
    }
    assert!(folder.merge(|_, _| false));
    assert_eq!(folder.current().run_count(), 0);
    assert_eq!(folder.current().get(&many_key(3)).unwrap(), Lookup::Unknown);
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let mut folder = Folder::new(0);
    folder.write(&many_rows(0..10));
    let before = folder.disk.paths();
    let start = folder.disk.operations();
    folder.write(&many_rows(10..20));
    let operations = folder.disk.operations() - start;
    assert!(operations >= 5, "folder, file, write, sync, rename, sync");
    let mut failed = 0;
    for k in 0..operations {
        let mut folder = Folder::new(0);
        folder.write(&many_rows(0..10));
        let at = folder.disk.operations() + k;
        folder
            .disk
            .inject(Injection::new(Fault::NoSpace).at_operation(at));
        let staged = folder.keeper.stage(&many_rows(10..20), Lsn::new(9));
        failed += u32::from(staged.is_err());
        // One that was not refused is given up before anything names it.
        staged.into_iter().for_each(|it| folder.keeper.give_up(it));
        folder.disk.heal();
        assert_eq!(folder.disk.paths(), before, "operation {k}");
    }
    assert!(failed >= 3, "{failed} of {operations}");
}

/// Changes one run of a folder with two.
fn check_refused(damage: impl Fn(&SimDisk, &Path), expected: &str) {
    let mut folder = Folder::new(0);
    folder.write(&many_rows(0..10));
    folder.write(&many_rows(10..20));
    let current = folder.current();
    let named: Vec<_> = current.runs().iter().map(|run| run.row()).collect();
    damage(&folder.disk, &folder::run_file(1));
    match open(&folder.disk, 0, &named).unwrap_err() {
        StorageError::Corrupt(found) => {
            assert!(found.what.contains(expected), "{found}");
            assert!(found.path.ends_with("00000000000000000001.run"), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_is_not_the_one_that_is_named_is_refused() {
    check_refused(|disk, path| disk.vfs().unlink(path).unwrap(), "missing");
    check_refused(|disk, path| disk.flip_bit(path, 3, 1).unwrap(), "header");
    check_refused(
        |disk, path| {
            let length = disk.read(path).unwrap().len() as u64;
            disk.flip_bit(path, length - 70, 1).unwrap();
        },
        "footer",
    );
    check_refused(
        |disk, path| {
            let length = disk.read(path).unwrap().len() as u64;
            disk.flip_bit(path, length - 130, 1).unwrap();
        },
        "checksum",
    );
    check_refused(
        |disk, path| {
            let other = disk.read(&folder::run_file(2)).unwrap();
            let file = disk.vfs().open(path, OpenMode::Write).unwrap();
            write_all_at(&*file, &other, 0).unwrap();
        },
        "another run",
    );
}
