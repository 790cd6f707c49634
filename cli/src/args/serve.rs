//! `towpath serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use towpath_broker::config::Config;

use super::duration::parse_duration;
use super::listen::parse_listen;
use super::size::parse_size;

/// How to run a broker. A setting that is not given has the default of [`Config`].
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  towpath serve
  towpath serve --data-dir /var/lib/towpath --listen 127.0.0.1:7600
  towpath serve --admin-listen 127.0.0.1:7601     # /metrics, /livez, /readyz
  towpath serve --check-config --drain-deadline 30s
  TOWPATH_LOG=debug towpath serve
")]
pub(crate) struct ServeArgs {
    /// Folder that holds everything; made if it is missing, its parent is not
    /// [default: ./towpath-data]
    #[arg(
        long,
        value_name = "DIR",
        env = "TOWPATH_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
    /// Address to listen on, or a name that stands for one; port 0 takes any that is free [default:
    /// 127.0.0.1:7600]
    #[arg(long, value_name = "ADDR", env = "TOWPATH_LISTEN", hide_env_values = true,
          value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// Address at which /metrics, /livez and /readyz answer over HTTP; port 0 takes any that is free
    /// [default: none]
    #[arg(long, value_name = "ADDR", env = "TOWPATH_ADMIN_LISTEN", hide_env_values = true,
          value_parser = parse_listen)]
    admin_listen: Option<SocketAddr>,
    /// Listen beyond loopback without encryption and authentication: whoever reaches the port may
    /// read, write and delete everything
    #[arg(long, env = "TOWPATH_INSECURE_ALLOW_REMOTE", hide_env_values = true,
          value_parser = FalseyValueParser::new())]
    insecure_allow_remote: bool,
    /// How long a stop waits for streams and calls before it breaks them off [default: 10s]
    #[arg(long, value_name = "TIME", env = "TOWPATH_DRAIN_DEADLINE", hide_env_values = true,
          value_parser = parse_duration)]
    drain_deadline: Option<Duration>,
    /// After how much silence a reader is told that its stream is alive [default: 5s]
    #[arg(long, value_name = "TIME", env = "TOWPATH_HEARTBEAT_INTERVAL", hide_env_values = true,
          value_parser = parse_duration)]
    heartbeat_interval: Option<Duration>,
    /// After how long a member of a consumer group that says nothing, or reads nothing, is taken for
    /// dead [default: 15s]
    #[arg(long, value_name = "TIME", env = "TOWPATH_SESSION_TIMEOUT", hide_env_values = true,
          value_parser = parse_duration)]
    session_timeout: Option<Duration>,
    /// How long a client that does not send the rest of a message, or does not read, may keep memory
    /// that others wait for [default: 10s]
    #[arg(long, value_name = "TIME", env = "TOWPATH_STALL_DEADLINE", hide_env_values = true,
          value_parser = parse_duration)]
    stall_deadline: Option<Duration>,
    /// Most connections; further ones are refused, after idle ones were closed [default: 1024]
    #[arg(
        long,
        value_name = "N",
        env = "TOWPATH_CONNECTION_COUNT_MAX",
        hide_env_values = true
    )]
    connection_count_max: Option<usize>,
    /// Most connections from one address [default: 128 from another machine, all from this one]
    #[arg(
        long,
        value_name = "N",
        env = "TOWPATH_CONNECTION_COUNT_PER_ADDRESS_MAX",
        hide_env_values = true
    )]
    connection_count_per_address_max: Option<usize>,
    /// Most memory of what connections have sent and nobody has read, beyond 64 KiB for each [default:
    /// 256MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_WINDOW_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    window_bytes_max: Option<usize>,
    /// Most streams and calls of one connection [default: 256]
    #[arg(
        long,
        value_name = "N",
        env = "TOWPATH_STREAM_COUNT_MAX",
        hide_env_values = true
    )]
    stream_count_max: Option<u32>,
    /// Most calls and streams that are open over all connections, beyond 8 of each; further ones are
    /// refused [default: 4096]
    #[arg(
        long,
        value_name = "N",
        env = "TOWPATH_CALL_COUNT_MAX",
        hide_env_values = true
    )]
    call_count_max: Option<usize>,
    /// Most memory of batches that wait to be written [default: 64MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_IN_FLIGHT_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    in_flight_bytes_max: Option<usize>,
    /// The same of one producer's stream [default: 16MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_IN_FLIGHT_BYTES_PER_STREAM_MAX",
          hide_env_values = true, value_parser = parse_size)]
    in_flight_bytes_per_stream_max: Option<usize>,
    /// Most memory of requests that are being received [default: 64MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_RECEIVING_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    receiving_bytes_max: Option<usize>,
    /// Most memory of what readers were sent and have not taken [default: 64MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_UNREAD_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    unread_bytes_max: Option<usize>,
    /// Size at which a partition begins a new file [default: 256MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_SEGMENT_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    segment_bytes_max: Option<usize>,
    /// Most bytes that are written and synced at once [default: 4MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_ROUND_BYTES_MAX", hide_env_values = true,
          value_parser = parse_size)]
    round_bytes_max: Option<usize>,
    /// How much of what is stored is read each second to find damage on the disk; 0 for nothing
    /// [default: 8MiB]
    #[arg(long, value_name = "BYTES", env = "TOWPATH_SCRUB_RATE", hide_env_values = true,
          value_parser = parse_size)]
    scrub_rate: Option<usize>,
    /// How often all of it is read, if the rate allows [default: 7d]
    #[arg(long, value_name = "TIME", env = "TOWPATH_SCRUB_PERIOD", hide_env_values = true,
          value_parser = parse_duration)]
    scrub_period: Option<Duration>,
    /// Only check the settings and print them
    #[arg(long)]
    pub(crate) check_config: bool,
}

impl ServeArgs {
    /// The settings of the broker: what was given, else the default.
    pub(crate) fn to_config(&self) -> Config {
        let mut config = Config::default();
        let limits = &mut config.limits;
        let engine = &mut config.engine;
        take(&mut config.data_dir, self.data_dir.clone());
        take(&mut config.listen, self.listen.map(Some));
        config.admin_listen = self.admin_listen;
        config.insecure_allow_remote |= self.insecure_allow_remote;
        take(&mut config.drain_deadline, self.drain_deadline);
        take(&mut config.heartbeat_interval, self.heartbeat_interval);
        take(&mut config.session_timeout, self.session_timeout);
        take(&mut config.stall_deadline, self.stall_deadline);
        take(&mut limits.connection_count_max, self.connection_count_max);
        limits.connection_count_per_address_max = self.connection_count_per_address_max;
        take(&mut limits.window_bytes_max, self.window_bytes_max);
        take(&mut limits.stream_count_max, self.stream_count_max);
        take(&mut limits.call_count_max, self.call_count_max);
        take(&mut limits.in_flight_bytes_max, self.in_flight_bytes_max);
        let per_stream = self.in_flight_bytes_per_stream_max;
        take(&mut limits.in_flight_bytes_per_stream_max, per_stream);
        take(&mut limits.receiving_bytes_max, self.receiving_bytes_max);
        take(&mut limits.unread_bytes_max, self.unread_bytes_max);
        let segment_bytes_max = self.segment_bytes_max.map(|bytes| bytes as u64);
        take(&mut engine.core.segment_bytes_max, segment_bytes_max);
        take(&mut engine.sequencer.round_bytes_max, self.round_bytes_max);
        let scrub_rate = self.scrub_rate.map(|bytes| bytes as u64);
        take(&mut engine.scrub.bytes_per_second, scrub_rate);
        take(&mut engine.scrub.period, self.scrub_period);
        config
    }
}

fn take<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}
