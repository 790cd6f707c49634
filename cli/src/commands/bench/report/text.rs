//! The figures of a measurement for people.

use std::io::{self, Write};
use std::time::Duration;

use super::setting::Setting;
use super::{BenchReport, LatencyReport};
use crate::output::{bytes, count, count_of, duration, rate};

impl BenchReport {
    pub(super) fn write_lines(&self, out: &mut dyn Write) -> io::Result<()> {
        let elapsed = Duration::from_secs_f64(self.seconds);
        writeln!(
            out,
            "{} {} records of {} bytes, {} in {}",
            self.bench,
            count(self.records),
            count(self.setting.size_bytes as u64),
            bytes(self.bytes),
            duration(elapsed)
        )?;
        writeln!(
            out,
            "  speed    {}  {:.1} MB/s",
            rate(self.records, elapsed),
            self.megabytes_per_second
        )?;
        self.write_seconds(out)?;
        if let Some(joining) = self.joining_seconds {
            let joining = duration(Duration::from_secs_f64(joining));
            writeln!(out, "  joining  {joining} before that")?;
        }
        self.write_latency(out)?;
        self.write_processes(out)?;
        self.write_setting(out)?;
        writeln!(out, "  durable  {}", self.durability)
    }

    fn write_seconds(&self, out: &mut dyn Write) -> io::Result<()> {
        let second = Duration::from_secs(1);
        let whole = &self.whole_seconds;
        let worst = whole.worst_second_records;
        let Some((worst, median)) = worst.zip(whole.median_second_records) else {
            return Ok(());
        };
        writeln!(
            out,
            "  seconds  worst {}  {:.1} MB/s, median {}  {:.1} MB/s",
            rate(worst, second),
            whole.worst_second_megabytes_per_second.unwrap_or_default(),
            rate(median, second),
            whole.median_second_megabytes_per_second.unwrap_or_default()
        )
    }

    fn write_latency(&self, out: &mut dyn Write) -> io::Result<()> {
        let us = |micros: f64| duration(Duration::from_secs_f64(micros / 1e6));
        let LatencyReport {
            p50,
            p90,
            p99,
            p999,
            p9999,
            max,
        } = &self.latency_us;
        writeln!(
            out,
            "  latency  p50 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}  ({})",
            us(*p50),
            us(*p90),
            us(*p99),
            us(*p999),
            us(*p9999),
            us(*max),
            self.latency_of
        )
    }

    fn write_processes(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(server) = &self.server {
            writeln!(
                out,
                "  broker   {:.2} s of processor, {:.2} s a GB, memory {}, at most {}",
                server.cpu_seconds,
                server.cpu_seconds_per_gigabyte,
                bytes(server.memory_bytes),
                bytes(server.memory_bytes_max)
            )?;
        }
        if let Some(checkpoints) = self.checkpoints {
            writeln!(out, "  written  {}", count_of(checkpoints, "checkpoint"))?;
        }
        match self.client_cpu_seconds {
            Some(seconds) => writeln!(out, "  clients  {seconds:.2} s of processor"),
            None => Ok(()),
        }
    }

    fn write_setting(&self, out: &mut dyn Write) -> io::Result<()> {
        let setting = &self.setting;
        writeln!(
            out,
            "  setting  partitions {}, clients {}, batches of {}, in flight {} a client, \
             processors {}, towpath {}, broker {}",
            count(setting.partitions.into()),
            count(setting.clients.into()),
            bytes(setting.batch_bytes as u64),
            bytes(setting.in_flight_bytes as u64),
            self.processors,
            self.version,
            self.broker_version
        )?;
        writeln!(
            out,
            "  values   {}, compression {}",
            setting.values, setting.compression
        )?;
        let special = setting.special();
        if !special.is_empty() {
            writeln!(out, "  asked    {special}")?;
        }
        match setting.read_from {
            Some(place) => writeln!(out, "  read     from {place}"),
            None => Ok(()),
        }
    }
}

impl Setting {
    /// What only some measurements have.
    fn special(&self) -> String {
        let parts = [
            self.rate.map(|it| format!("{} records/s due", count(it))),
            self.readers
                .map(|it| format!("readers {}", count(it.into()))),
            self.passes.map(|it| format!("passes {}", count(it.into()))),
            self.mode.map(|it| format!("mode {it}")),
            self.keys.map(|it| format!("keys {}", count(it.into()))),
            self.appends.map(|appends| {
                let in_flight = count(self.in_flight.unwrap_or_default());
                format!("appends {appends} and an ack, commits in flight {in_flight} a client")
            }),
            self.in_flight
                .filter(|_| self.appends.is_none())
                .map(|it| format!("records in flight {} a client", count(it))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        parts.join(", ")
    }
}
