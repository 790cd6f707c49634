//! Replay: the entries behind the checkpoint, applied again and written to their segments again.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::progress::Progress;
use super::referenced::find_damaged;
use super::{OpenError, RecoveryReport, Replayed, StateMachine, quarantine};
use crate::environment::Environment;
use crate::error::{DataLoss, Operation, StorageError, io_error};
use crate::format::checkpoint_file::CheckpointFooter;
use crate::format::entry::{DirectoryLine, EntryKind, FrameForm};
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::usize_of;
use crate::frame::Backing;
use crate::ids::{BrokerId, Lsn, OffsetRange};
use crate::journal::scan::{JournalEnd, JournalScanner, ScannedEntry, ScannedFrame};
use crate::journal::{CommittedFrame, JournalPosition};
use crate::segment::{SegmentWish, ensure_segment, remove_segment};
use crate::segment_files::SegmentFiles;
use crate::settle::Settler;
use crate::vfs::read_full_at;

/// Bytes of frames that are collected before they are written to their segments.
const SETTLE_BYTES: u64 = 4 * 1024 * 1024;

pub(super) struct Replay<'a> {
    pub(super) environment: &'a Environment,
    pub(super) files: &'a SegmentFiles,
    pub(super) settler: &'a mut Settler,
    pub(super) state: &'a mut dyn StateMachine,
    /// The highest LSN in the name of a checkpoint file.
    pub(super) named_durable: Lsn,
    pub(super) report: RecoveryReport,
    /// Frames that are applied and not settled.
    pub(super) unsettled: Unsettled,
    pub(super) progress: &'a mut Progress,
    /// The entry behind which damage may end the journal.
    pub(super) accepted: Option<Lsn>,
}

/// Frames in the order of the journal; those that went by reference without their bytes.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    frames: Vec<CommittedFrame>,
    /// Length of the frames, in the journal or not.
    bytes: u64,
}

impl Unsettled {
    fn push(&mut self, frame: CommittedFrame) {
        self.bytes += frame.line.frame.frame_bytes();
        self.frames.push(frame);
    }
}

impl Replay<'_> {
    pub(super) fn run(
        mut self,
        broker_id: BrokerId,
        footer: &CheckpointFooter,
    ) -> Result<Replayed, OpenError> {
        let continuation = JournalPosition {
            file: footer.journal_file,
            position: footer.journal_position,
        };
        let scanner = JournalScanner::open(self.environment, broker_id, continuation, footer.lsn)?;
        let Some(mut scanner) = scanner else {
            let file = continuation.file;
            self.cut(footer.lsn, file, missing_file(file))?;
            return Ok(Replayed {
                lsn: footer.lsn,
                time_ms: footer.time_ms,
                last_file: file,
                report: self.report,
                is_cut: true,
            });
        };
        let journal_bytes = scanner.left_bytes();
        let (mut lsn, mut time_ms) = (footer.lsn, footer.time_ms);
        let end = loop {
            match scanner.next_entry()? {
                ControlFlow::Continue(entry) => {
                    (lsn, time_ms) = (entry.header.lsn, entry.header.time_ms);
                    self.apply(entry)?;
                    let done_bytes = journal_bytes - scanner.left_bytes();
                    self.progress.tell_read(done_bytes, journal_bytes);
                }
                ControlFlow::Break(end) => break end,
            }
        };
        self.settle()?;
        let last_file = end.at().file;
        let is_cut = self.judge(lsn, end)?;
        Ok(Replayed {
            lsn,
            time_ms,
            last_file,
            report: self.report,
            is_cut,
        })
    }

    fn apply(&mut self, entry: ScannedEntry) -> Result<(), StorageError> {
        for line in &entry.lines {
            self.state.apply_append(line);
        }
        for row in entry.rows {
            self.state.apply_row(row);
        }
        if entry.header.kind == EntryKind::Decision {
            self.report.entry_count += 1;
        }
        self.report.frame_count += entry.frames.len() as u64;
        let mut inline = entry.frames.into_iter();
        for line in entry.lines {
            match line.form {
                FrameForm::Reference => self.unsettled.push(CommittedFrame {
                    line,
                    bytes: Bytes::new(),
                    backing: Backing::of_all(&[]),
                }),
                FrameForm::Inline => {
                    let Some(ScannedFrame { frame, is_intact }) = inline.next() else {
                        continue;
                    };
                    let frame = match is_intact {
                        true => frame,
                        false => self.restore_or_lose(frame)?,
                    };
                    self.unsettled.push(frame);
                }
            }
        }
        if self.unsettled.bytes >= SETTLE_BYTES {
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StorageError> {
        let Unsettled { mut frames, .. } = std::mem::take(&mut self.unsettled);
        for chunk in
            frames.chunk_by(|left, right| left.line.place.segment == right.line.place.segment)
        {
            self.salvage_segment(chunk)?;
        }
        // An entry that names bytes by reference was written after they were durable.
        for line in find_damaged(self.files, &frames)? {
            if let Some(frame) = frames.iter_mut().find(|frame| frame.line == line) {
                *frame = self.restore_or_lose(frame.clone())?;
            }
        }
        self.settler.settle(&frames)
    }

    /// Appends are made only to segments whose files are durable. One that is missing all the same was
    /// lost; what the journal holds of it is kept in a new file.
    fn salvage_segment(&self, chunk: &[CommittedFrame]) -> Result<(), StorageError> {
        let Some(first) = chunk.first() else {
            return Ok(());
        };
        let segment = first.line.place.segment;
        match self.files.log(segment) {
            Err(error) if error.is_not_found() => {
                tracing::error!(%segment, "segment file is missing, records behind the checkpoint are kept");
                let topic_name = "salvaged".to_owned();
                let allocated_end = first.line.place.position;
                let wish = SegmentWish {
                    segment,
                    topic_name,
                    next_position: 0,
                    allocated_end,
                };
                // Its index, if that is left, tells of frames that are gone.
                remove_segment(self.files, segment)?;
                ensure_segment(self.files, &wish).map(drop)
            }
            other => other.map(drop),
        }
    }

    /// A frame that is damaged in the journal may have been settled before, and one of which only the
    /// header is damaged in the segment can be made whole again. What is lost goes to its place as it
    /// is: by its intact header readers lose exactly its records.
    fn restore_or_lose(&mut self, frame: CommittedFrame) -> Result<CommittedFrame, StorageError> {
        let line = frame.line;
        let found = self.read_segment(&line)?;
        let payload = found.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let (segment, position) = (line.place.segment, line.place.position);
        if line.frame.matches(payload) {
            tracing::error!(%segment, position, "damaged frame is made whole again");
            return Ok(CommittedFrame::rebuild(line, payload));
        }
        self.lose(&line);
        Ok(match line.form {
            FrameForm::Inline => frame,
            FrameForm::Reference => CommittedFrame::rebuild(line, payload),
        })
    }

    fn lose(&mut self, line: &DirectoryLine) {
        let loss = DataLoss {
            partition: line.place.segment.partition,
            range: OffsetRange {
                start: line.frame.base_offset,
                end: line.frame.next_offset(),
            },
        };
        tracing::error!(%loss, "acknowledged records are lost to damage");
        self.report.losses.push(loss);
    }

    /// What the segment holds in the place of a frame; less if its file is shorter or missing.
    fn read_segment(&self, line: &DirectoryLine) -> Result<Vec<u8>, StorageError> {
        let segment = line.place.segment;
        let file = match self.files.log(segment) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let mut bytes = vec![0; usize_of(line.frame.frame_bytes())];
        let count = read_full_at(&*file, &mut bytes, line.place.position)
            .map_err(io_error(Operation::Read, self.files.log_path(segment)))?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Sets a torn tail aside; refuses to start over damage, unless that is accepted. Returns whether it is.
    fn judge(&mut self, lsn: Lsn, end: JournalEnd) -> Result<bool, OpenError> {
        let file = end.at().file;
        match damage_of(&end, lsn, self.named_durable) {
            Some(what) => self.cut(lsn, file, what).map(|()| true),
            None => Ok(self.set_torn_aside(end).map(|()| false)?),
        }
    }

    fn set_torn_aside(&mut self, end: JournalEnd) -> Result<(), StorageError> {
        if let JournalEnd::Torn {
            at,
            remains: Some(bytes),
        } = end
        {
            let name = format!("journal-{:020}-{}.bytes", at.file, at.position);
            quarantine::set_aside(self.environment, &name, &bytes)?;
            self.report.quarantined_bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// Lets the journal end behind an entry, if that is accepted: keeps the files from `file` on aside.
    fn cut(&self, after_lsn: Lsn, file: u64, what: String) -> Result<(), OpenError> {
        if self.accepted != Some(after_lsn) {
            return Err(OpenError::JournalDamaged { after_lsn, what });
        }
        tracing::error!(%after_lsn, what, "the journal ends here, what followed is lost");
        Ok(crate::repair::keep_journal(self.environment, file)?)
    }
}

/// Why the journal does not go on where a checkpoint says.
pub(crate) fn missing_file(file: u64) -> String {
    format!("journal file {file} is missing or is not that file")
}

/// Why the journal cannot end behind `lsn`, if something says that more had been durable.
pub(crate) fn damage_of(end: &JournalEnd, lsn: Lsn, named_durable: Lsn) -> Option<String> {
    match end {
        JournalEnd::Torn { at, .. } if named_durable > lsn => Some(format!(
            "a checkpoint names lsn {named_durable} but the journal ends in file {} at position {}",
            at.file, at.position
        )),
        JournalEnd::Torn { .. } => None,
        JournalEnd::Damaged { at, what, evidence } => Some(format!(
            "{what} in file {} at position {}, and what is in file {} at position {} says \
             that more had been durable",
            at.file, at.position, evidence.file, evidence.position
        )),
    }
}
