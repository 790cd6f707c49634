//! What topics cost that look at records, and how fast a key is read.
//!
//! ```text
//! in each round, for each way to look at records in turn, with a topic of its own:
//!   records of random keys are written by one producer   measured: the rate, processor time, memory
//!   single keys are read at random, one after the other  measured: the time of each call
//! ```
//!
//! Nothing is known of the broker beyond what a client and the operating system see.

mod rows;

pub use rows::{Keys, KeysMedian, KeysSetting};

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use towpath_client::{Client, NewTopic, Record, StaleRecords, TopicDeletion};

use crate::broker_process::BrokerProcess;
use crate::recovery::{DataFolder, Stop};
use crate::report::{LatencyUs, Report};
use crate::{Error, Result};

const VALUE_BYTES: usize = 100;
const PARTITIONS: u32 = 4;
const SEED: u64 = 7;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct KeysPlan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE")]
    pub towpath: PathBuf,
    /// Data folder of the broker, missing or empty.
    #[arg(long)]
    pub dir: PathBuf,
    /// Records that are written, each with a key and the headers of an event.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub records: u32,
    /// Keys, drawn at random; as many as records for keys in turn, each once.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub keys: u32,
    /// Keys that are read.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub reads: u32,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_values_t = Looking::ALL)]
    pub looking: Vec<Looking>,
    /// How often is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
}

/// How a topic looks at records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Looking {
    /// Not at all.
    Off,
    /// At events, whether they are there already.
    Dedupe,
    /// At keys, which have versions.
    Versions,
    /// At versions of entities, of which old ones are left out.
    Stale,
}

impl Looking {
    const ALL: [Self; 4] = [Self::Off, Self::Dedupe, Self::Versions, Self::Stale];

    fn topic(self, name: &str) -> NewTopic {
        let topic = NewTopic::new(name).partitions(PARTITIONS);
        match self {
            Self::Off => topic,
            Self::Dedupe => topic.dedupe_window(Duration::from_hours(1)),
            Self::Versions => topic.key_versions(),
            Self::Stale => topic.stale_records(StaleRecords::Refuse),
        }
    }

    /// The word on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Dedupe => "dedupe",
            Self::Versions => "versions",
            Self::Stale => "stale",
        }
    }
}

impl std::fmt::Display for Looking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Measures the whole plan in a folder that is empty.
///
/// Dropping the future kills the broker.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(
    plan: &KeysPlan,
    folder: &DataFolder,
    report: &mut Report<W, Keys>,
) -> Result<()> {
    let broker = BrokerProcess::start(&plan.towpath, folder.path()).await?;
    for round in 1..=plan.rounds {
        for looking in &plan.looking {
            let setting = KeysSetting {
                benchmark: "keys",
                looking: *looking,
                records: plan.records,
                keys: plan.keys,
            };
            let measured = measure(plan, folder, &broker, *looking).await?;
            report.add(round, setting, measured)?;
        }
    }
    broker.end(Stop::Terminate).await
}

async fn measure(
    plan: &KeysPlan,
    folder: &DataFolder,
    broker: &BrokerProcess,
    looking: Looking,
) -> Result<Keys> {
    let client = broker.client()?;
    let topic = looking.word();
    client.admin().create_topic(looking.topic(topic)).await?;
    let index = folder.path().join("index");
    let index_bytes_before = folder_bytes(&index)?;
    let meter = broker.meter()?;
    let began = Instant::now();
    write(plan, &client, topic).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = meter.stop()?;
    let memory_bytes = broker.memory_bytes()?;
    let index_bytes = folder_bytes(&index)?.saturating_sub(index_bytes_before);
    let (latest_us, history_us) = match looking {
        Looking::Off | Looking::Dedupe => (None, None),
        Looking::Stale => (Some(read_latest(plan, &client, topic).await?), None),
        Looking::Versions => (
            Some(read_latest(plan, &client, topic).await?),
            Some(read_histories(plan, &client, topic).await?),
        ),
    };
    client
        .admin()
        .delete_topic(TopicDeletion::new(topic))
        .await?;
    Ok(Keys {
        seconds,
        records_per_second: f64::from(plan.records) / seconds,
        server_cpu_us_per_record: used.server_cpu_seconds.unwrap_or(f64::NAN) * 1e6
            / f64::from(plan.records),
        memory_bytes,
        index_bytes,
        latest_us,
        history_us,
    })
}

async fn write(plan: &KeysPlan, client: &Client, topic: &str) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let producer = client.producer(topic).build();
    for number in 0..plan.records {
        let key = match plan.keys >= plan.records {
            true => number,
            false => random.u32(..plan.keys),
        };
        let record = Record::new(vec![b'x'; VALUE_BYTES])
            .key(name_of(key))
            .event("/bench", number.to_string())
            .entity_version(u64::from(number) + 1);
        drop(producer.enqueue(record).await?);
    }
    producer.close().await?;
    Ok(())
}

fn name_of(key: u32) -> String {
    format!("key-{key:010}")
}

/// Reads newest records one after the other.
async fn read_latest(plan: &KeysPlan, client: &Client, topic: &str) -> Result<LatencyUs> {
    let mut random = fastrand::Rng::with_seed(SEED + 1);
    let mut times = Histogram::new(3)?;
    for _ in 0..plan.reads {
        let key = name_of(random.u32(..plan.keys));
        let began = Instant::now();
        let found = client.get_latest(topic, key).await?;
        times.record(nanos(began.elapsed()))?;
        drop(found);
    }
    Ok(LatencyUs::of(&times))
}

/// Reads whole histories one after the other.
async fn read_histories(plan: &KeysPlan, client: &Client, topic: &str) -> Result<LatencyUs> {
    let mut random = fastrand::Rng::with_seed(SEED + 2);
    let mut times = Histogram::new(3)?;
    for _ in 0..plan.reads {
        let key = name_of(random.u32(..plan.keys));
        let began = Instant::now();
        let mut history = client.read_key(topic, key).build();
        while let Some(item) = history.next_item().await {
            drop(item?);
        }
        times.record(nanos(began.elapsed()))?;
    }
    Ok(LatencyUs::of(&times))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes of the files of a folder that may not be there.
fn folder_bytes(folder: &Path) -> Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("look at the index")(error)),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(Error::io("look at the index"))?;
        // What was merged meanwhile is gone.
        bytes += entry.metadata().map_or(0, |it| it.len());
    }
    Ok(bytes)
}
