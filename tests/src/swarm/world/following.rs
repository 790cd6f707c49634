//! Reading a partition from an offset on, for those who look into records.

use towpath_storage::{Frame, Offset, ReadCursor, ReadLimit, TailRead, TopicId};

use super::World;
use crate::history::Place;

/// Where somebody is in one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    pub(super) place: Place,
    pub(super) offset: Offset,
    cursor: Option<ReadCursor>,
}

impl Follower {
    /// Begins with the first record that there ever was.
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            offset: Offset::ZERO,
            cursor: None,
        }
    }

    /// Forgets which file it was in: the broker that had it open is gone.
    pub(super) fn reopen(&mut self) {
        self.cursor = None;
    }
}

impl World {
    /// The next frames of a partition; none at its end, or while the disk cannot be read. Frames follow each
    /// other without a gap: what compaction has taken is a frame that says so.
    pub(super) fn next_frames(
        &self,
        follower: &mut Follower,
        bytes_max: usize,
    ) -> Option<Vec<Frame>> {
        let engine = self.engine.as_ref()?;
        let topics = engine.shared.published.topics();
        let view = topics.with_id(TopicId::new(follower.place.topic));
        let view = view.expect("nobody deletes it");
        let log = view.partition(follower.place.partition)?.log();
        assert_eq!(log.log_start(), Offset::ZERO, "nobody trims it");
        let limit = ReadLimit {
            bytes_max,
            lsn_max: engine.shared.published.durable(),
        };
        let (offset, place) = (follower.offset, follower.place);
        let frames = match log.read_tail(offset, limit) {
            TailRead::AtEnd => return None,
            TailRead::Frames(frames) => frames,
            TailRead::OnDisk { until } => {
                let read = engine
                    .reader
                    .read(log, follower.cursor, offset, until, limit);
                // The operating system could not read now; nothing is known to be lost.
                let read = read.ok()?;
                assert_eq!(
                    read.loss, None,
                    "nothing was damaged, {place:?} at {offset}"
                );
                follower.cursor = read.cursor;
                read.frames
            }
        };
        for frame in &frames {
            let header = &frame.header;
            let is_next = header.base_offset <= follower.offset;
            assert!(is_next, "{place:?}: a hole before {header:?}, at {offset}");
            assert!(header.matches(&frame.payload), "{place:?}: {header:?}");
            follower.offset = header.next_offset();
        }
        Some(frames)
    }
}
