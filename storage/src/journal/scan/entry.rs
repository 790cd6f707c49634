//! One entry as it was found: whole in everything but, perhaps, its payloads.

use bytes::Bytes;

use crate::format::entry::{
    DirectoryLine, ENTRY_HEADER_BYTES, EntryHeader, FrameForm, decode_directory,
};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::row::{Row, decode_rows};
use crate::format::{crc_of, usize_of};
use crate::frame::Backing;
use crate::journal::CommittedFrame;

/// An entry whose header, directory and change are intact.
#[derive(Debug)]
pub(crate) struct ScannedEntry {
    pub(crate) header: EntryHeader,
    pub(crate) lines: Vec<DirectoryLine>,
    /// The inline frames, in the order of their lines.
    pub(crate) frames: Vec<ScannedFrame>,
    pub(crate) rows: Vec<Row>,
}

/// An inline frame of an entry.
#[derive(Debug)]
pub(crate) struct ScannedFrame {
    pub(crate) frame: CommittedFrame,
    /// Whether the payload is the one that was written. The header always is: the line holds it too.
    pub(crate) is_intact: bool,
}

impl ScannedEntry {
    /// `None` if directory or change are not what the header says.
    pub(crate) fn decode(header: EntryHeader, bytes: &Bytes) -> Option<Self> {
        let directory_end = ENTRY_HEADER_BYTES + usize_of(header.directory_bytes());
        let change_start = directory_end.checked_add(usize_of(header.inline_bytes))?;
        let change_end = change_start.checked_add(header.change_bytes as usize)?;
        let directory = bytes.get(ENTRY_HEADER_BYTES..directory_end)?;
        let change = bytes.get(change_start..change_end)?;
        if crc_of(&[directory]) != header.directory_crc || crc_of(&[change]) != header.change_crc {
            return None;
        }
        let lines = decode_directory(directory, &header)?;
        let rows = decode_rows(bytes.slice(change_start..change_end))?;
        let mut frames = Vec::new();
        let mut start = directory_end;
        for line in lines.iter().filter(|line| line.form == FrameForm::Inline) {
            let frame_end = start + usize_of(line.frame.frame_bytes());
            frames.push(ScannedFrame::judge(*line, bytes.slice(start..frame_end)));
            start += usize_of(line.inline_bytes());
        }
        Some(Self {
            header,
            lines,
            frames,
            rows,
        })
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.frames.iter().all(|frame| frame.is_intact)
    }
}

impl ScannedFrame {
    fn judge(line: DirectoryLine, bytes: Bytes) -> Self {
        let payload = bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let is_intact = line.frame.matches(payload);
        let frame = if FrameHeader::decode(&bytes, &line.place) == Ok(line.frame) {
            CommittedFrame {
                backing: Backing::of_all(&bytes),
                line,
                bytes,
            }
        } else {
            CommittedFrame::rebuild(line, payload)
        };
        Self { frame, is_intact }
    }
}

impl CommittedFrame {
    /// The frame of a line with `payload`, cut or zero-filled to the length that the line says: to be
    /// written to its place even if it went by reference.
    pub(crate) fn rebuild(line: DirectoryLine, payload: &[u8]) -> Self {
        let frame_bytes = usize_of(line.frame.frame_bytes());
        let mut bytes = Vec::with_capacity(frame_bytes);
        bytes.extend_from_slice(&line.frame.encode(&line.place));
        bytes.extend_from_slice(payload);
        bytes.resize(frame_bytes, 0);
        Self {
            line: DirectoryLine {
                form: FrameForm::Inline,
                ..line
            },
            backing: Backing::of_all(&bytes),
            bytes: bytes.into(),
        }
    }
}
