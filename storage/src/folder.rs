//! Names of files and folders below the root of a data folder.

use std::path::{Path, PathBuf};

use crate::ids::{Lsn, Offset, PartitionRef, SegmentRef, TopicId};

pub(crate) const FORMAT: &str = "FORMAT";
pub(crate) const LOCK: &str = "LOCK";
pub(crate) const INITIALIZING: &str = "INITIALIZING";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const INDEX: &str = "index";
pub(crate) const QUARANTINE: &str = "quarantine";
pub(crate) const TOPICS: &str = "topics";
pub(crate) const LOST_AND_FOUND: &str = "lost+found";
pub(crate) const SCRUB: &str = "SCRUB";
pub(crate) const SCRUB_TEMPORARY: &str = "SCRUB.tmp";
/// Suffix of files that are being written.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Whether a file of that name was being written, so that it may be removed at open.
pub(crate) fn is_temporary(name: &str) -> bool {
    let finished = name.strip_suffix(TEMPORARY_SUFFIX);
    finished.is_some_and(|name| {
        name == FORMAT
            || name == SCRUB
            || parse_checkpoint_file(name).is_some()
            || parse_run_file(name).is_some()
    })
}

/// `journal/<number, 20 digits>.journal`
pub(crate) fn journal_file(number: u64) -> PathBuf {
    Path::new(JOURNAL).join(format!("{number:020}.journal"))
}

/// The number in the name of a journal file.
pub(crate) fn parse_journal_file(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(".journal")?)
}

/// `index/<number, 20 digits>.run`
pub(crate) fn run_file(number: u64) -> PathBuf {
    Path::new(INDEX).join(format!("{number:020}.run"))
}

/// The number in the name of a run.
pub(crate) fn parse_run_file(name: &str) -> Option<u64> {
    parse_number(name.strip_suffix(".run")?)
}

/// `checkpoint/<lsn, 20 digits>-<incarnation>-<copy>.checkpoint`
pub(crate) fn checkpoint_file(name: CheckpointName) -> PathBuf {
    let CheckpointName {
        lsn,
        incarnation,
        copy,
    } = name;
    Path::new(CHECKPOINT).join(format!(
        "{lsn:020}-{incarnation:010}-{copy}.checkpoint",
        lsn = lsn.get()
    ))
}

/// What the name of a checkpoint file says. Ordered by age: recovery of an idle broker writes a new
/// checkpoint at the same LSN with a higher incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckpointName {
    pub(crate) lsn: Lsn,
    pub(crate) incarnation: u64,
    /// 1 or 2: the same checkpoint is written twice.
    pub(crate) copy: u8,
}

pub(crate) fn parse_checkpoint_file(name: &str) -> Option<CheckpointName> {
    let mut parts = name.strip_suffix(".checkpoint")?.split('-');
    let lsn = Lsn::new(parse_number(parts.next()?)?);
    let incarnation = parts.next()?.parse().ok()?;
    let copy = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(CheckpointName {
        lsn,
        incarnation,
        copy,
    })
}

/// `<id>-<name>`, the folder of a topic below `topics/`.
pub(crate) fn topic_folder_name(topic: TopicId, name: &str) -> String {
    format!("{topic}-{name}")
}

/// The topic id in the name of a topic's folder.
pub(crate) fn parse_topic_folder(folder_name: &str) -> Option<TopicId> {
    let (id, name) = folder_name.split_once('-')?;
    if name.is_empty() || id.starts_with(['0', '+']) {
        return None;
    }
    id.parse().ok().map(TopicId::new)
}

/// `topics/<folder name>/<partition>`
pub(crate) fn partition_folder(topic_folder: &str, partition: PartitionRef) -> PathBuf {
    Path::new(TOPICS)
        .join(topic_folder)
        .join(partition.partition.to_string())
}

/// `topics/<folder name>/<partition>/<base offset, 20 digits>.log`; one that was rewritten has its
/// generation behind the base offset: `<base offset>-<generation, 10 digits>.log`.
pub(crate) fn segment_log(topic_folder: &str, segment: SegmentRef) -> PathBuf {
    let base = segment.base.get();
    let name = match segment.generation {
        0 => format!("{base:020}.log"),
        generation => format!("{base:020}-{generation:010}.log"),
    };
    partition_folder(topic_folder, segment.partition).join(name)
}

/// As [`segment_log`], with the extension `index`.
pub(crate) fn segment_index(topic_folder: &str, segment: SegmentRef) -> PathBuf {
    segment_log(topic_folder, segment).with_extension("index")
}

/// The segment of a partition that the name of one of its two files names.
pub(crate) fn parse_segment_file(partition: PartitionRef, name: &str) -> Option<SegmentRef> {
    let stem = name
        .strip_suffix(".log")
        .or_else(|| name.strip_suffix(".index"))?;
    let (base, generation) = match stem.split_once('-') {
        None => (stem, 0),
        Some((base, digits)) => (base, parse_generation(digits)?),
    };
    Some(SegmentRef {
        partition,
        base: Offset::new(parse_number(base)?),
        generation,
    })
}

/// The number of a rewritten generation, which is never 0.
fn parse_generation(digits: &str) -> Option<u32> {
    let is_written_so = digits.len() == 10 && !digits.starts_with('+');
    let number = is_written_so.then(|| digits.parse().ok())?;
    number.filter(|generation| *generation > 0)
}

fn parse_number(digits: &str) -> Option<u64> {
    (digits.len() == 20).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let name = CheckpointName {
            lsn: Lsn::new(42),
            incarnation: 3,
            copy: 2,
        };
        let path = checkpoint_file(name);
        let file_name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        assert_eq!(parse_checkpoint_file(file_name), Some(name));
        assert_eq!(parse_journal_file("00000000000000000007.journal"), Some(7));
        assert_eq!(
            parse_journal_file("7.journal"),
            None,
            "not the form that is written"
        );
        assert_eq!(run_file(7).to_str(), Some("index/00000000000000000007.run"));
        assert_eq!(parse_run_file("00000000000000000007.run"), Some(7));
        assert_eq!(parse_topic_folder("12-orders.eu-1"), Some(TopicId::new(12)));
        assert_eq!(parse_topic_folder("orders"), None);
        assert_eq!(parse_topic_folder("012-orders"), None);
    }

    #[test]
    fn each_generation_of_a_segment_has_a_name_of_its_own() {
        let partition = PartitionRef {
            topic: TopicId::new(1),
            partition: 3,
        };
        let appended = SegmentRef::new(partition, Offset::new(42));
        let rewritten = SegmentRef {
            generation: 7,
            ..appended
        };
        for segment in [appended, rewritten] {
            for path in [segment_log("1-a", segment), segment_index("1-a", segment)] {
                let name = path.file_name().and_then(|name| name.to_str());
                let parsed = name.and_then(|name| parse_segment_file(partition, name));
                assert_eq!(parsed, Some(segment), "{path:?}");
            }
        }
        for name in [
            "00000000000000000042-7.log",
            "00000000000000000042-0000000000.log",
            "00000000000000000042-+000000007.log",
            "00000000000000000042-.log",
            "notes.log",
        ] {
            assert_eq!(parse_segment_file(partition, name), None, "{name}");
        }
    }

    #[test]
    fn only_what_storage_was_writing_is_temporary() {
        let path = checkpoint_file(CheckpointName {
            lsn: Lsn::new(42),
            incarnation: 3,
            copy: 2,
        });
        let checkpoint = path.with_extension("checkpoint.tmp");
        let name = checkpoint.file_name().and_then(|name| name.to_str());
        assert!(name.is_some_and(is_temporary), "{name:?}");
        assert!(is_temporary("FORMAT.tmp"), "the format file");
        assert!(is_temporary(SCRUB_TEMPORARY), "how far it was read");
        assert!(is_temporary("00000000000000000007.run.tmp"), "a run");
        for name in ["FORMAT", "SCRUB", "notes.tmp", ".tmp", "1-1-1.checkpoint"] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
