//! Where the next frame of a partition goes. Pure: the sequencer's side of a partition's log.
//!
//! A frame is placed only into space that was reported allocated, so a write can never fail for want
//! of space, and a segment is used only after its files were reported ready.

use crate::format::align_block;
use crate::format::entry::{DirectoryLine, FrameForm};
use crate::format::segment_header::SEGMENT_HEADER_BYTES;
use crate::ids::Offset;
use crate::segment::FIRST_STEP_BYTES;

/// The segment that a partition appends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Offset of its first record.
    pub base: Offset,
    /// End of the last frame: where the next one goes, if it needs no alignment.
    pub next_position: u64,
    /// Whether the last frame went by reference: its last block was written past the page cache.
    pub is_after_run: bool,
    /// End of the space that is known to be allocated; 0 until the files were reported ready. Not
    /// durable: learnt anew after each start.
    pub allocated_end: u64,
}

impl ActiveSegment {
    /// A segment without frames, its files not ready.
    pub fn new(base: Offset) -> Self {
        Self {
            base,
            next_position: SEGMENT_HEADER_BYTES,
            is_after_run: false,
            allocated_end: 0,
        }
    }

    /// Where an inline frame would go.
    pub fn inline_position(&self) -> u64 {
        if self.is_after_run {
            align_block(self.next_position)
        } else {
            self.next_position
        }
    }

    /// Takes the effect of an append.
    pub fn append(&mut self, line: &DirectoryLine) {
        self.next_position = line.place.position + line.frame.padded_bytes();
        self.is_after_run = line.form == FrameForm::Reference;
    }

    /// Whether it holds no frame.
    pub fn is_blank(&self) -> bool {
        self.next_position <= SEGMENT_HEADER_BYTES
    }
}

/// A place for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Position of the frame in the active segment.
    pub position: u64,
    /// Bytes skipped before it.
    pub gap_bytes: u16,
}

/// What must happen before a frame can be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementError {
    /// The active segment is full, or there is none: a new one must be named by an entry.
    NeedsSegment,
    /// The active segment must be allocated at least up to here.
    NeedsSpace {
        /// The end to ask for.
        allocated_end: u64,
    },
}

/// How frames of one partition are placed during a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placing {
    /// Inline: anywhere.
    Inline,
    /// First of a run by reference: on a block boundary.
    RunStart,
    /// Further one of a run by reference: right behind the frame before it.
    RunRest,
}

/// Finds the place of a frame of `padded_bytes` in `active`.
///
/// A segment takes frames up to `segment_bytes_max`; a larger frame gets a segment of its own.
///
/// # Errors
/// [`PlacementError`]; nothing changes.
pub fn place(
    active: Option<&ActiveSegment>,
    padded_bytes: u64,
    placing: Placing,
    segment_bytes_max: u64,
) -> Result<Placement, PlacementError> {
    let active = active.ok_or(PlacementError::NeedsSegment)?;
    let position = match placing {
        Placing::Inline => active.inline_position(),
        Placing::RunStart => align_block(active.next_position),
        Placing::RunRest => active.next_position,
    };
    let end = match placing {
        Placing::Inline => position + padded_bytes,
        Placing::RunStart | Placing::RunRest => align_block(position + padded_bytes),
    };
    if end > segment_bytes_max && !active.is_blank() {
        return Err(PlacementError::NeedsSegment);
    }
    if end > active.allocated_end {
        let allocated_end = next_step(active.allocated_end, end, segment_bytes_max);
        return Err(PlacementError::NeedsSpace { allocated_end });
    }
    // Filled even behind a run: a crash may have kept only the first entries of its round, and what
    // follows their frames is then left of the others.
    let gap_bytes = u16::try_from(position - active.next_position).unwrap_or(u16::MAX);
    Ok(Placement {
        position,
        gap_bytes,
    })
}

/// The end to allocate ahead of need once half of the space is used; `None` if there is enough.
pub fn step_ahead(active: &ActiveSegment, segment_bytes_max: u64) -> Option<u64> {
    let is_half_used = active.next_position > active.allocated_end / 2;
    (active.allocated_end > 0 && is_half_used && active.allocated_end < segment_bytes_max).then(
        || {
            next_step(
                active.allocated_end,
                active.allocated_end + 1,
                segment_bytes_max,
            )
        },
    )
}

/// Doubles from [`FIRST_STEP_BYTES`] until `needed_end` fits, at most to the end of the segment.
fn next_step(allocated_end: u64, needed_end: u64, segment_bytes_max: u64) -> u64 {
    let mut end = allocated_end.max(FIRST_STEP_BYTES);
    while end < needed_end || end <= allocated_end {
        end *= 2;
    }
    end.min(align_block(segment_bytes_max))
        .max(align_block(needed_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1024 * 1024;

    fn active(next_position: u64, allocated_end: u64) -> ActiveSegment {
        ActiveSegment {
            next_position,
            allocated_end,
            ..ActiveSegment::new(Offset::ZERO)
        }
    }

    #[test]
    fn a_frame_goes_only_into_allocated_space() {
        assert_eq!(
            place(None, 8, Placing::Inline, MAX),
            Err(PlacementError::NeedsSegment)
        );
        let blank = ActiveSegment::new(Offset::ZERO);
        assert_eq!(
            place(Some(&blank), 100, Placing::Inline, MAX),
            Err(PlacementError::NeedsSpace {
                allocated_end: 65_536
            })
        );
        assert_eq!(
            place(Some(&active(4096, 65_536)), 100_000, Placing::Inline, MAX),
            Err(PlacementError::NeedsSpace {
                allocated_end: 131_072
            })
        );
        assert_eq!(
            place(Some(&active(4096, 65_536)), 104, Placing::Inline, MAX),
            Ok(Placement {
                position: 4096,
                gap_bytes: 0
            })
        );
    }

    #[test]
    fn a_run_starts_on_a_block_and_ends_on_one() {
        let segment = active(4200, 16_384);
        assert_eq!(
            place(Some(&segment), 8000, Placing::RunStart, MAX),
            Ok(Placement {
                position: 8192,
                gap_bytes: 3992
            })
        );
        assert_eq!(
            place(Some(&segment), 8200, Placing::RunStart, MAX),
            Err(PlacementError::NeedsSpace {
                allocated_end: 65_536
            }),
            "the padding behind the run needs room too"
        );
    }

    #[test]
    fn a_run_is_contiguous_and_what_follows_it_starts_on_a_block() {
        let after_run = ActiveSegment {
            is_after_run: true,
            ..active(8200, 65_536)
        };
        let placed = |placing| {
            let placement = place(Some(&after_run), 80, placing, MAX).unwrap();
            (placement.position, placement.gap_bytes)
        };
        assert_eq!(placed(Placing::RunRest), (8200, 0));
        assert_eq!(placed(Placing::Inline), (12_288, 4088));
        assert_eq!(placed(Placing::RunStart), (12_288, 4088));
    }

    #[test]
    fn a_full_segment_rolls_and_an_oversized_frame_gets_its_own() {
        let full = active(MAX - 8, MAX);
        assert_eq!(
            place(Some(&full), 16, Placing::Inline, MAX),
            Err(PlacementError::NeedsSegment)
        );
        let blank = ActiveSegment::new(Offset::ZERO);
        assert_eq!(
            place(Some(&blank), 2 * MAX, Placing::Inline, MAX),
            Err(PlacementError::NeedsSpace {
                allocated_end: 2 * MAX + 4096
            })
        );
    }

    #[test]
    fn space_is_doubled_ahead_of_need_up_to_the_segment() {
        assert_eq!(step_ahead(&active(4096, 65_536), MAX), None);
        assert_eq!(step_ahead(&active(40_000, 65_536), MAX), Some(131_072));
        assert_eq!(step_ahead(&active(MAX - 8, MAX), MAX), None);
        assert_eq!(
            step_ahead(&active(4096, 0), MAX),
            None,
            "files not ready yet"
        );
    }
}
