//! One measurement over an open connection, with its costs.

use clap::{Args, ValueEnum};

use super::client::{Client, Load};
use crate::Result;
use crate::host::Meter;
use crate::report::{Figures, Setting};
use crate::size::parse_bytes;

/// What to measure of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// Throughput up, many messages in flight.
    Produce,
    /// Throughput down, from memory.
    Consume,
    /// Time of one message in flight.
    Latency,
}

/// How much to send or to ask for.
#[derive(Debug, Clone, Args)]
pub struct Workload {
    /// Bytes of payload of one throughput run.
    #[arg(long, value_parser = parse_bytes, default_value = "2GB")]
    pub bytes: usize,
    /// Payload bytes of the messages of throughput runs, one run for each, at most 2 MiB.
    #[arg(long = "size", value_parser = parse_bytes, value_delimiter = ',', default_value = "128KiB,64KiB")]
    pub message_bytes: Vec<usize>,
    /// Most bytes of throughput runs that are sent and not acknowledged.
    #[arg(long, value_parser = parse_bytes, default_value = "16MiB")]
    pub in_flight_bytes: usize,
    /// Messages of a latency run, one in flight; the first tenth is not counted.
    #[arg(long, default_value_t = 5000)]
    pub latency_count: u64,
    /// Payload bytes of the messages of a latency run.
    #[arg(long, value_parser = parse_bytes, default_value = "1KiB")]
    pub latency_size: usize,
}

impl Workload {
    /// The message sizes that a measure runs with.
    pub fn sizes(&self, measure: Measure) -> &[usize] {
        match measure {
            Measure::Produce | Measure::Consume => &self.message_bytes,
            Measure::Latency => std::slice::from_ref(&self.latency_size),
        }
    }

    fn load(&self, message_bytes: usize) -> Load {
        let message_count = (self.bytes / message_bytes.max(1)).max(1) as u64;
        Load {
            message_count,
            message_bytes,
        }
    }

    /// An eighth of a produce run, not measured: connections, allocators and page tables are cold.
    ///
    /// # Errors
    /// Those of [`Client::produce`].
    pub async fn warm_up(&self, client: &mut Client) -> Result<()> {
        let message_bytes = self
            .message_bytes
            .first()
            .copied()
            .unwrap_or(self.latency_size);
        let mut load = self.load(message_bytes);
        load.message_count = load.message_count.div_ceil(8);
        client.produce(load, self.in_flight_bytes).await
    }

    /// Makes one measurement; `server_pid` is the process whose processor time to count.
    ///
    /// # Errors
    /// Those of the client and of reading processor times.
    pub async fn measure(
        &self,
        client: &mut Client,
        measure: Measure,
        message_bytes: usize,
        server_pid: Option<u32>,
    ) -> Result<(Setting, Figures)> {
        let mut load = self.load(message_bytes);
        match measure {
            Measure::Produce => {
                let meter = Meter::start(server_pid)?;
                client.produce(load, self.in_flight_bytes).await?;
                let figures = Figures::new(load.message_count, message_bytes, meter.stop()?);
                let setting = Setting::new("bare_model produce", message_bytes);
                Ok((setting.with_in_flight(self.in_flight_bytes), figures))
            }
            Measure::Consume => {
                let meter = Meter::start(server_pid)?;
                client.consume(load).await?;
                let figures = Figures::new(load.message_count, message_bytes, meter.stop()?);
                Ok((Setting::new("bare_model consume", message_bytes), figures))
            }
            Measure::Latency => {
                load.message_count = self.latency_count;
                let meter = Meter::start(server_pid)?;
                let nanoseconds = client.ping_pong(load).await?;
                let figures = Figures::new(load.message_count, message_bytes, meter.stop()?);
                let setting = Setting::new("bare_model latency", message_bytes);
                Ok((
                    setting.with_in_flight(message_bytes),
                    figures.with_latency(&nanoseconds),
                ))
            }
        }
    }
}
