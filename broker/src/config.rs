//! What a broker can be told, as plain data. Nothing here opens, binds or reads anything.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use towpath_proto::limits::MESSAGE_BYTES_MAX;

use crate::runtime::engine::EngineOptions;

/// Everything that a broker can be told.
///
/// A setting is named by its flag: `--` and the field's name with dashes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on. Default 127.0.0.1:7600. Port 0 takes any that is free. An address
    /// beyond loopback is refused unless `insecure_allow_remote`.
    pub listen: SocketAddr,
    /// Folder that holds everything; made if it is missing, its parent is not. Default
    /// `./towpath-data`.
    pub data_dir: PathBuf,
    /// Listens beyond loopback although there is neither encryption nor authentication: whoever
    /// reaches the port may read, write and delete everything. Default false.
    pub insecure_allow_remote: bool,
    /// How long a stop lets streams and calls end before it breaks them. Default 10 s, from 0 to
    /// 10 min. Shorter breaks calls that would have been answered; longer delays a restart.
    pub drain_deadline: Duration,
    /// After how much silence a Fetch stream says that it is alive. Default 5 s, from 10 ms to 10 s:
    /// clients take 15 s of silence for death.
    pub heartbeat_interval: Duration,
    /// How much clients may ask for at once.
    pub limits: ClientLimits,
    /// Files, journal and rounds.
    pub engine: EngineOptions,
}

/// How much clients may ask for at once.
#[expect(clippy::struct_field_names, reason = "qualifiers stand last")]
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Most connections. Default 1,024, from 1 to 65,536; further ones wait to be accepted. Each
    /// takes a descriptor and up to 8 MiB of memory while it sends.
    pub connection_count_max: usize,
    /// Most streams and calls of one connection. Default 256, from 1 to 65,536.
    pub stream_count_max: u32,
    /// Most memory of batches that wait to be written, bytes, over all streams. Default 64 MiB, from
    /// one message to 64 GiB. When it is used up, nothing more is read from producers.
    pub in_flight_bytes_max: usize,
    /// Most memory of batches of one Produce stream that wait to be written, bytes. Default 16 MiB,
    /// from one message to `in_flight_bytes_max`.
    pub in_flight_bytes_per_stream_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7600)),
            data_dir: PathBuf::from("./towpath-data"),
            insecure_allow_remote: false,
            drain_deadline: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(5),
            limits: ClientLimits::default(),
            engine: EngineOptions::default(),
        }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connection_count_max: 1024,
            stream_count_max: 256,
            in_flight_bytes_max: 64 * MIB,
            in_flight_bytes_per_stream_max: 16 * MIB,
        }
    }
}

/// A setting whose value is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The flag that sets it.
    pub flag: &'static str,
    /// The value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flag,
            value,
            allowed,
        } = self;
        write!(f, "{flag} is {value}, allowed is {allowed}")
    }
}

impl Config {
    /// All settings whose value is not allowed; none if the broker may be started.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let ClientLimits {
            connection_count_max,
            stream_count_max,
            in_flight_bytes_max,
            in_flight_bytes_per_stream_max,
        } = self.limits;
        let message = message_bytes_min();
        let rounds = &self.engine.sequencer;
        let deadline_ms = self.drain_deadline.as_millis();
        let heartbeat_ms = self.heartbeat_interval.as_millis();
        let mut problems = Vec::new();
        let mut check = |flag, value: u128, unit, range: RangeInclusive<u128>| {
            problems.extend(check_range(flag, value, unit, range));
        };
        check("--drain-deadline", deadline_ms, "ms", 0..=600_000);
        check("--heartbeat-interval", heartbeat_ms, "ms", 10..=10_000);
        let connections = connection_count_max as u128;
        check("--connection-count-max", connections, "", 1..=65_536);
        let streams = u128::from(stream_count_max);
        check("--stream-count-max", streams, "", 1..=65_536);
        let all = in_flight_bytes_max as u128;
        check("--in-flight-bytes-max", all, " bytes", message..=64 * GIB);
        let each = in_flight_bytes_per_stream_max as u128;
        let each_max = all.clamp(message, MEMORY_PER_STREAM_MAX);
        let flag = "--in-flight-bytes-per-stream-max";
        check(flag, each, " bytes", message..=each_max);
        let segment = u128::from(self.engine.core.segment_bytes_max);
        check("--segment-bytes-max", segment, " bytes", 65_536..=16 * GIB);
        let round = rounds.round_bytes_max as u128;
        check("--round-bytes-max", round, " bytes", 4_096..=GIB / 16);
        problems
    }

    /// Whether other machines could reach the listener.
    pub fn is_remote(&self) -> bool {
        !self.listen.ip().is_loopback()
    }
}

const MIB: usize = 1024 * 1024;
const GIB: u128 = 1024 * MIB as u128;
/// What the permits of one stream can count.
const MEMORY_PER_STREAM_MAX: u128 = 2 * GIB;

fn message_bytes_min() -> u128 {
    MESSAGE_BYTES_MAX as u128
}

fn check_range(
    flag: &'static str,
    value: u128,
    unit: &str,
    range: RangeInclusive<u128>,
) -> Option<ConfigProblem> {
    let (start, end) = (range.start(), range.end());
    (!range.contains(&value)).then(|| ConfigProblem {
        flag,
        value: format!("{value}{unit}"),
        allowed: format!("{start} to {end}{unit}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_allowed_and_stays_on_this_machine() {
        let config = Config::default();
        assert_eq!(config.validate(), []);
        assert!(!config.is_remote(), "loopback");
    }

    #[test]
    fn every_problem_is_told_with_flag_value_and_range() {
        let config = Config {
            drain_deadline: Duration::from_secs(601),
            limits: ClientLimits {
                connection_count_max: 0,
                in_flight_bytes_max: 1,
                ..ClientLimits::default()
            },
            ..Config::default()
        };
        let texts: Vec<_> = config.validate().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "--drain-deadline is 601000ms, allowed is 0 to 600000ms",
                "--connection-count-max is 0, allowed is 1 to 65536",
                "--in-flight-bytes-max is 1 bytes, allowed is 4259840 to 68719476736 bytes",
                "--in-flight-bytes-per-stream-max is 16777216 bytes, allowed is 4259840 to 4259840 bytes",
            ]
        );
    }

    #[test]
    fn everything_but_loopback_is_remote() {
        for (listen, is_remote) in [
            ("127.0.0.1:0", false),
            ("127.9.9.9:1", false),
            ("[::1]:7600", false),
            ("0.0.0.0:7600", true),
            ("[::]:7600", true),
            ("192.168.1.1:7600", true),
        ] {
            let config = Config {
                listen: listen.parse().unwrap(),
                ..Config::default()
            };
            assert_eq!(config.is_remote(), is_remote, "{listen}");
        }
    }
}
