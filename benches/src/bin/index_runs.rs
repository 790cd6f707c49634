//! What the index store costs: disk, memory, time to build, time to look a row up.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use clap::Parser;
use towpath_benches::nothing::Nothing;
use towpath_storage::vfs::RealVfs;
use towpath_storage::{
    CheckpointInput, Direction, Environment, INDEX_TABLES, IndexOptions, Lookup, Lsn, MergeStep,
    OpenError, Row, RowKey, RowRange, RunSet, Storage, StorageError, StorageOptions, SystemClock,
    SystemEntropy,
};

/// Topic, partition and hash of a key: what its versions have in common.
const FILTER_KEY_BYTES: usize = 28;

#[derive(Debug, Parser)]
#[command(about = "Measure the index store with rows of 36 bytes of key and 8 of value")]
struct Plan {
    /// Rows in all.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Rows of a checkpoint.
    #[arg(long, default_value_t = 1_000_000)]
    checkpoint_rows: u64,
    /// Lookups of each kind.
    #[arg(long, default_value_t = 20_000)]
    lookups: u64,
    /// Memory for blocks, bytes.
    #[arg(long, default_value_t = 32 * 1024 * 1024)]
    cache_bytes: u64,
    /// An empty folder on the file system that is measured.
    #[arg(long)]
    dir: PathBuf,
}

fn main() -> ExitCode {
    match run(&Plan::parse(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let mut storage = open(plan)?;
    build(plan, &mut storage, out)?;
    let bytes = storage.index.current().file_bytes();
    let row_bytes = bytes / plan.rows.max(1);
    writeln!(out, "disk     bytes={bytes} bytes_per_row={row_bytes}")?;
    drop(storage);
    let begun = Instant::now();
    let storage = open(plan)?;
    writeln!(out, "open     ms={}", begun.elapsed().as_millis())?;
    memory(out, "opened")?;
    let set = storage.index.current();
    drop_page_cache();
    let mut numbers = Numbers::new(plan.rows);
    look(plan, &set, out, "cold hit", || key(numbers.next()))?;
    let mut numbers = Numbers::new(plan.rows);
    look(plan, &set, out, "warm hit", || key(numbers.next()))?;
    let mut numbers = Numbers::new(plan.rows);
    look(plan, &set, out, "warm miss", || {
        key(plan.rows + numbers.next())
    })?;
    let mut numbers = Numbers::new(500.min(plan.rows));
    look(plan, &set, out, "cached hit", || key(numbers.next()))?;
    let mut numbers = Numbers::new(plan.rows);
    scan(plan, &set, out, || key(numbers.next()))?;
    let cached = storage.index.cached_bytes();
    writeln!(out, "cache    bytes={cached}")?;
    memory(out, "end")?;
    Ok(())
}

fn open(plan: &Plan) -> Result<Storage, Box<dyn std::error::Error>> {
    let environment = Environment {
        vfs: Arc::new(RealVfs::new(&plan.dir)?),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let options = StorageOptions {
        index: IndexOptions {
            cache_bytes: plan.cache_bytes,
            filter_key_bytes: |_| FILTER_KEY_BYTES,
        },
        ..StorageOptions::default()
    };
    let opened: Result<_, OpenError> = Storage::open(&environment, &options, &mut Nothing);
    Ok(opened?)
}

/// Writes the rows, checkpoint by checkpoint, and carries out each merge that is due.
fn build(
    plan: &Plan,
    storage: &mut Storage,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut writing, mut merging, mut merged_bytes) = (Duration::ZERO, Duration::ZERO, 0);
    let mut lsn = storage.lsn;
    for start in (0..plan.rows).step_by(plan.checkpoint_rows.try_into()?) {
        let end = plan.rows.min(start + plan.checkpoint_rows);
        let rows = (start..end).map(|number| Row {
            key: key(number),
            value: Some(Bytes::copy_from_slice(&number.to_le_bytes())),
        });
        lsn = lsn.next();
        let changed = rows.collect();
        writing += checkpoint(storage, lsn, changed)?;
        while let Some(mut job) = storage.checkpointer.merge_job() {
            let begun = Instant::now();
            merged_bytes += job.input_bytes();
            let merged = loop {
                match job.step(&mut |_, _| true)? {
                    MergeStep::Unfinished(rest) => job = rest,
                    MergeStep::Finished(merged) => break merged,
                }
            };
            storage.checkpointer.take_merged(merged);
            merging += begun.elapsed();
            lsn = lsn.next();
            writing += checkpoint(storage, lsn, Vec::new())?;
        }
    }
    let runs = storage.index.current().run_count();
    let (writing, merging) = (writing.as_millis(), merging.as_millis());
    writeln!(
        out,
        "build    rows={} write_ms={writing} merge_ms={merging} merged_bytes={merged_bytes} runs={runs}",
        plan.rows
    )?;
    memory(out, "built")?;
    Ok(())
}

fn checkpoint(
    storage: &mut Storage,
    lsn: Lsn,
    changed: Vec<Row>,
) -> Result<Duration, StorageError> {
    let mut input = CheckpointInput {
        lsn,
        continuation: storage.journal.position(),
        time_ms: 0,
        changed,
    };
    let begun = Instant::now();
    storage.checkpointer.write(&mut input)?;
    Ok(begun.elapsed())
}

/// Topic, partition, hash of a key and version. The hash of a number is the same each time.
fn key(number: u64) -> RowKey {
    let mut key = BytesMut::with_capacity(FILTER_KEY_BYTES + 8);
    let high = mix(number);
    key.put_u32_le(7);
    key.put_u64_le(number % 8);
    key.put_u64_le(high);
    key.put_u64_le(mix(high));
    key.put_u64_le(1);
    RowKey {
        table: INDEX_TABLES,
        key: key.freeze(),
    }
}

/// The finalizer of `SplitMix64`: a permutation that looks random.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Numbers below a bound, the same ones each time.
struct Numbers {
    random: fastrand::Rng,
    bound: u64,
}

impl Numbers {
    fn new(bound: u64) -> Self {
        let random = fastrand::Rng::with_seed(1);
        Self { random, bound }
    }

    fn next(&mut self) -> u64 {
        self.random.u64(..self.bound)
    }
}

fn look(
    plan: &Plan,
    set: &RunSet,
    out: &mut impl Write,
    name: &str,
    mut next: impl FnMut() -> RowKey,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut found, mut in_memory) = (0, 0);
    let mut took = Vec::new();
    for _ in 0..plan.lookups {
        let key = next();
        let begun = Instant::now();
        let answer = match set.get_cached(&key) {
            Some(answer) => {
                in_memory += 1;
                answer
            }
            None => set.get(&key)?,
        };
        took.push(begun.elapsed());
        found += u64::from(matches!(answer, Lookup::Value(_)));
    }
    spread(out, name, took)?;
    let lookups = plan.lookups;
    writeln!(
        out,
        " lookups={lookups} found={found} from_memory={in_memory}"
    )?;
    Ok(())
}

/// The newest version of a key: one row from the end of its prefix.
fn scan(
    plan: &Plan,
    set: &RunSet,
    out: &mut impl Write,
    mut next: impl FnMut() -> RowKey,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut took = Vec::new();
    for _ in 0..plan.lookups {
        let key = next();
        let begun = Instant::now();
        let range = RowRange::prefix(
            key.table,
            key.key.get(..FILTER_KEY_BYTES).unwrap_or(&key.key),
        );
        let newest = set.scan(&range, Direction::Backward).next().transpose()?;
        took.push(begun.elapsed());
        assert!(newest.is_some_and(|(found, _)| found == key), "it is there");
    }
    spread(out, "newest of a prefix", took)?;
    writeln!(out)?;
    Ok(())
}

fn spread(out: &mut impl Write, name: &str, mut took: Vec<Duration>) -> io::Result<()> {
    took.sort_unstable();
    let at = |share: usize| {
        took.get(took.len() * share / 1000)
            .copied()
            .unwrap_or_default()
    };
    let [median, tail] = [at(500), at(990)].map(|it| it.as_secs_f64() * 1e6);
    write!(out, "{name:<18} p50_us={median:.1} p99_us={tail:.1}")
}

fn memory(out: &mut impl Write, when: &str) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let resident = line.unwrap_or_default().trim_start_matches("VmRSS:").trim();
    writeln!(out, "memory   when={when} resident={resident:?}")
}

/// Only root may; else what is cold is only not in the store's own cache.
fn drop_page_cache() {
    drop(std::fs::write("/proc/sys/vm/drop_caches", "1"));
}
