//! The state of the miniature broker: partitions, and rows that mean nothing. Rows are text, so that a
//! dump of them can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use towpath_storage::{
    ActiveSegment, DirectoryLine, INDEX_TABLES, Offset, PartitionBounds, PartitionLog,
    PartitionRef, RewrittenSegment, Row, RowKey, SegmentRef, StateMachine, TopicId,
};

const TABLE_PARTITION: u16 = 1;
const TABLE_NOTE: u16 = 2;

/// A row that means nothing.
pub(crate) fn note_row(key: &str, value: Option<&str>) -> Row {
    let key = RowKey {
        table: TABLE_NOTE,
        key: key.to_owned().into(),
    };
    let value = value.map(|value| value.to_owned().into());
    Row { key, value }
}

/// An index row that means nothing.
pub(crate) fn index_row(key: &str, value: Option<Bytes>) -> Row {
    let key = RowKey {
        table: INDEX_TABLES,
        key: key.to_owned().into(),
    };
    Row { key, value }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Partition {
    end: Offset,
    /// Base offset and generation of each.
    segments: Vec<(Offset, u32)>,
    active: Option<ActiveSegment>,
    last_append_time_ms: Option<i64>,
}

/// What rows and appends add up to.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    partitions: BTreeMap<PartitionRef, Partition>,
    notes: BTreeMap<RowKey, Bytes>,
    changed: BTreeSet<RowKey>,
    /// Index rows that changed since the last checkpoint.
    pub(crate) overlay: BTreeMap<RowKey, Option<Bytes>>,
    /// Rows of the checkpoint, counted before replay.
    pub(crate) loaded_row_count: usize,
}

impl StateMachine for Ledger {
    fn apply_row(&mut self, row: Row) {
        if row.key.table >= INDEX_TABLES {
            self.overlay.insert(row.key, row.value);
            return;
        }
        self.changed.insert(row.key.clone());
        if row.key.table == TABLE_PARTITION {
            let partition = parse_key(&row.key);
            match &row.value {
                Some(value) => drop(self.partitions.insert(partition, Partition::parse(value))),
                None => drop(self.partitions.remove(&partition)),
            }
        } else {
            match row.value {
                Some(value) => drop(self.notes.insert(row.key, value)),
                None => drop(self.notes.remove(&row.key)),
            }
        }
    }

    fn apply_append(&mut self, line: &DirectoryLine) {
        let partition = line.place.segment.partition;
        self.changed.insert(key_of(partition));
        let state = self.partitions.get_mut(&partition).unwrap();
        assert_eq!(state.end, line.frame.base_offset, "offsets are dense");
        state.end = line.frame.next_offset();
        state.last_append_time_ms = Some(line.frame.append_time_ms);
        state.active.as_mut().unwrap().append(line);
    }

    fn take_changed(&mut self) -> Vec<Row> {
        let changed = std::mem::take(&mut self.changed);
        let index_rows = std::mem::take(&mut self.overlay).into_iter();
        let index_rows = index_rows.map(|(key, value)| Row { key, value });
        let rows = changed.into_iter().map(|key| self.row(key));
        rows.chain(index_rows).collect()
    }

    fn checkpoint_loaded(&mut self) {
        assert!(self.overlay.is_empty(), "index rows are in runs");
        self.loaded_row_count = self.changed.len();
        self.changed.clear();
    }
}

impl Ledger {
    pub(crate) fn create(&mut self, partition: PartitionRef) {
        self.partitions.insert(partition, Partition::default());
    }

    /// The row of a partition that goes on in a new segment.
    pub(crate) fn roll(&self, partition: PartitionRef) -> Row {
        let mut rolled = self.partitions[&partition].clone();
        rolled.segments.push((rolled.end, 0));
        rolled.active = Some(ActiveSegment::new(rolled.end));
        Row {
            key: key_of(partition),
            value: Some(rolled.to_text().into()),
        }
    }

    /// The row of a partition of which a rewritten segment takes the place of others.
    pub(crate) fn swap(&self, rewritten: &RewrittenSegment) -> Row {
        let of = rewritten.segment.partition;
        let mut swapped = self.partitions[&of].clone();
        let sources = &rewritten.plan.sources;
        let is_kept = |(base, _): &(Offset, u32)| sources.iter().all(|it| it.base != *base);
        swapped.segments.retain(is_kept);
        let SegmentRef {
            base, generation, ..
        } = rewritten.segment;
        swapped.segments.push((base, generation));
        swapped.segments.sort_unstable();
        Row {
            key: key_of(of),
            value: Some(swapped.to_text().into()),
        }
    }

    /// The segments of a partition.
    pub(crate) fn segments(&self, of: PartitionRef) -> Vec<SegmentRef> {
        self.partitions[&of].refs(of)
    }

    /// The rows that drop a topic.
    pub(crate) fn delete(&self, topic: TopicId) -> Vec<Row> {
        let partitions = self.partitions.keys().filter(|it| it.topic == topic);
        partitions
            .map(|partition| Row {
                key: key_of(*partition),
                value: None,
            })
            .collect()
    }

    pub(crate) fn end(&self, partition: PartitionRef) -> Offset {
        self.partitions[&partition].end
    }

    pub(crate) fn active(&mut self, partition: PartitionRef) -> &mut ActiveSegment {
        let partition = self.partitions.get_mut(&partition).unwrap();
        partition.active.as_mut().unwrap()
    }

    /// Value of a note.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let value = self.notes.get(&note_row(key, None).key)?;
        Some(str::from_utf8(value).unwrap())
    }

    /// The logs of all partitions, nothing in memory.
    pub(crate) fn logs(&self) -> BTreeMap<PartitionRef, Arc<PartitionLog>> {
        let log = |(key, partition): (&PartitionRef, &Partition)| {
            let bounds = PartitionBounds {
                end: partition.end,
                last_append_time_ms: partition.last_append_time_ms,
                segments: partition.refs(*key),
                ..PartitionBounds::default()
            };
            (*key, Arc::new(PartitionLog::new(*key, bounds)))
        };
        self.partitions.iter().map(log).collect()
    }

    fn row(&self, key: RowKey) -> Row {
        let value = match key.table {
            TABLE_PARTITION => self
                .partitions
                .get(&parse_key(&key))
                .map(|partition| partition.to_text().into()),
            _ => self.notes.get(&key).cloned(),
        };
        Row { key, value }
    }
}

impl Partition {
    fn refs(&self, of: PartitionRef) -> Vec<SegmentRef> {
        let segments = self.segments.iter();
        let refs = segments.map(|(base, generation)| SegmentRef {
            partition: of,
            base: *base,
            generation: *generation,
        });
        refs.collect()
    }

    fn to_text(&self) -> String {
        let name = |(base, generation): &(Offset, u32)| match generation {
            0 => base.to_string(),
            generation => format!("{base}-{generation}"),
        };
        let segments: Vec<_> = self.segments.iter().map(name).collect();
        let next = self.active.map_or(0, |active| active.next_position);
        let after = match self.active.is_some_and(|active| active.is_after_run) {
            true => "run",
            false => "frame",
        };
        let time_ms = self.last_append_time_ms.unwrap_or(i64::MIN);
        format!(
            "{} {after} {next} {time_ms} {}",
            self.end,
            segments.join(",")
        )
    }

    fn parse(text: &[u8]) -> Self {
        let text = str::from_utf8(text).unwrap();
        let [end, after, next, time_ms, segments] =
            text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let number = |text: &str| Offset::new(text.parse().unwrap());
        let segment = |text: &str| match text.split_once('-') {
            None => (number(text), 0),
            Some((base, generation)) => (number(base), generation.parse().unwrap()),
        };
        let segments: Vec<_> = segments.split(',').map(segment).collect();
        let active = segments.last().map(|(base, _)| ActiveSegment {
            next_position: next.parse().unwrap(),
            is_after_run: after == "run",
            ..ActiveSegment::new(*base)
        });
        let last_append_time_ms = Some(time_ms.parse().unwrap()).filter(|it| *it != i64::MIN);
        Self {
            end: number(end),
            segments,
            active,
            last_append_time_ms,
        }
    }
}

fn key_of(partition: PartitionRef) -> RowKey {
    RowKey {
        table: TABLE_PARTITION,
        key: partition.to_string().into(),
    }
}

fn parse_key(key: &RowKey) -> PartitionRef {
    let text = str::from_utf8(&key.key).unwrap();
    let (topic, partition) = text.split_once('/').unwrap();
    PartitionRef {
        topic: TopicId::new(topic.parse().unwrap()),
        partition: partition.parse().unwrap(),
    }
}
