//! A journal entry: header, directory of appends, inline frames, change.
//!
//! ```text
//! header, 80 bytes | directory, 80 bytes an append | inline frames, each padded to 8 | rows | padding to 8
//! ```

use bytes::{Buf, BufMut};

use super::frame::{FrameHeader, FramePlace};
use super::{ALIGN_BYTES, align_up, crc_of};
use crate::ids::{Lsn, Offset, PartitionRef, ProducerId, SegmentRef, TopicId};

/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 80;
/// Bytes of one directory line.
pub const LINE_BYTES: usize = 80;
/// Most appends in one entry.
pub const APPEND_COUNT_MAX: u32 = 65_536;

const MAGIC: u32 = u32::from_le_bytes(*b"TENT");
const VERSION: u16 = 1;
const FLAG_REFERENCE: u8 = 1;
const FLAG_PRODUCER: u8 = 2;

/// Where an entry lies and in which life of its file: mixed into the header's checksum, so that
/// stale entries and copies of journal bytes are never valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPlace {
    /// Salt of the file's present life.
    pub salt: u64,
    /// Number of the journal file.
    pub file_number: u64,
    /// Bytes from the start of the file; a multiple of [`ALIGN_BYTES`].
    pub position: u64,
}

impl EntryPlace {
    fn seed(&self) -> [u8; 24] {
        let mut seed = [0; 24];
        let mut out = seed.as_mut_slice();
        out.put_u64_le(self.salt);
        out.put_u64_le(self.file_number);
        out.put_u64_le(self.position);
        seed
    }
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A decision of the broker.
    Decision,
    /// Nothing but evidence that what came before is durable; written after a silence.
    Mark,
}

/// Header of an entry.
///
/// ```text
///  0 magic u32            4 crc u32 of the place (salt, file, position) and bytes 8..80
///  8 version u16         10 kind u16 (0 decision, 1 mark)      12 append count u32
/// 16 lsn u64             24 broker time i64, ms                32 previous durable lsn u64
/// 40 inline bytes u64    48 directory crc u32                  52 change crc u32
/// 56 change bytes u32    60 reserved, zero
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// What the entry is for.
    pub kind: EntryKind,
    /// Lines in the directory.
    pub append_count: u32,
    /// The entry's number.
    pub lsn: Lsn,
    /// Broker time at which it was decided, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The highest entry that was durable when this one was written.
    pub previous_durable: Lsn,
    /// Length of the inline frames with their padding.
    pub inline_bytes: u64,
    /// CRC-32 of the directory.
    pub directory_crc: u32,
    /// CRC-32 of the change.
    pub change_crc: u32,
    /// Length of the change.
    pub change_bytes: u32,
}

impl EntryHeader {
    /// Length of the directory.
    pub fn directory_bytes(&self) -> u64 {
        u64::from(self.append_count).saturating_mul(LINE_BYTES as u64)
    }

    /// Length of header, directory, inline frames and change, padded.
    pub fn entry_bytes(&self) -> u64 {
        let bytes = (ENTRY_HEADER_BYTES as u64)
            .saturating_add(self.directory_bytes())
            .saturating_add(self.inline_bytes)
            .saturating_add(u64::from(self.change_bytes));
        align_up(bytes, ALIGN_BYTES)
    }

    /// The header's bytes at `place`.
    pub fn encode(&self, place: &EntryPlace) -> [u8; ENTRY_HEADER_BYTES] {
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        let (head, mut body) = bytes.split_at_mut(8);
        body.put_u16_le(VERSION);
        body.put_u16_le(match self.kind {
            EntryKind::Decision => 0,
            EntryKind::Mark => 1,
        });
        body.put_u32_le(self.append_count);
        body.put_u64_le(self.lsn.get());
        body.put_i64_le(self.time_ms);
        body.put_u64_le(self.previous_durable.get());
        body.put_u64_le(self.inline_bytes);
        body.put_u32_le(self.directory_crc);
        body.put_u32_le(self.change_crc);
        body.put_u32_le(self.change_bytes);
        let mut head_out = &mut *head;
        head_out.put_u32_le(MAGIC);
        let crc = crc_of(&[&place.seed(), bytes.get(8..).unwrap_or_default()]);
        if let Some(mut out) = bytes.get_mut(4..8) {
            out.put_u32_le(crc);
        }
        bytes
    }

    /// The LSN that bytes claim which look like a header, of whatever place and life, intact or not.
    pub fn claimed_lsn(mut bytes: &[u8]) -> Option<Lsn> {
        let magic = bytes.try_get_u32_le().ok()?;
        let mut lsn = bytes.get(12..)?;
        (magic == MAGIC).then(|| lsn.try_get_u64_le().ok().map(Lsn::new))?
    }

    /// Reads the header at `place`; `None` if the bytes are not a whole, intact header of that place.
    pub fn decode(bytes: &[u8], place: &EntryPlace) -> Option<Self> {
        let (mut head, mut body) = bytes.get(..ENTRY_HEADER_BYTES)?.split_at_checked(8)?;
        let magic = head.try_get_u32_le().ok()?;
        let crc = head.try_get_u32_le().ok()?;
        if magic != MAGIC || crc != crc_of(&[&place.seed(), body]) {
            return None;
        }
        let version = body.try_get_u16_le().ok()?;
        let kind = match body.try_get_u16_le().ok()? {
            0 => EntryKind::Decision,
            1 => EntryKind::Mark,
            _ => return None,
        };
        let append_count = body.try_get_u32_le().ok()?;
        if version != VERSION || append_count > APPEND_COUNT_MAX {
            return None;
        }
        Some(Self {
            kind,
            append_count,
            lsn: Lsn::new(body.try_get_u64_le().ok()?),
            time_ms: body.try_get_i64_le().ok()?,
            previous_durable: Lsn::new(body.try_get_u64_le().ok()?),
            inline_bytes: body.try_get_u64_le().ok()?,
            directory_crc: body.try_get_u32_le().ok()?,
            change_crc: body.try_get_u32_le().ok()?,
            change_bytes: body.try_get_u32_le().ok()?,
        })
    }
}

/// Where an append's frame is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameForm {
    /// In the entry, after the directory.
    Inline,
    /// Only in the segment, where it was durable before the entry was written.
    Reference,
}

/// Who sent a batch, and which of its batches to that partition this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Which life of the producer; 0 for unnamed ones.
    pub epoch: u32,
    /// The batch's number, dense per producer and partition, from 0.
    pub sequence: u64,
}

/// One append of an entry: everything that replay needs to know of it beside the payload.
///
/// ```text
///  0 topic id u64      8 partition u32   12 flags u8 (1 reference, 2 producer)   13 codec u8
/// 14 gap bytes u16
/// 16 base offset u64  24 records u32     28 payload bytes u32
/// 32 segment u64      40 position u64    48 payload crc u32   52 producer epoch u32
/// 56 producer id, 16 bytes               72 sequence u64
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryLine {
    /// Where the frame lies in its segment.
    pub place: FramePlace,
    /// Whether the entry holds the frame as well.
    pub form: FrameForm,
    /// Bytes left free before the frame so that it starts on a block boundary; less than a block. They
    /// are filled with zeros when the frame is settled, lest a scan finds what a lost round had written.
    pub gap_bytes: u16,
    /// The frame's header. Its LSN and append time are the entry's.
    pub frame: FrameHeader,
    /// Who sent it, if that is known.
    pub producer: Option<ProducerStamp>,
}

impl DirectoryLine {
    /// Bytes that the frame takes in the entry.
    pub fn inline_bytes(&self) -> u64 {
        match self.form {
            FrameForm::Inline => self.frame.padded_bytes(),
            FrameForm::Reference => 0,
        }
    }

    /// Appends the line to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        let reference = if self.form == FrameForm::Reference {
            FLAG_REFERENCE
        } else {
            0
        };
        let producer = if self.producer.is_some() {
            FLAG_PRODUCER
        } else {
            0
        };
        out.put_u64_le(self.place.segment.partition.topic.get());
        out.put_u32_le(self.place.segment.partition.partition);
        out.put_u8(reference | producer);
        out.put_u8(self.frame.codec);
        out.put_u16_le(self.gap_bytes);
        out.put_u64_le(self.frame.base_offset.get());
        out.put_u32_le(self.frame.record_count);
        out.put_u32_le(self.frame.payload_bytes);
        out.put_u64_le(self.place.segment.base.get());
        out.put_u64_le(self.place.position);
        out.put_u32_le(self.frame.payload_crc);
        out.put_u32_le(self.producer.map_or(0, |stamp| stamp.epoch));
        out.put_slice(&self.producer.map_or([0; 16], |stamp| *stamp.id.as_bytes()));
        out.put_u64_le(self.producer.map_or(0, |stamp| stamp.sequence));
    }

    /// Reads the next line of the directory of the entry with `header`; `None` if the bytes are not
    /// one.
    pub fn decode(mut input: &[u8], header: &EntryHeader) -> Option<Self> {
        let topic = TopicId::new(input.try_get_u64_le().ok()?);
        let partition = PartitionRef {
            topic,
            partition: input.try_get_u32_le().ok()?,
        };
        let flags = input.try_get_u8().ok()?;
        let codec = input.try_get_u8().ok()?;
        let gap_bytes = input.try_get_u16_le().ok()?;
        if flags & !(FLAG_REFERENCE | FLAG_PRODUCER) != 0 {
            return None;
        }
        let base_offset = Offset::new(input.try_get_u64_le().ok()?);
        let record_count = input.try_get_u32_le().ok()?;
        let payload_bytes = input.try_get_u32_le().ok()?;
        let base = Offset::new(input.try_get_u64_le().ok()?);
        let position = input.try_get_u64_le().ok()?;
        let payload_crc = input.try_get_u32_le().ok()?;
        let epoch = input.try_get_u32_le().ok()?;
        let id = ProducerId::new(input.get(..16)?.try_into().ok()?);
        input.advance(16);
        let sequence = input.try_get_u64_le().ok()?;
        let frame = FrameHeader {
            payload_bytes,
            payload_crc,
            codec,
            record_count,
            base_offset,
            lsn: header.lsn,
            append_time_ms: header.time_ms,
            sparse: None,
        };
        Some(Self {
            place: FramePlace {
                segment: SegmentRef::new(partition, base),
                position,
            },
            form: if flags & FLAG_REFERENCE == 0 {
                FrameForm::Inline
            } else {
                FrameForm::Reference
            },
            gap_bytes,
            frame,
            producer: (flags & FLAG_PRODUCER != 0).then_some(ProducerStamp {
                id,
                epoch,
                sequence,
            }),
        })
    }
}

/// Reads the directory of the entry with `header` after its CRC was found right; `None` if the
/// lines do not add up to what the header says.
pub fn decode_directory(bytes: &[u8], header: &EntryHeader) -> Option<Vec<DirectoryLine>> {
    if bytes.len() as u64 != header.directory_bytes() {
        return None;
    }
    let lines: Vec<_> = bytes
        .chunks_exact(LINE_BYTES)
        .map(|line| DirectoryLine::decode(line, header))
        .collect::<Option<_>>()?;
    let inline = lines
        .iter()
        .try_fold(0_u64, |sum, line| sum.checked_add(line.inline_bytes()));
    (inline == Some(header.inline_bytes)).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: EntryPlace = EntryPlace {
        salt: 5,
        file_number: 1,
        position: 4096,
    };

    fn header() -> EntryHeader {
        EntryHeader {
            kind: EntryKind::Decision,
            append_count: 1,
            lsn: Lsn::new(8),
            time_ms: 1_700_000_000_000,
            previous_durable: Lsn::new(7),
            inline_bytes: 72,
            directory_crc: 1,
            change_crc: 2,
            change_bytes: 3,
        }
    }

    #[test]
    fn an_intact_header_says_more_by_its_version_kind_and_count() {
        let with = |place: usize, bytes: &[u8]| {
            let mut other = header().encode(&PLACE);
            other[place..place + bytes.len()].copy_from_slice(bytes);
            let crc = crc_of(&[&PLACE.seed(), &other[8..]]);
            other[4..8].copy_from_slice(&crc.to_le_bytes());
            EntryHeader::decode(&other, &PLACE)
        };
        let most = APPEND_COUNT_MAX.to_le_bytes();
        assert_eq!(with(10, &[1]).unwrap().kind, EntryKind::Mark);
        assert_eq!(with(12, &most).unwrap().append_count, APPEND_COUNT_MAX);
        assert_eq!(with(8, &[2]), None, "another version");
        assert_eq!(with(10, &[2]), None, "another kind");
        let more = (APPEND_COUNT_MAX + 1).to_le_bytes();
        assert_eq!(with(12, &more), None, "more appends than an entry may have");
    }

    fn line(form: FrameForm) -> DirectoryLine {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 2,
        };
        DirectoryLine {
            place: FramePlace {
                segment: SegmentRef::new(partition, Offset::new(100)),
                position: 4096,
            },
            form,
            gap_bytes: 0,
            frame: FrameHeader {
                payload_bytes: 5,
                payload_crc: 77,
                codec: 0,
                record_count: 2,
                base_offset: Offset::new(101),
                lsn: header().lsn,
                append_time_ms: header().time_ms,
                sparse: None,
            },
            producer: Some(ProducerStamp {
                id: ProducerId::new([3; 16]),
                epoch: 0,
                sequence: 9,
            }),
        }
    }

    #[test]
    fn an_entry_header_is_valid_only_at_its_own_place_and_life() {
        let bytes = header().encode(&PLACE);
        assert_eq!(EntryHeader::decode(&bytes, &PLACE), Some(header()));
        assert_eq!(EntryHeader::claimed_lsn(&bytes), Some(header().lsn));
        assert_eq!(EntryHeader::claimed_lsn(&bytes[..20]), None, "cut");
        assert_eq!(EntryHeader::claimed_lsn(&[0; 80]), None, "no header");
        assert_eq!(header().entry_bytes(), 240, "80 + 80 + 72 + 3, padded");
        for other in [
            EntryPlace { salt: 6, ..PLACE },
            EntryPlace {
                file_number: 2,
                ..PLACE
            },
            EntryPlace {
                position: 8192,
                ..PLACE
            },
        ] {
            assert_eq!(EntryHeader::decode(&bytes, &other), None, "{other:?}");
        }
    }

    #[test]
    fn no_flipped_bit_of_an_entry_header_passes() {
        let bytes = header().encode(&PLACE);
        for bit in 0..ENTRY_HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(EntryHeader::decode(&damaged, &PLACE), None, "bit={bit}");
        }
        assert_eq!(
            EntryHeader::decode(&[0; 80], &PLACE),
            None,
            "zero is never valid"
        );
    }

    #[test]
    fn a_directory_survives_the_round_trip_and_must_add_up() {
        let mut bytes = Vec::new();
        line(FrameForm::Inline).encode(&mut bytes);
        assert_eq!(bytes.len(), LINE_BYTES, "a line has a fixed length");
        assert_eq!(
            decode_directory(&bytes, &header()),
            Some(vec![line(FrameForm::Inline)])
        );
        let mut reference = Vec::new();
        line(FrameForm::Reference).encode(&mut reference);
        assert_eq!(
            decode_directory(&reference, &header()),
            None,
            "72 inline bytes are missing"
        );
        let without = EntryHeader {
            inline_bytes: 0,
            ..header()
        };
        assert_eq!(
            decode_directory(&reference, &without),
            Some(vec![line(FrameForm::Reference)])
        );
    }
}
