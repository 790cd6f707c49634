//! What a broker can be told, as plain data. Nothing here opens, binds or reads anything.

mod descriptors;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use towpath_proto::limits::{MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX};

use crate::runtime::engine::EngineOptions;

/// Everything that a broker can be told.
///
/// A setting is named by its flag: `--` and the field's name with dashes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on. Default 127.0.0.1:7600. Port 0 takes any that is free. An address
    /// beyond loopback is refused unless `insecure_allow_remote`. None listens nowhere: clients in the
    /// same process connect by [`Broker::connector`](crate::Broker::connector).
    pub listen: Option<SocketAddr>,
    /// Address at which `/metrics`, `/livez` and `/readyz` answer over HTTP/1. Default none: nothing
    /// listens. Port 0 takes any that is free. An address beyond loopback is refused unless
    /// `insecure_allow_remote`.
    pub admin_listen: Option<SocketAddr>,
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
    /// After how long a member of a consumer group that says nothing, or takes nothing of what it is sent,
    /// is taken for dead. Default 15 s, from 100 ms to 10 min. Members are told to say something three
    /// times as often. Shorter gives the partitions of a lost machine to others sooner; longer spares
    /// members on slow lines.
    pub session_timeout: Duration,
    /// How long a stream whose client does not send the rest of a message, or does not read, may keep
    /// memory that others wait for. Default 10 s, from 10 ms to 10 min. Shorter ends clients on slow
    /// lines when memory is short; longer makes the others wait.
    pub stall_deadline: Duration,
    /// How much clients may ask for at once.
    pub limits: ClientLimits,
    /// Files, journal and rounds.
    pub engine: EngineOptions,
}

/// How much clients may ask for at once.
#[expect(clippy::struct_field_names, reason = "qualifiers stand last")]
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Most connections. Default 1,024, from 2 to 65,536, since a client of the SDK has two; further
    /// ones are refused, and make one leave that nobody has used for 10 s. Each takes a descriptor, and
    /// while it sends 64 KiB of memory and its part of `window_bytes_max`.
    pub connection_count_max: usize,
    /// Most connections of one address, or of one /64 of IPv6, from 1 to 65,536; further ones are
    /// refused. Default none: 128 of an address of another machine, and of this machine all.
    pub connection_count_per_address_max: Option<usize>,
    /// Most memory of what connections have sent and nobody has read, bytes, beyond 64 KiB for each.
    /// Default 256 MiB, from 0 to 64 GiB. The first connections may send 8 MiB ahead, later ones less as
    /// it is used up; 0 gives 64 KiB to all.
    pub window_bytes_max: usize,
    /// Most streams and calls of one connection. Default 256, from 1 to 65,536.
    pub stream_count_max: u32,
    /// Most calls that are open, streams among them, over all connections and beyond 8 of each. Default
    /// 4,096, from 0 to 1,048,576; further ones are refused. A stream that is open and idle takes 20
    /// to 40 KiB of memory.
    pub call_count_max: usize,
    /// Most memory of batches that wait to be written, bytes, over all streams. Default 64 MiB, from
    /// one message to 64 GiB. When it is used up, nothing more is read from producers.
    pub in_flight_bytes_max: usize,
    /// Most memory of batches of one Produce stream that wait to be written, bytes. Default 16 MiB,
    /// from one message to `in_flight_bytes_max`.
    pub in_flight_bytes_per_stream_max: usize,
    /// Most memory of requests that are being received, bytes, over all connections; one connection
    /// has half of it. Default 64 MiB, from 8 MiB to 64 GiB. When it is used up, nothing more is read
    /// than what completes a message, and a connection that sends several at once is refused.
    pub receiving_bytes_max: usize,
    /// Most memory of what readers were sent and have not taken, bytes, over all streams. Default
    /// 64 MiB, from 16 MiB to 64 GiB. When it is used up, nothing more is read for anyone.
    pub unread_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7600))),
            admin_listen: None,
            data_dir: PathBuf::from("./towpath-data"),
            insecure_allow_remote: false,
            drain_deadline: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(5),
            session_timeout: Duration::from_secs(15),
            stall_deadline: Duration::from_secs(10),
            limits: ClientLimits::default(),
            engine: EngineOptions::default(),
        }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connection_count_max: 1024,
            connection_count_per_address_max: None,
            window_bytes_max: 256 * MIB,
            stream_count_max: 256,
            call_count_max: 4096,
            in_flight_bytes_max: 64 * MIB,
            in_flight_bytes_per_stream_max: 16 * MIB,
            receiving_bytes_max: 64 * MIB,
            unread_bytes_max: 64 * MIB,
        }
    }
}

/// Who comes to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Clients, over gRPC.
    Clients,
    /// Who looks after the broker, over HTTP/1.
    Admin,
}

impl Listener {
    /// The flag that sets the address.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Clients => "--listen",
            Self::Admin => "--admin-listen",
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
        let numbers = self.numbers().into_iter().chain(self.scrub_numbers());
        let numbers = numbers.filter_map(|number| number.check());
        let numbers = numbers.chain(self.check_per_address());
        numbers.chain(self.check_admin_listen()).collect()
    }

    fn check_per_address(&self) -> Option<ConfigProblem> {
        let setting = NumberSetting {
            flag: PER_ADDRESS,
            number: self.limits.connection_count_per_address_max? as u128,
            unit: "",
            allowed: 1..=65_536,
        };
        setting.check()
    }

    /// Both would otherwise be told that somebody else is there.
    fn check_admin_listen(&self) -> Option<ConfigProblem> {
        let address = self.admin_listen?;
        (Some(address) == self.listen && address.port() != 0).then(|| ConfigProblem {
            flag: "--admin-listen",
            value: address.to_string(),
            allowed: "any address but that of --listen".to_owned(),
        })
    }

    /// The settings that are not at their default, as flag and value, for the log.
    pub fn changed(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        let named = [
            ("--listen", shown(self.listen), shown(default.listen)),
            (
                "--admin-listen",
                shown(self.admin_listen),
                shown(default.admin_listen),
            ),
            (
                "--data-dir",
                self.data_dir.display().to_string(),
                default.data_dir.display().to_string(),
            ),
            (
                "--insecure-allow-remote",
                self.insecure_allow_remote.to_string(),
                default.insecure_allow_remote.to_string(),
            ),
            (
                PER_ADDRESS,
                shown(self.limits.connection_count_per_address_max),
                shown(default.limits.connection_count_per_address_max),
            ),
        ];
        let numbers = self.numbers().into_iter().zip(default.numbers());
        let scrub = self.scrub_numbers().into_iter();
        let numbers = numbers.chain(scrub.zip(default.scrub_numbers()));
        let numbers =
            numbers.map(|(number, default)| (number.flag, number.value(), default.value()));
        let all = named.into_iter().chain(numbers);
        all.filter(|(_, value, default)| value != default)
            .map(|(flag, value, _)| (flag, value))
            .collect()
    }

    fn scrub_numbers(&self) -> [NumberSetting; 2] {
        let scrub = &self.engine.scrub;
        [
            NumberSetting {
                flag: "--scrub-rate",
                number: scrub.bytes_per_second.into(),
                unit: " bytes",
                allowed: 0..=GIB,
            },
            NumberSetting {
                flag: "--scrub-period",
                number: scrub.period.as_millis(),
                unit: "ms",
                allowed: 1_000..=YEAR_MS,
            },
        ]
    }

    /// The listener that other machines could reach, if there is one.
    pub fn remote(&self) -> Option<(Listener, SocketAddr)> {
        let clients = self.listen.map(|address| (Listener::Clients, address));
        let admin = self.admin_listen.map(|address| (Listener::Admin, address));
        let mut all = [clients, admin].into_iter().flatten();
        all.find(|(_, address)| !address.ip().is_loopback())
    }

    fn numbers(&self) -> [NumberSetting; 14] {
        let limits = &self.limits;
        let all = limits.in_flight_bytes_max as u128;
        let message = MESSAGE_BYTES_MAX as u128;
        let request = REQUEST_BYTES_MAX as u128;
        let number = |flag, number: u128, unit, allowed| NumberSetting {
            flag,
            number,
            unit,
            allowed,
        };
        let count = |flag, count: usize, allowed| number(flag, count as u128, "", allowed);
        let time = |flag, time: Duration, allowed| number(flag, time.as_millis(), "ms", allowed);
        [
            time("--drain-deadline", self.drain_deadline, 0..=600_000),
            time("--heartbeat-interval", self.heartbeat_interval, 10..=10_000),
            time("--session-timeout", self.session_timeout, 100..=600_000),
            time("--stall-deadline", self.stall_deadline, 10..=600_000),
            count(
                "--connection-count-max",
                limits.connection_count_max,
                2..=65_536,
            ),
            number(
                "--window-bytes-max",
                limits.window_bytes_max as u128,
                " bytes",
                0..=64 * GIB,
            ),
            count(
                "--stream-count-max",
                limits.stream_count_max as usize,
                1..=65_536,
            ),
            count("--call-count-max", limits.call_count_max, 0..=1_048_576),
            number("--in-flight-bytes-max", all, " bytes", request..=64 * GIB),
            number(
                "--in-flight-bytes-per-stream-max",
                limits.in_flight_bytes_per_stream_max as u128,
                " bytes",
                message..=all.max(message),
            ),
            number(
                "--receiving-bytes-max",
                limits.receiving_bytes_max as u128,
                " bytes",
                8 * MIB as u128..=64 * GIB,
            ),
            number(
                "--unread-bytes-max",
                limits.unread_bytes_max as u128,
                " bytes",
                16 * MIB as u128..=64 * GIB,
            ),
            number(
                "--segment-bytes-max",
                self.engine.core.segment_bytes_max.into(),
                " bytes",
                65_536..=16 * GIB,
            ),
            number(
                "--round-bytes-max",
                self.engine.sequencer.round_bytes_max as u128,
                " bytes",
                4_096..=GIB / 16,
            ),
        ]
    }
}

fn shown(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// A setting that is a number.
struct NumberSetting {
    flag: &'static str,
    number: u128,
    unit: &'static str,
    allowed: RangeInclusive<u128>,
}

impl NumberSetting {
    fn value(&self) -> String {
        format!("{}{}", self.number, self.unit)
    }

    fn check(&self) -> Option<ConfigProblem> {
        let (start, end) = (self.allowed.start(), self.allowed.end());
        (!self.allowed.contains(&self.number)).then(|| ConfigProblem {
            flag: self.flag,
            value: self.value(),
            allowed: format!("{start} to {end}{}", self.unit),
        })
    }
}

const PER_ADDRESS: &str = "--connection-count-per-address-max";
const MIB: usize = 1024 * 1024;
const GIB: u128 = 1024 * MIB as u128;
const YEAR_MS: u128 = 366 * 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_allowed_and_stays_on_this_machine() {
        let config = Config::default();
        assert_eq!(config.validate(), []);
        assert_eq!(config.remote(), None, "loopback");
    }

    #[test]
    fn every_problem_is_told_with_flag_value_and_range() {
        let config = Config {
            drain_deadline: Duration::from_secs(601),
            limits: ClientLimits {
                connection_count_max: 0,
                connection_count_per_address_max: Some(0),
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
                "--connection-count-max is 0, allowed is 2 to 65536",
                "--in-flight-bytes-max is 1 bytes, allowed is 8454144 to 68719476736 bytes",
                "--in-flight-bytes-per-stream-max is 16777216 bytes, allowed is 4259840 to 4259840 bytes",
                "--connection-count-per-address-max is 0, allowed is 1 to 65536",
            ]
        );
    }

    #[test]
    fn only_what_differs_from_the_default_is_worth_a_word() {
        assert_eq!(Config::default().changed(), []);
        let config = Config {
            listen: "127.0.0.1:1".parse().ok(),
            drain_deadline: Duration::from_millis(5),
            ..Config::default()
        };
        let expected = [
            ("--listen", "127.0.0.1:1".to_owned()),
            ("--drain-deadline", "5ms".to_owned()),
        ];
        assert_eq!(config.changed(), expected);
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
                listen: listen.parse().ok(),
                ..Config::default()
            };
            assert_eq!(config.remote().is_some(), is_remote, "{listen}");
            let config = Config {
                admin_listen: config.listen,
                ..Config::default()
            };
            let remote = config.remote().map(|(listener, _)| listener);
            let expected = is_remote.then_some(Listener::Admin);
            assert_eq!(remote, expected, "{listen} for admins");
        }
    }

    #[test]
    fn two_listeners_at_one_address_are_a_problem() {
        let check = |admin_listen: &str, listen: &str| {
            let config = Config {
                listen: listen.parse().ok(),
                admin_listen: admin_listen.parse().ok(),
                ..Config::default()
            };
            let problems = config.validate().into_iter();
            problems.map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            check("127.0.0.1:7600", "127.0.0.1:7600"),
            ["--admin-listen is 127.0.0.1:7600, allowed is any address but that of --listen"]
        );
        assert!(check("127.0.0.1:7601", "127.0.0.1:7600").is_empty());
        assert!(check("127.0.0.1:0", "127.0.0.1:0").is_empty(), "any two");
    }
}
