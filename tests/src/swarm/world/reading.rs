//! Readers at work.

use towpath_storage::{Offset, ReadLimit, TailRead, TopicId};

use super::{READERS, World};
use crate::history::{Event, FINAL_READER, GapReason};
use crate::swarm::actors::{Reader, digest};

impl World {
    pub(super) fn read(&mut self) {
        if self.readers.len() < usize::try_from(READERS).unwrap() {
            let Some(place) = self.pick_place() else {
                return;
            };
            let number = self.readers.len() as u64;
            self.readers.push(Reader {
                number,
                place,
                offset: Offset::ZERO,
                cursor: None,
            });
            return self.start_session(self.readers.len() - 1);
        }
        let reader = self.random.usize(..self.readers.len());
        let bytes_max = self.random.usize(1..30_000);
        self.read_once(reader, bytes_max);
    }

    pub(super) fn start_session(&mut self, reader: usize) {
        let Reader {
            number,
            place,
            offset,
            ..
        } = self.readers[reader];
        self.history.push(Event::ReadFrom {
            reader: number,
            place,
            offset: offset.get(),
        });
    }

    /// Reads on; returns whether anything was found.
    pub(super) fn read_once(&mut self, reader: usize, bytes_max: usize) -> bool {
        let Reader {
            number,
            place,
            offset,
            cursor,
        } = self.readers[reader];
        let Some(engine) = &self.engine else {
            return false;
        };
        let topics = engine.shared.published.topics();
        let Some(view) = topics.with_id(TopicId::new(place.topic)) else {
            if number != FINAL_READER {
                self.follow_another(reader);
            }
            return false;
        };
        let Some(handle) = view.partition(place.partition) else {
            return false;
        };
        let log_start = handle.log().log_start();
        if offset < log_start {
            self.skip_trimmed(reader, log_start);
            return true;
        }
        let limit = ReadLimit {
            bytes_max,
            lsn_max: engine.shared.published.durable(),
        };
        let (frames, loss, cursor) = match handle.log().read_tail(offset, limit) {
            TailRead::AtEnd => return false,
            TailRead::Frames(frames) => (frames, None, None),
            TailRead::OnDisk { until } => {
                match engine
                    .reader
                    .read(handle.log(), cursor, offset, until, limit)
                {
                    Ok(read) => (read.frames, read.loss, read.cursor),
                    // The operating system could not read now; nothing is known to be lost.
                    Err(_) => return true,
                }
            }
        };
        let mut next = offset;
        for frame in &frames {
            self.history.push(Event::Read {
                reader: number,
                place,
                offset: frame.header.base_offset.get(),
                value: digest(&frame.payload),
                records: u64::from(frame.header.record_count),
            });
            next = frame.header.next_offset();
        }
        if let Some(loss) = loss {
            let (start, end) = (loss.start.get(), loss.end.get());
            let reason = GapReason::DataLoss;
            self.history.push(Event::Gap {
                reader: number,
                place,
                start,
                end,
                reason,
            });
            self.digest_trace();
            panic!("nothing was damaged, but {place:?} lost {loss}");
        }
        self.readers[reader].offset = next;
        self.readers[reader].cursor = cursor;
        true
    }

    fn skip_trimmed(&mut self, reader: usize, log_start: Offset) {
        let Reader {
            number,
            place,
            offset,
            ..
        } = self.readers[reader];
        self.history.push(Event::Gap {
            reader: number,
            place,
            start: offset.get(),
            end: log_start.get(),
            reason: GapReason::Trimmed,
        });
        self.readers[reader].offset = log_start;
        self.readers[reader].cursor = None;
    }

    fn follow_another(&mut self, reader: usize) {
        if let Some(place) = self.pick_place() {
            let number = self.readers[reader].number;
            self.readers[reader] = Reader {
                number,
                place,
                offset: Offset::ZERO,
                cursor: None,
            };
            self.start_session(reader);
        }
    }
}
