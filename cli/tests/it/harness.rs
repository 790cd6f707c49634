//! A broker for one test, and the command line against it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use towpath_broker::{Broker, Config};

/// Longest time that a command may take; reached only when something hangs.
pub(crate) const COMMAND_WAIT: Duration = Duration::from_mins(1);

/// Any free port of this machine.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A broker in this process, with a folder of its own.
pub(crate) struct TestBroker {
    // Dropped in this order: the broker needs the runtime and the folder to end.
    broker: Broker,
    runtime: Runtime,
    folder: TempDir,
}

impl TestBroker {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), |_| ())
    }

    fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: Some(ANY_PORT),
            data_dir: folder.path().join("data"),
            ..Config::default()
        };
        change(&mut config);
        let runtime = Runtime::new().expect("a runtime");
        let broker = runtime.block_on(Broker::start(config)).expect("a broker");
        Self {
            broker,
            runtime,
            folder,
        }
    }

    /// A broker with a topic of so many partitions.
    pub(crate) fn with_topic(topic: &str, partitions: u32) -> Self {
        let broker = Self::start();
        let partitions = partitions.to_string();
        broker.ok(&["topic", "create", topic, "--partitions", &partitions]);
        broker
    }

    /// Stops it and starts it again: everything is in segments then, and nothing in memory.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(|_| ())
    }

    /// The same, with other settings.
    pub(crate) fn restart_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let other = tempfile::tempdir().expect("a folder");
        let folder = std::mem::replace(&mut self.folder, other);
        drop(self);
        Self::start_in(folder, change)
    }

    /// Flips a bit of the segment that holds these bytes.
    pub(crate) fn damage(&self, bytes: &[u8]) {
        let topics = self.data_dir().join("topics");
        let segments = files_below(&topics).into_iter();
        let mut segments = segments.filter(|path| path.extension().is_some_and(|it| it == "log"));
        let found = segments.find_map(|path| {
            let content = std::fs::read(&path).expect("a segment");
            let mut windows = content.windows(bytes.len());
            let position = windows.position(|window| window == bytes)?;
            Some((path, content, position))
        });
        let (path, mut content, position) = found.expect("a segment with the bytes");
        content[position] ^= 1;
        std::fs::write(path, content).expect("the segment is written");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.broker.local_addr().expect("it listens"))
    }

    /// Its data folder.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The command line against this broker.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = towpath(args);
        command.env("TOWPATH_URL", self.url());
        command
    }

    /// What a command that succeeds prints.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        stdout_of(&mut self.command(args))
    }

    /// What a command that succeeds prints, with this on its standard input.
    #[track_caller]
    pub(crate) fn ok_with(&self, input: impl Into<Vec<u8>>, args: &[&str]) -> String {
        stdout_of(self.command(args).write_stdin(input))
    }

    /// What a command that fails in this way says on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        fails(code, &mut self.command(args))
    }

    /// The same, with this on its standard input.
    #[track_caller]
    pub(crate) fn fails_with(&self, input: impl Into<Vec<u8>>, code: i32, args: &[&str]) -> String {
        fails(code, self.command(args).write_stdin(input))
    }

    /// The records of a topic, as `consume -o json` tells them.
    #[track_caller]
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        json_lines(&self.ok(&["consume", topic, "-e", "-o", "json"]))
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => vec![path],
        })
        .collect()
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.runtime.block_on(self.broker.shutdown());
    }
}

/// The command line, without what is set for other brokers.
pub(crate) fn towpath(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("towpath").expect("the binary");
    without_settings(|name| {
        command.env_remove(name);
    });
    command.args(args).timeout(COMMAND_WAIT);
    command
}

/// What a command that succeeds prints.
#[track_caller]
pub(crate) fn stdout_of(command: &mut Command) -> String {
    let output = run(command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "exit code; stderr: {stderr}");
    text(&output.stdout)
}

/// What a command that fails with this code says on standard error.
#[track_caller]
pub(crate) fn fails(code: i32, command: &mut Command) -> String {
    let output = run(command);
    let stderr = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "exit code; stderr: {stderr}"
    );
    stderr
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every line as JSON.
#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => panic!("{error} in {line}"),
    };
    text.lines().map(parse).collect()
}

/// One line of JSON.
#[track_caller]
pub(crate) fn json(text: &str) -> Value {
    let mut values = json_lines(text);
    assert_eq!(values.len(), 1, "one line of JSON in {text}");
    values.remove(0)
}

/// The texts of a field, in order.
pub(crate) fn field<'a>(records: &'a [Value], name: &str) -> Vec<&'a str> {
    records
        .iter()
        .map(|record| record[name].as_str().unwrap_or("-"))
        .collect()
}

/// The numbers of a range, one a line.
pub(crate) fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| number.to_string() + "\n").collect()
}

/// Names what is set for other brokers, to be taken from the environment of a command.
pub(crate) fn without_settings(mut remove: impl FnMut(OsString)) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOWPATH_") {
            remove(name);
        }
    }
}
