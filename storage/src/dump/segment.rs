//! Telling segments: every frame, what lies between frames, and the index.

use std::path::Path;

use super::window::Window;
use super::{Item, Told, Walk, is_dir};
use crate::error::StorageError;
use crate::folder;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FramePlace};
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::{ALIGN_BYTES, align_block, usize_of};
use crate::ids::{Offset, PartitionRef, SegmentRef, TopicId};

impl Walk<'_> {
    /// Tells all segments that are selected.
    pub(super) fn topics(&mut self) -> Told {
        let root = Path::new(folder::TOPICS);
        for entry in self.list(root)? {
            let topic = folder::parse_topic_folder(&entry.name);
            match topic.filter(|_| is_dir(&entry)) {
                Some(topic) if self.selection.topic.is_none_or(|it| it == topic) => {
                    self.topic(topic, &entry.name)?;
                }
                Some(_) => {}
                None => {
                    let path = root.join(&entry.name);
                    self.tell(&Item::Unknown { path })?;
                }
            }
        }
        Told::Continue(())
    }

    fn topic(&mut self, topic: TopicId, folder_name: &str) -> Told {
        let dir = Path::new(folder::TOPICS).join(folder_name);
        let mut partitions = Vec::new();
        for entry in self.list(&dir)? {
            match entry.name.parse().ok().filter(|_| is_dir(&entry)) {
                Some(partition) => partitions.push(PartitionRef { topic, partition }),
                None => {
                    let path = dir.join(&entry.name);
                    self.tell(&Item::Unknown { path })?;
                }
            }
        }
        partitions.sort_unstable();
        for partition in partitions {
            self.partition(partition, folder_name)?;
        }
        Told::Continue(())
    }

    fn partition(&mut self, partition: PartitionRef, folder_name: &str) -> Told {
        let dir = folder::partition_folder(folder_name, partition);
        let mut segments = Vec::new();
        for entry in self.list(&dir)? {
            match folder::parse_segment_file(partition, &entry.name) {
                Some(segment) => segments.push(segment),
                None => {
                    let path = dir.join(&entry.name);
                    self.tell(&Item::Unknown { path })?;
                }
            }
        }
        // Log and index of a segment stand side by side.
        segments.sort_unstable();
        segments.dedup();
        for segment in segments {
            self.segment(segment, folder_name)?;
            self.index(segment, folder_name)?;
        }
        Told::Continue(())
    }

    fn segment(&mut self, segment: SegmentRef, folder_name: &str) -> Told {
        let path = folder::segment_log(folder_name, segment);
        let opened = self.attempt(Window::open(self.environment, &path))?;
        let Some(mut window) = opened else {
            return Told::Continue(());
        };
        let head = window
            .at(0, usize_of(SEGMENT_HEADER_BYTES))
            .map(SegmentHeader::decode);
        let header = self.attempt(head)?.flatten();
        self.tell(&Item::Segment {
            path: path.clone(),
            segment,
            bytes: window.file_bytes(),
            header,
        })?;
        if header.is_some_and(|header| header.segment != segment) {
            self.trouble(&path, 0, "the header is that of another segment")?;
        }
        let position = SEGMENT_HEADER_BYTES;
        self.frames(&mut FrameWalk {
            window,
            place: FramePlace { segment, position },
        })
    }

    fn frames(&mut self, walk: &mut FrameWalk) -> Told {
        let path = walk.window.path.clone();
        let mut expected: Option<Offset> = None;
        loop {
            let found = self.attempt(walk.next_frame())?;
            let Some(Found { skipped, frame }) = found else {
                return Told::Continue(());
            };
            if let Some(position) = skipped {
                self.trouble(&path, position, "these bytes are no frame")?;
            }
            let Some(header) = frame else {
                return Told::Continue(());
            };
            let position = walk.place.position;
            if expected.is_some_and(|expected| expected != header.base_offset) {
                self.trouble(
                    &path,
                    position,
                    "the offsets do not go on from the frame before",
                )?;
            }
            expected = Some(header.next_offset());
            let is_intact = self.attempt(walk.has_intact_payload(&header))?;
            let has_deltas = self.attempt(walk.has_intact_deltas(&header))?;
            let damage = match (is_intact, has_deltas) {
                (Some(true), Some(true)) => None,
                (Some(true), _) => Some("the offset deltas do not match their checksum"),
                _ => Some("the payload does not match its checksum"),
            };
            self.tell(&Item::Frame {
                position,
                header,
                damage,
            })?;
            walk.place.position += header.padded_bytes();
        }
    }
}

/// What comes next in a segment.
struct Found {
    /// Where bytes begin that are neither a frame nor the zeros before one.
    skipped: Option<u64>,
    /// The next frame, at the present place; none if there is none to the end of the file.
    frame: Option<FrameHeader>,
}

struct FrameWalk {
    window: Window,
    place: FramePlace,
}

impl FrameWalk {
    /// Moves to the next intact frame header.
    fn next_frame(&mut self) -> Result<Found, StorageError> {
        let expected = self.place.position;
        if let Some(header) = self.header_here()? {
            let frame = Some(header);
            return Ok(Found {
                skipped: None,
                frame,
            });
        }
        // Zeros fill the block before and behind a run, and the rest of the file.
        let written = self.window.skip_zeros(expected)?;
        let is_gap = written == align_block(expected) || written >= self.window.file_bytes();
        self.place.position = written;
        let mut frame = self.header_here()?;
        let skipped = match frame {
            Some(_) if is_gap => None,
            None if written >= self.window.file_bytes() => None,
            Some(_) => Some(expected),
            None => Some(written),
        };
        while frame.is_none() && self.place.position < self.window.file_bytes() {
            self.place.position += ALIGN_BYTES;
            frame = self.header_here()?;
        }
        Ok(Found { skipped, frame })
    }

    fn header_here(&mut self) -> Result<Option<FrameHeader>, StorageError> {
        let bytes = self.window.at(self.place.position, FRAME_HEADER_BYTES)?;
        Ok(FrameHeader::decode(bytes, &self.place).ok())
    }

    fn has_intact_payload(&mut self, header: &FrameHeader) -> Result<bool, StorageError> {
        let start = self.place.position + header.payload_start();
        let crc = self.window.crc(start, u64::from(header.payload_bytes))?;
        Ok(crc == Some(header.payload_crc))
    }

    /// Whether the offset deltas of a sparse frame are what its header says.
    fn has_intact_deltas(&mut self, header: &FrameHeader) -> Result<bool, StorageError> {
        let Some(sparse) = header.sparse else {
            return Ok(true);
        };
        let start = self.place.position + FRAME_HEADER_BYTES as u64;
        let crc = self.window.crc(start, header.deltas_bytes())?;
        Ok(crc == Some(sparse.deltas_crc))
    }
}
