//! What one TCP connection over the loopback interface carries.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use clap::Args;

use crate::host::Meter;
use crate::report::{Figures, Report, Setting};
use crate::size::parse_bytes;
use crate::{Error, Result, payload};

/// What to send over the connection.
#[derive(Debug, Clone, Args)]
pub struct LoopbackPlan {
    /// How often each size is measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Bytes of one run.
    #[arg(long, value_parser = parse_bytes, default_value = "4GB")]
    pub bytes: usize,
    /// Bytes of one write and one read, at most 64 MiB.
    #[arg(long = "size", value_parser = parse_bytes, value_delimiter = ',', default_value = "64KiB,1MiB")]
    pub write_bytes: Vec<usize>,
}

/// Measures every size, all in turn and then again.
///
/// # Errors
/// Those of the sockets and of the report; [`Error::Void`] when bytes are missing.
pub fn run<W: Write>(plan: &LoopbackPlan, report: &mut Report<W>) -> Result<()> {
    for round in 1..=plan.rounds {
        for write_bytes in plan.write_bytes.iter().copied() {
            let write_bytes = write_bytes.min(payload::REGION_BYTES);
            let figures = measure(write_bytes, plan.bytes.div_ceil(write_bytes))?;
            report.add(
                round,
                Setting::new("raw_limits loopback", write_bytes),
                figures,
            )?;
        }
    }
    Ok(())
}

/// Sends to a thread of this process, so processor time is that of both ends.
///
/// # Errors
/// Those of the sockets; [`Error::Void`] when bytes are missing.
pub(crate) fn measure(write_bytes: usize, write_count: usize) -> Result<Figures> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("listen"))?;
    let address = listener.local_addr().map_err(Error::io("listen"))?;
    let filler = payload::region();
    let mut sender = TcpStream::connect(address).map_err(Error::io("connect"))?;
    let (receiver, _) = listener.accept().map_err(Error::io("accept"))?;
    let meter = Meter::start(None)?;
    let reading = thread::spawn(move || count_bytes(receiver, write_bytes));
    for piece in filler.chunks_exact(write_bytes).cycle().take(write_count) {
        sender.write_all(piece).map_err(Error::io("send"))?;
    }
    drop(sender);
    let received = reading
        .join()
        .map_err(|_panic| Error::Void("the reader panicked".to_owned()))?;
    let received = received.map_err(Error::io("receive"))?;
    let figures = Figures::new(write_count as u64, write_bytes, meter.stop()?);
    if received != figures.bytes {
        let text = format!(
            "bytes were lost expected={} found={received}",
            figures.bytes
        );
        return Err(Error::Void(text));
    }
    Ok(figures)
}

fn count_bytes(mut receiver: TcpStream, buffer_bytes: usize) -> std::io::Result<u64> {
    let mut buffer = vec![0; buffer_bytes];
    let mut received = 0;
    loop {
        match receiver.read(&mut buffer)? {
            0 => return Ok(received),
            count => received += count as u64,
        }
    }
}
