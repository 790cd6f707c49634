//! A broker, clients that it must go on serving, and a look at what it holds.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use towpath_tests::fault::{descriptor_count, report, resident_bytes, resident_bytes_peak};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup, spawn_cli};

use crate::{MIB, PATIENCE, raise_descriptors};

/// How often is looked again whether something has come back.
const LOOK: Duration = Duration::from_millis(100);
/// Descriptors that a broker may need more of while clients work, for segments and connections.
const DESCRIPTOR_SLACK: usize = 200;

/// A broker in the middle of its work.
pub(crate) struct Stage {
    _folder: TempDir,
    pub(crate) setup: BrokerSetup,
    /// Keeps the port of the admin listener.
    admin: BrokerSetup,
    broker: BrokerProcess,
    load: Load,
    pub(crate) runtime: Runtime,
    descriptors_before: usize,
}

impl Stage {
    /// A broker with these flags, and clients that use it.
    pub(crate) fn start(args: &[&str]) -> Self {
        raise_descriptors();
        let folder = tempfile::tempdir().unwrap();
        let admin = BrokerSetup::new(folder.path().join("unused"));
        let setup = BrokerSetup::new(folder.path().join("data"))
            .args(["--admin-listen", admin.url().trim_start_matches("http://")])
            .args(args.iter().copied());
        let broker = setup.start();
        let load = Load::start(
            &setup.url(),
            &LoadOptions {
                producer_count: 1,
                impatient_producer_count: 0,
                unanswered_max: 20,
                is_partitioned: false,
                wanderer_count: 0,
                ..LoadOptions::new(fastrand::u64(..))
            },
        );
        load.await_ack(PATIENCE).expect("acknowledged");
        let pid = broker.ready().pid;
        Self {
            _folder: folder,
            setup,
            admin,
            descriptors_before: descriptor_count(pid),
            broker,
            load,
            runtime: Runtime::new().unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        address_of(&self.setup)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.broker.ready().pid
    }

    /// Lets everybody go on for so long.
    pub(crate) fn last(&self, duration: Duration) {
        let is_quiet = self.load.run_for(duration);
        assert!(is_quiet, "{:?}", self.load.complaints());
    }

    /// Those who are connected go on, and others come.
    pub(crate) fn check_served(&self) {
        self.load.forget_acks();
        self.load
            .await_ack(PATIENCE)
            .expect("clients are served on");
        self.cli(&["topic", "list"]);
    }

    /// Stops the broker's threads where they are.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    /// Runs a command; returns whether it has succeeded.
    pub(crate) fn try_cli(&self, args: &[&str]) -> bool {
        let running = spawn_cli(&self.setup.url(), args, Stdio::null());
        let ended = running.wait(PATIENCE).expect("a command ends");
        ended.code() == Some(0)
    }

    /// Runs a command that must succeed.
    pub(crate) fn cli(&self, args: &[&str]) {
        let running = spawn_cli(&self.setup.url(), args, Stdio::null());
        let ended = running.wait(PATIENCE).expect("a command ends");
        assert_eq!(ended.code(), Some(0), "{args:?}: {ended}");
    }

    /// The number of a series.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let mut stream = TcpStream::connect(address_of(&self.admin)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(series));
        let number = line.unwrap_or_else(|| panic!("no {series} in {answer}"));
        number.trim().parse().unwrap()
    }

    /// Connections that were closed for this reason.
    pub(crate) fn closed_count(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "towpath_connections_closed_total{{reason=\"{reason}\"}}"
        ))
    }

    /// Lets everybody go on until something is so.
    pub(crate) fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = tokio::time::Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
            self.last(LOOK);
        }
    }

    /// Waits until all descriptors have come back, checks memory, and that nothing is lost.
    pub(crate) fn finish(self, test: &str, resident_bytes_max: u64) {
        let pid = self.pid();
        let most = self.descriptors_before + DESCRIPTOR_SLACK;
        self.await_that("descriptors come back", |_| descriptor_count(pid) <= most);
        self.check_served();
        let verdict = self.load.finish();
        verdict.assert_acknowledged(test);
        let (peak, now) = (resident_bytes_peak(pid), resident_bytes(pid));
        report(
            test,
            format_args!(
                "{} MiB resident at most, {} MiB in the end, {} descriptors",
                peak / MIB,
                now / MIB,
                descriptor_count(pid),
            ),
        );
        assert!(peak < resident_bytes_max, "{} MiB at most", peak / MIB);
        self.broker.kill();
    }
}

fn address_of(setup: &BrokerSetup) -> SocketAddr {
    let url = setup.url();
    url.trim_start_matches("http://").parse().unwrap()
}
