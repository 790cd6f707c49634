//! Readers at work.

use towpath_storage::{Offset, ReadLimit, TailRead, TopicId};

use super::{READERS, World};
use crate::history::{Event, FINAL_READER, GapReason};
use crate::swarm::actors::{Reader, digest};

/// What came of a wish to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is nothing more.
    AtEnd,
    /// The topic is deleted.
    TopicGone,
    /// The disk could not be read now.
    Unreadable,
    /// Records were found.
    Read,
    /// Records are gone.
    Skipped,
}

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
        let mut following = self.readers[reader];
        match self.read_on(&mut following, bytes_max) {
            Progress::AtEnd => return false,
            Progress::TopicGone => {
                if following.number != FINAL_READER {
                    self.follow_another(reader);
                }
                return false;
            }
            Progress::Unreadable | Progress::Read | Progress::Skipped => {}
        }
        self.readers[reader] = following;
        true
    }

    /// Lets a reader read on.
    pub(super) fn read_on(&mut self, reader: &mut Reader, bytes_max: usize) -> Progress {
        let Some(engine) = &self.engine else {
            return Progress::AtEnd;
        };
        let topics = engine.shared.published.topics();
        let Some(view) = topics.with_id(TopicId::new(reader.place.topic)) else {
            return Progress::TopicGone;
        };
        let Some(handle) = view.partition(reader.place.partition) else {
            return Progress::AtEnd;
        };
        let (log, offset) = (handle.log(), reader.offset);
        if offset < log.log_start() {
            self.skip_trimmed(reader, log.log_start());
            return Progress::Skipped;
        }
        let limit = ReadLimit {
            bytes_max,
            lsn_max: engine.shared.published.durable(),
        };
        let (frames, loss, cursor) = match log.read_tail(offset, limit) {
            TailRead::AtEnd => return Progress::AtEnd,
            TailRead::Frames(frames) => (frames, None, None),
            TailRead::OnDisk { until } => {
                let read = engine.reader.read(log, reader.cursor, offset, until, limit);
                match read {
                    Ok(read) => (read.frames, read.loss, read.cursor),
                    // The operating system could not read now; nothing is known to be lost.
                    Err(_) => return Progress::Unreadable,
                }
            }
        };
        for frame in &frames {
            self.history.push(Event::Read {
                reader: reader.number,
                place: reader.place,
                offset: frame.header.base_offset.get(),
                value: digest(&frame.payload),
                records: u64::from(frame.header.record_count),
            });
            reader.offset = frame.header.next_offset();
        }
        if let Some(loss) = loss {
            self.note_gap(reader, loss.end, GapReason::DataLoss);
            self.digest_trace();
            panic!("nothing was damaged, but {:?} lost {loss}", reader.place);
        }
        reader.cursor = cursor;
        Progress::Read
    }

    fn skip_trimmed(&mut self, reader: &mut Reader, log_start: Offset) {
        self.note_gap(reader, log_start, GapReason::Trimmed);
        reader.offset = log_start;
        reader.cursor = None;
    }

    fn note_gap(&mut self, reader: &Reader, end: Offset, reason: GapReason) {
        self.history.push(Event::Gap {
            reader: reader.number,
            place: reader.place,
            start: reader.offset.get(),
            end: end.get(),
            reason,
        });
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
