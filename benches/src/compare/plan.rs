//! What to measure, from the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::work::{Job, Work};
use crate::size::{KIB, parse_bytes};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The program to measure, for example `target/release/towpath`.
    #[arg(long, value_name = "FILE", required_unless_present = "from")]
    pub towpath: Option<PathBuf>,
    /// Folder for all data, missing or empty, removed in the end; its parent names the file system.
    #[arg(long, required_unless_present = "from")]
    pub dir: Option<PathBuf>,
    /// Folder for the programs that are built and downloaded, which stays [default: in DIR].
    #[arg(long, value_name = "DIR")]
    pub tools: Option<PathBuf>,
    /// What is done.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "produce,consume,latency,clients,subscription,group"
    )]
    pub work: Vec<Work>,
    /// Beside whom.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "limits,model,kafka,nats,redis,iggy"
    )]
    pub peers: Vec<PeerName>,
    /// How often each of them does everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Sizes of records that are produced and consumed.
    #[arg(long = "size", value_parser = parse_bytes, value_delimiter = ',', default_value = "1KiB,100")]
    pub sizes: Vec<usize>,
    /// Bytes of the values of a run of `produce`, `consume` and `group`.
    #[arg(long, value_parser = parse_bytes, default_value = "1GB")]
    pub bytes: usize,
    /// Records of a run of `subscription`, 100 B each.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Records of a run of `latency`; of `clients` ten times as many. 1 KiB each.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(64..))]
    pub latency_records: u64,
    /// Consumers of `subscription` and members of `group`.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub clients: Vec<u32>,
    /// Seconds after which a slower system writes no more.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// A program of Apache Iggy's server that is to be started.
    #[arg(long, value_name = "FILE", requires = "iggy_bench", value_parser = absolute)]
    pub iggy_server: Option<PathBuf>,
    /// Where an Iggy server listens that runs already, synced as it is set; its processor time is not known.
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "iggy_bench",
        conflicts_with = "iggy_server"
    )]
    pub iggy_url: Option<String>,
    /// Apache Iggy's own load program.
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub iggy_bench: Option<PathBuf>,
    /// Draw the medians as an image.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Measure nothing: take the JSON rows of earlier runs, whose rounds are counted on from file to file.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["towpath", "dir"])]
    pub from: Vec<PathBuf>,
}

/// A system that Towpath is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PeerName {
    /// What disk and loopback interface can do.
    Limits,
    /// The bare model of the hot path.
    Model,
    /// Apache Kafka.
    Kafka,
    /// NATS with its streams.
    Nats,
    /// Redis streams.
    Redis,
    /// Apache Iggy.
    Iggy,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) records: u64,
    /// Beyond this time nothing more is written.
    pub(crate) longest: Duration,
}

/// Towpath, and the others in their classes.
const SYSTEMS_THAT_KEEP: u64 = 8;
/// Journals, preallocated files, tools, and what Towpath leaves free before it refuses to write.
const SPARE_BYTES: u64 = 4 << 30;
/// Size of single records, and of what a group reads.
const LARGE_BYTES: usize = KIB;
/// Size of what a subscription delivers.
const SMALL_BYTES: usize = 100;
const MANY_CLIENTS: u32 = 64;
/// Many clients together have so many times the records of one.
const MANY_CLIENTS_FACTOR: u64 = 10;
/// Keys whose order is kept, besides none.
const KEYS: [u32; 3] = [1, 100, 10_000];

impl Plan {
    /// Everything that is to be done, in this order.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.work
            .iter()
            .flat_map(|work| self.jobs_of(*work))
            .collect()
    }

    fn jobs_of(&self, work: Work) -> Vec<Job> {
        let with_clients = |job: &Job| -> Vec<Job> {
            let clients = self.clients.iter();
            clients
                .map(|clients| Job {
                    clients: *clients,
                    ..job.clone()
                })
                .collect()
        };
        match work {
            Work::Produce | Work::Consume => self
                .sizes
                .iter()
                .map(|size| Job::new(work, *size))
                .collect(),
            Work::Latency => vec![Job::new(work, LARGE_BYTES)],
            Work::Clients => vec![Job {
                clients: MANY_CLIENTS,
                ..Job::new(work, LARGE_BYTES)
            }],
            Work::Group => with_clients(&Job::new(work, LARGE_BYTES)),
            Work::Subscription => {
                let any_order = Job::new(work, SMALL_BYTES);
                let kept = KEYS.map(|keys| Job {
                    keys: Some(keys),
                    ..any_order.clone()
                });
                let jobs = [any_order].into_iter().chain(kept);
                jobs.flat_map(|job| with_clients(&job)).collect()
            }
        }
    }

    /// Bytes that must be free on the disk: what each system writes to be read stays until the end.
    pub fn room_bytes(&self) -> u64 {
        (self.bytes as u64)
            .saturating_mul(SYSTEMS_THAT_KEEP)
            .saturating_add(SPARE_BYTES)
    }

    /// How much of a job is done.
    pub(crate) fn amount(&self, job: &Job) -> Amount {
        let records = match job.work {
            Work::Produce | Work::Consume | Work::Group => {
                (self.bytes / job.size_bytes).max(1) as u64
            }
            Work::Subscription => self.records,
            Work::Latency => self.latency_records,
            Work::Clients => self.latency_records * MANY_CLIENTS_FACTOR,
        };
        let longest = Duration::from_secs(self.seconds);
        Amount { records, longest }
    }
}

/// Programs are run from folders of their own.
fn absolute(path: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    fn parse(flags: &str) -> Result<Plan, clap::Error> {
        let line = format!("compare {flags}");
        Line::try_parse_from(line.split_whitespace()).map(|line| line.plan)
    }

    fn jobs(flags: &str) -> Vec<String> {
        let plan = parse(&format!("--towpath t --dir d {flags}")).unwrap();
        plan.jobs().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_flags_are_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn everything_is_done_in_both_sizes_unless_told_otherwise() {
        let expected = [
            "produce 1 KiB",
            "produce 100 B",
            "consume 1 KiB",
            "consume 100 B",
            "one at a time 1 KiB",
            "64 clients, one at a time each, 1 KiB",
            "subscription 100 B, acked one by one, any order, clients 1",
            "subscription 100 B, acked one by one, order of 1 keys kept, clients 1",
            "subscription 100 B, acked one by one, order of 100 keys kept, clients 1",
            "subscription 100 B, acked one by one, order of 10000 keys kept, clients 1",
            "group 1 KiB, members 1",
        ];
        assert_eq!(jobs(""), expected);
        let expected = [
            "group 1 KiB, members 1",
            "group 1 KiB, members 4",
            "produce 7 B",
        ];
        assert_eq!(
            jobs("--work group,produce --clients 1,4 --size 7"),
            expected
        );
    }

    #[test]
    fn throughput_is_measured_by_bytes_and_the_rest_by_records() {
        let plan =
            parse("--towpath t --dir d --bytes 1MB --records 7 --latency-records 100").unwrap();
        let records = |work, size| plan.amount(&Job::new(work, size)).records;
        assert_eq!(records(Work::Produce, 100), 10_000);
        assert_eq!(records(Work::Group, 1 << 30), 1, "one at least");
        assert_eq!(records(Work::Subscription, 100), 7);
        assert_eq!(plan.room_bytes(), (4 << 30) + 8_000_000);
        assert_eq!(
            (records(Work::Latency, 1), records(Work::Clients, 1)),
            (100, 1000)
        );
    }

    #[test]
    fn program_and_folder_are_named_or_earlier_rows() {
        assert!(parse("--towpath t").is_err(), "no folder");
        assert!(parse("--dir d").is_err(), "no program");
        assert!(parse("--from a b").is_ok(), "rows are enough");
        assert!(parse("--from a --towpath t --dir d").is_err(), "both");
        assert!(
            parse("--towpath t --dir d --iggy-server s").is_err(),
            "no load program"
        );
        let plan = parse("--towpath t --dir d --iggy-server s --iggy-bench b").unwrap();
        assert!(plan.iggy_server.unwrap().is_absolute());
        assert!(plan.iggy_bench.unwrap().is_absolute());
    }
}
