//! Keys that name commits, so that each happens once however often it is sent.
//!
//! What was told of a commit is an index row under the hash of its key. It is remembered for a day, and for
//! as long as it is among the last million: then nobody finds it any more, and merges of runs leave it out.

use bytes::{BufMut, Bytes};
use prost::Message;
use towpath_storage::{INDEX_TABLES, Lsn, Offset, Row, RowKey};

use super::{CommitRefusalCause, CommitRefused};
use crate::core::State;
use crate::core::records::{UnwrittenRecord, UnwrittenRecordRow};
use crate::core::row::{RowId, decode};

/// The table of these rows.
pub(in crate::core) const TABLE_COMMIT_KEY: u16 = INDEX_TABLES;
/// For how long a commit is remembered, milliseconds.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;
/// How many commits are remembered.
const REMEMBERED_COUNT: u64 = 1_000_000;

/// What names a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitKey {
    /// Hash of the key: 128 bits, so that no two keys have the same.
    pub hash: [u8; 16],
    /// Hash of the operations.
    pub fingerprint: [u8; 16],
    /// What is on disk under it.
    pub on_disk: Option<Bytes>,
    /// What belongs to the answer beside offsets; the broker does not look inside.
    pub told: Bytes,
}

/// A commit that happened before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedCommit {
    /// Its entry.
    pub lsn: Lsn,
    /// Broker time of that entry, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Offset of the first record of each batch.
    pub base_offsets: Vec<Offset>,
    /// Records of each batch that were not written, since their events were there; as long as `base_offsets`.
    pub unwritten: Vec<Vec<UnwrittenRecord>>,
    /// As [`CommitKey::told`] was then.
    pub told: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct CommitKeyRow {
    /// How many commits with a key there were before.
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(int64, tag = "2")]
    time_ms: i64,
    #[prost(uint64, tag = "3")]
    lsn: u64,
    #[prost(bytes = "bytes", tag = "4")]
    fingerprint: Bytes,
    #[prost(uint64, repeated, tag = "5")]
    base_offsets: Vec<u64>,
    #[prost(bytes = "bytes", tag = "6")]
    told: Bytes,
    /// Of all batches.
    #[prost(message, repeated, tag = "7")]
    unwritten: Vec<UnwrittenRow>,
}

/// A record that was not written.
#[derive(Clone, Copy, PartialEq, Message)]
struct UnwrittenRow {
    /// Number of its batch.
    #[prost(uint32, tag = "1")]
    batch: u32,
    #[prost(message, required, tag = "2")]
    record: UnwrittenRecordRow,
}

impl CommitKeyRow {
    fn is_remembered(&self, next_number: u64, now_ms: i64) -> bool {
        self.number + REMEMBERED_COUNT >= next_number
            && self.time_ms.saturating_add(REMEMBERED_MS) > now_ms
    }
}

impl CommitKey {
    /// The row of a key by its hash.
    pub fn row_key(hash: &[u8; 16]) -> RowKey {
        let mut key = Vec::with_capacity(hash.len());
        key.put_slice(hash);
        RowKey {
            table: TABLE_COMMIT_KEY,
            key: key.into(),
        }
    }

    /// Whether a row of that table may still be asked for when so many commits had a key.
    pub(in crate::core) fn is_needed(value: &[u8], next_number: u64, now_ms: i64) -> bool {
        // One that cannot be read is kept: who asks for it is told.
        let row = CommitKeyRow::decode(value);
        row.map_or(true, |row| row.is_remembered(next_number, now_ms))
    }
}

impl State {
    /// The commit that a key named before, if that is remembered.
    ///
    /// # Errors
    /// The key named another one.
    pub fn repeated_commit(
        &self,
        key: &CommitKey,
        now_ms: i64,
    ) -> Result<Option<RepeatedCommit>, CommitRefused> {
        let row = match self.index.get(&CommitKey::row_key(&key.hash)) {
            Some(changed) => changed,
            None => key.on_disk.as_ref(),
        };
        let row = row.map(decode::<CommitKeyRow>);
        let row = row.filter(|row| row.is_remembered(self.next_commit, now_ms));
        let Some(row) = row else {
            return Ok(None);
        };
        let mut unwritten = vec![Vec::new(); row.base_offsets.len()];
        for it in &row.unwritten {
            if let Some(of_batch) = unwritten.get_mut(it.batch as usize) {
                of_batch.push(UnwrittenRecord::from(&it.record));
            }
        }
        if row.fingerprint[..] != key.fingerprint {
            return Err(CommitRefused {
                operation: 0,
                cause: CommitRefusalCause::KeyReused,
            });
        }
        Ok(Some(RepeatedCommit {
            lsn: Lsn::new(row.lsn),
            time_ms: row.time_ms,
            base_offsets: row.base_offsets.into_iter().map(Offset::new).collect(),
            unwritten,
            told: row.told,
        }))
    }

    /// The rows that remember a commit which is carried out as the entry `lsn`.
    pub fn remember_commit(
        &self,
        key: &CommitKey,
        base_offsets: &[Offset],
        unwritten: &[Vec<UnwrittenRecord>],
        lsn: Lsn,
        now_ms: i64,
    ) -> [Row; 2] {
        let of_batches = (0..).zip(unwritten).flat_map(|(batch, records)| {
            let records = records.iter().map(UnwrittenRecordRow::from);
            records.map(move |record| UnwrittenRow { batch, record })
        });
        let row = CommitKeyRow {
            number: self.next_commit,
            time_ms: now_ms,
            lsn: lsn.get(),
            fingerprint: Bytes::copy_from_slice(&key.fingerprint),
            base_offsets: base_offsets.iter().map(|offset| offset.get()).collect(),
            told: key.told.clone(),
            unwritten: of_batches.collect(),
        };
        let remembered = Row {
            key: CommitKey::row_key(&key.hash),
            value: Some(row.encode_to_vec().into()),
        };
        let mut broker = self.broker_row();
        broker.next_commit = self.next_commit + 1;
        [remembered, RowId::Broker.put(&broker)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::CoreLimits;
    use towpath_storage::StateMachine;

    fn key(number: u64) -> CommitKey {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        CommitKey {
            hash,
            fingerprint: [7; 16],
            on_disk: None,
            told: Bytes::from_static(b"told"),
        }
    }

    fn remember(state: &mut State, number: u64, now_ms: i64) {
        let rows = state.remember_commit(
            &key(number),
            &[Offset::new(number)],
            &[],
            Lsn::new(3),
            now_ms,
        );
        rows.into_iter().for_each(|row| state.apply_row(row));
    }

    #[test]
    fn a_commit_is_remembered_for_a_day() {
        let mut state = State::new(CoreLimits::default());
        remember(&mut state, 1, 1_000);
        let repeated = |now_ms| state.repeated_commit(&key(1), now_ms).unwrap();
        let known = repeated(1_000 + REMEMBERED_MS - 1).expect("within a day");
        assert_eq!(known.base_offsets, [Offset::new(1)]);
        assert_eq!((known.lsn, known.time_ms), (Lsn::new(3), 1_000));
        assert_eq!(known.told, Bytes::from_static(b"told"));
        assert_eq!(repeated(1_000 + REMEMBERED_MS), None);
        assert_eq!(state.repeated_commit(&key(2), 1_000), Ok(None), "another");
        let other = CommitKey {
            fingerprint: [8; 16],
            ..key(1)
        };
        let refused = state.repeated_commit(&other, 1_000).unwrap_err();
        assert_eq!(refused.cause, CommitRefusalCause::KeyReused);
    }

    #[test]
    fn a_commit_is_remembered_among_the_last_million() {
        let mut state = State::new(CoreLimits::default());
        remember(&mut state, 1, 1_000);
        let row = state
            .index
            .get(&CommitKey::row_key(&key(1).hash))
            .flatten()
            .cloned();
        let row = row.expect("its row");
        for (behind, expected) in [(REMEMBERED_COUNT, true), (REMEMBERED_COUNT + 1, false)] {
            state.next_commit = behind;
            let repeated = state.repeated_commit(&key(1), 1_000).unwrap();
            assert_eq!(repeated.is_some(), expected, "{behind} behind it");
            assert_eq!(
                CommitKey::is_needed(&row, behind, 1_000),
                expected,
                "and its row"
            );
        }
        assert!(
            !CommitKey::is_needed(&row, 1, 1_000 + REMEMBERED_MS),
            "a day"
        );
        assert!(
            CommitKey::is_needed(b"\xff", 1, 1_000),
            "what cannot be read"
        );
    }

    #[test]
    fn what_changed_of_late_stands_before_what_is_on_disk() {
        let mut state = State::new(CoreLimits::default());
        remember(&mut state, 1, 1_000);
        let row = state
            .index
            .get(&CommitKey::row_key(&key(1).hash))
            .flatten()
            .cloned();
        let mut fresh = State::new(CoreLimits::default());
        fresh.next_commit = 1;
        let on_disk = CommitKey {
            on_disk: row,
            ..key(1)
        };
        assert!(
            fresh.repeated_commit(&on_disk, 1_000).unwrap().is_some(),
            "on disk"
        );
        assert_eq!(fresh.repeated_commit(&key(1), 1_000), Ok(None), "nowhere");
        fresh.apply_row(Row {
            key: CommitKey::row_key(&key(1).hash),
            value: None,
        });
        assert_eq!(
            fresh.repeated_commit(&on_disk, 1_000),
            Ok(None),
            "gone since"
        );
    }
}
