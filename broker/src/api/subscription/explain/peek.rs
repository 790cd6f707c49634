//! Reading single records.

use std::sync::Arc;

use towpath_proto::batch::{RecordView, Records};
use towpath_storage::{Frame, Offset, PartitionLog};

use super::Shared;
use crate::fetch::Readable;

/// A record in the frame that holds it.
#[derive(Debug)]
pub(super) struct Peeked {
    frame: Frame,
    offset: Offset,
}

impl Peeked {
    pub(super) fn record(&self) -> Option<RecordView<'_>> {
        let place = self.frame.place_of(self.offset)?;
        // Every payload was walked when it came, and has its checksum.
        let mut records = Records::new(&self.frame.payload).map_while(Result::ok);
        records.nth(place as usize)
    }

    /// Broker time of its append, milliseconds since the Unix epoch.
    pub(super) fn append_time_ms(&self) -> i64 {
        self.frame.header.append_time_ms
    }
}

/// Reads a record; none if it cannot be read.
pub(super) async fn record(
    shared: &Shared,
    log: &Arc<PartitionLog>,
    offset: Offset,
) -> Option<Peeked> {
    match shared.reading.frames_at(log, offset).await {
        Ok(Readable::Frames(frames)) => {
            let frame = frames.into_iter().next()?;
            Some(Peeked { frame, offset })
        }
        Ok(Readable::Gone(_)) | Err(_) => None,
    }
}
