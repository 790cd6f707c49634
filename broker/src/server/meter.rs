//! Counts the frames of a connection that cost the broker work and carry nothing.
//!
//! HTTP/2 lets a client send as many pings, settings, resets and empty frames as it likes, each of a
//! few bytes, and the library answers all of them. Here they cost credit, which grows with time and
//! with what the broker has sent: healthy clients ping and open windows as they are sent data.

use std::time::Duration;

use tokio::time::Instant;

/// Length of what every HTTP/2 client sends first.
pub(super) const PREFACE_BYTES: usize = 24;
/// Length, type, flags and stream.
const HEAD_BYTES: usize = 9;
/// Credit at the beginning, and the most there is.
const CREDIT_MAX: u32 = 40_000;
/// Credit that comes with time.
const CREDIT_PER_SECOND: u32 = 4_000;
/// Bytes that the broker has written for each credit. An answered ping gives back a fourth of its cost.
const BYTES_PER_CREDIT: usize = 16;

/// What a frame costs that carries nothing: 10,000 at once, 1,000 a second.
const COST: u32 = 4;
/// A stream that the client gives up, which the broker has worked for: 2,000 at once, 200 a second.
const RESET_COST: u32 = 20;
/// A client may open the windows of stream and connection for each frame that it gets.
const WINDOW_UPDATE_COST: u32 = 1;

/// The client has sent too much that is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

/// The credit of one connection, and where in its frames it is.
#[derive(Debug)]
pub(super) struct Meter {
    credit: u32,
    credited_at: Instant,
    written_bytes: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes until the next head.
    skip_bytes: usize,
}

impl Meter {
    /// The meter of a connection that begins.
    pub(super) fn new() -> Self {
        Self {
            credit: CREDIT_MAX,
            credited_at: Instant::now(),
            written_bytes: 0,
            head: [0; HEAD_BYTES],
            head_len: 0,
            skip_bytes: PREFACE_BYTES,
        }
    }

    /// Goes on by what was read.
    ///
    /// # Errors
    /// Too much of it is of no use.
    pub(super) fn note_read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.skip_bytes.min(bytes.len());
            self.skip_bytes -= skipped;
            bytes = bytes.split_at(skipped).1;
            let missing = HEAD_BYTES - self.head_len;
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            for (place, byte) in self.head.iter_mut().skip(self.head_len).zip(head) {
                *place = *byte;
            }
            self.head_len += head.len();
            bytes = rest;
            if self.head_len == HEAD_BYTES {
                self.head_len = 0;
                let cost = self.begin_frame();
                self.spend(cost)?;
            }
        }
        Ok(())
    }

    /// Goes on by what was written.
    pub(super) fn note_written(&mut self, bytes: usize) {
        self.written_bytes += bytes;
        let credit = self.written_bytes / BYTES_PER_CREDIT;
        self.written_bytes %= BYTES_PER_CREDIT;
        self.give(u32::try_from(credit).unwrap_or(CREDIT_MAX));
    }

    /// Looks at a head that is whole; returns what its frame costs.
    fn begin_frame(&mut self) -> u32 {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip_bytes = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let is_last = flags & 1 != 0;
        match kind {
            // DATA that may be of use, HEADERS, GOAWAY.
            0 if self.skip_bytes > 0 || is_last => 0,
            1 | 7 => 0,
            3 => RESET_COST,
            8 => WINDOW_UPDATE_COST,
            // The answer to the broker's own.
            4 | 6 if is_last => WINDOW_UPDATE_COST,
            _ => COST,
        }
    }

    fn spend(&mut self, cost: u32) -> Result<(), Flood> {
        if self.credit < cost {
            // Looks at the time only when it matters.
            let now = Instant::now();
            let passed = now.duration_since(self.credited_at);
            self.credited_at = now;
            let credit = passed.as_millis() * u128::from(CREDIT_PER_SECOND) / MILLIS_PER_SECOND;
            self.give(u32::try_from(credit).unwrap_or(CREDIT_MAX));
        }
        self.credit = self.credit.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }

    fn give(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(CREDIT_MAX);
    }
}

const MILLIS_PER_SECOND: u128 = Duration::from_secs(1).as_millis();

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;

    fn frame(kind: u8, flags: u8, payload_bytes: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, payload_bytes, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + usize::from(payload_bytes), kind);
        frame
    }

    fn begun() -> Meter {
        let mut meter = Meter::new();
        meter.note_read(&[b'P'; PREFACE_BYTES]).unwrap();
        meter
    }

    /// How many such frames a connection may send at once.
    fn count_until_flood(mut meter: Meter, frame: &[u8]) -> Option<u32> {
        (0..100_000).find(|_| meter.note_read(frame).is_err())
    }

    #[tokio::test(start_paused = true)]
    async fn what_carries_nothing_is_borne_only_so_often() {
        for (kind, flags, payload_bytes, expected) in [
            (PING, 0, 8, Some(10_000)),
            (SETTINGS, 0, 6, Some(10_000)),
            (CONTINUATION, 0, 1, Some(10_000)),
            (DATA, 0, 0, Some(10_000)),
            (2, 0, 5, Some(10_000)),
            (200, 0, 0, Some(10_000)),
            (RST_STREAM, 0, 4, Some(2_000)),
            (WINDOW_UPDATE, 0, 4, Some(40_000)),
            (SETTINGS, 1, 0, Some(40_000)),
            (DATA, 0, 1, None),
            (DATA, 1, 0, None),
            (HEADERS, 4, 20, None),
        ] {
            let frame = frame(kind, flags, payload_bytes);
            let count = count_until_flood(begun(), &frame);
            assert_eq!(count, expected, "{frame:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_seen_however_they_are_cut() {
        let mut bytes = vec![b'P'; PREFACE_BYTES];
        for payload_bytes in (0..40).cycle().take(2_001) {
            bytes.extend(frame(HEADERS, 4, payload_bytes));
            bytes.extend(frame(RST_STREAM, 0, 4));
        }
        for len in [1, 2, 7, 9, 10, 4_096, bytes.len()] {
            let mut meter = Meter::new();
            let (allowed, last) = bytes.split_at(bytes.len() - HEAD_BYTES - 4);
            let mut parts = allowed.chunks(len);
            assert!(parts.all(|part| meter.note_read(part).is_ok()), "by {len}");
            assert_eq!(meter.credit, 0, "by {len}");
            assert_eq!(meter.note_read(last), Err(Flood), "by {len}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_may_ping_for_ever_as_time_goes_by_or_data_comes() {
        let mut meter = begun();
        let ping = frame(PING, 0, 8);
        for second in 0..100 {
            for _ in 0..1_000 {
                assert_eq!(meter.note_read(&ping), Ok(()), "{second}");
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for _ in 0..100_000 {
            meter.note_written(100);
            meter.note_read(&ping).unwrap();
            meter.note_read(&frame(WINDOW_UPDATE, 0, 4)).unwrap();
            meter.note_read(&frame(WINDOW_UPDATE, 0, 4)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_a_flood_do_not_pay_for_it() {
        let mut meter = begun();
        let ping = frame(PING, 0, 8);
        let ended = (0..100_000).any(|_| {
            meter.note_written(ping.len());
            meter.note_read(&ping).is_err()
        });
        assert!(ended, "each ping is answered by a frame of its length");
    }
}
