//! The file `SCRUB` at the root of a data folder: how far it was read to find damage, as text for people.
//!
//! Nothing rests on it: without it everything is read once more.

use crate::ids::{BrokerId, Offset, PartitionRef, TopicId};

/// How far a data folder was read to find damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubProgress {
    /// When the pass began, milliseconds since the Unix epoch by the wall clock.
    pub begun_ms: i64,
    /// When everything had been read once, milliseconds since the Unix epoch by the wall clock; 0 if it was
    /// not yet.
    pub whole_ms: i64,
    /// Where the pass goes on.
    pub next: ScrubPlace,
}

/// A place in the order in which a pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScrubPlace {
    /// A record of a partition; partitions come by topic and number.
    Record(PartitionRef, Offset),
    /// The beginning of a run, by its number; runs come behind all partitions.
    Run(u64),
    /// Everything was read.
    End,
}

impl ScrubProgress {
    /// The file's text, for a folder.
    pub fn encode(&self, broker_id: BrokerId) -> String {
        let Self {
            begun_ms,
            whole_ms,
            next,
        } = self;
        let next = match next {
            ScrubPlace::Record(at, offset) => {
                format!(
                    "record {} {} {}",
                    at.topic.get(),
                    at.partition,
                    offset.get()
                )
            }
            ScrubPlace::Run(number) => format!("run {number}"),
            ScrubPlace::End => "end".to_owned(),
        };
        let body = format!(
            "towpath scrub\nbroker {broker_id}\nbegun {begun_ms}\nwhole {whole_ms}\nnext {next}\n"
        );
        format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    /// Reads the file of a folder; none if that is not what it is.
    pub fn decode(bytes: &[u8], broker_id: BrokerId) -> Option<Self> {
        let mut lines = str::from_utf8(bytes).ok()?.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        value("towpath")?;
        value("broker")?;
        let progress = Self {
            begun_ms: value("begun")?.parse().ok()?,
            whole_ms: value("whole")?.parse().ok()?,
            next: parse_place(value("next")?)?,
        };
        // All else, the checksum and the folder's identity too, is as it is written.
        (progress.encode(broker_id).as_bytes() == bytes).then_some(progress)
    }
}

fn parse_place(text: &str) -> Option<ScrubPlace> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    Some(match kind {
        "record" => {
            let topic = TopicId::new(number()?);
            let partition = u32::try_from(number()?).ok()?;
            let at = PartitionRef { topic, partition };
            ScrubPlace::Record(at, Offset::new(number()?))
        }
        "run" => ScrubPlace::Run(number()?),
        "end" => ScrubPlace::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: BrokerId = BrokerId::new(*b"0123456789abcdef");

    #[test]
    fn progress_survives_the_round_trip_and_no_changed_byte() {
        let at = PartitionRef {
            topic: TopicId::new(7),
            partition: 3,
        };
        let places = [
            ScrubPlace::Record(at, Offset::new(1 << 40)),
            ScrubPlace::Run(12),
            ScrubPlace::End,
        ];
        assert!(places.is_sorted(), "in the order of a pass");
        for next in places {
            let progress = ScrubProgress {
                begun_ms: 1_700_000_000_000,
                whole_ms: 0,
                next,
            };
            let text = progress.encode(FOLDER).into_bytes();
            assert_eq!(ScrubProgress::decode(&text, FOLDER), Some(progress));
            for place in 0..text.len() {
                for bit in 0..8 {
                    let mut damaged = text.clone();
                    damaged[place] ^= 1 << bit;
                    let found = ScrubProgress::decode(&damaged, FOLDER);
                    assert_eq!(found, None, "place={place} bit={bit}");
                }
                let found = ScrubProgress::decode(&text[..place], FOLDER);
                assert_eq!(found, None, "cut to {place}");
            }
            let other = BrokerId::new([7; 16]);
            assert_eq!(ScrubProgress::decode(&text, other), None, "another folder");
        }
    }
}
