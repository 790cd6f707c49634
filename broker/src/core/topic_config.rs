//! The settings of a topic. One that is absent follows the broker's default, which deletes nothing.

/// Segments of a topic that keeps so many bytes are at most this part of its share for a partition.
const SEGMENTS_PER_SHARE: u64 = 4;
/// They are no shorter than this for it, unless the broker's own limit is lower.
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// Segments of a compacted topic are no longer, bytes.
const COMPACTED_SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A segment is appended to for at most this part of the retention age.
const SEGMENTS_PER_AGE: u64 = 8;
/// It is appended to for at least so long, milliseconds.
const SEGMENT_AGE_MS_MIN: u64 = 5_000;

/// Settings of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// Records are kept for at least so long after they were appended, milliseconds; then they may go.
    pub retention_age_ms: Option<u64>,
    /// The newest records are kept up to at least so many bytes of the whole topic; older ones may go.
    pub retention_bytes: Option<u64>,
    /// For how long an event is remembered by its source and id, milliseconds; none to compare nothing.
    pub dedupe_window_ms: Option<u64>,
    /// Whether keys have versions, and a history of their own. Fixed when the topic is created.
    pub has_key_versions: bool,
    /// What becomes of a record that brings an older version of its entity; none to compare nothing. Fixed
    /// when the topic is created.
    pub stale_records: Option<StaleRecords>,
    /// Whether of each key only the last record is kept. Fixed when the topic is created.
    pub compact: bool,
    /// For how long compaction leaves a tombstone, milliseconds; none for a day.
    pub tombstone_grace_ms: Option<u64>,
}

/// What becomes of a record that brings an older version of an entity than its topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleRecords {
    /// It is not written.
    Refuse,
    /// It is written with a header that says so.
    Mark,
}

/// What becomes of each setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicConfigChange {
    /// Of [`TopicConfig::retention_age_ms`].
    pub retention_age_ms: SettingChange,
    /// Of [`TopicConfig::retention_bytes`].
    pub retention_bytes: SettingChange,
    /// Of [`TopicConfig::dedupe_window_ms`].
    pub dedupe_window_ms: SettingChange,
    /// Of [`TopicConfig::tombstone_grace_ms`].
    pub tombstone_grace_ms: SettingChange,
}

/// What becomes of one setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SettingChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets this value; none for the broker's default.
    Become(Option<u64>),
}

impl SettingChange {
    fn applied_to(self, value: Option<u64>) -> Option<u64> {
        match self {
            Self::Keep => value,
            Self::Become(value) => value,
        }
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// The age is 0 or would not fit the clock.
    #[error(
        "retention_age_ms is 1 to {}, not {value}",
        TopicConfig::RETENTION_AGE_MS_MAX
    )]
    RetentionAge {
        /// What was asked for.
        value: u64,
    },
    /// The bytes are 0.
    #[error("retention_bytes is at least 1; a topic without it keeps everything")]
    RetentionBytes,
    /// The window is too short or too long.
    #[error(
        "dedupe_window_ms is {} to {}, not {value}",
        TopicConfig::DEDUPE_WINDOW_MS_MIN,
        TopicConfig::DEDUPE_WINDOW_MS_MAX
    )]
    DedupeWindow {
        /// What was asked for.
        value: u64,
    },
    /// The grace would not fit the clock.
    #[error(
        "tombstone_grace_ms is 0 to {}, not {value}",
        TopicConfig::RETENTION_AGE_MS_MAX
    )]
    TombstoneGrace {
        /// What was asked for.
        value: u64,
    },
    /// There is a grace, and nothing that it is about.
    #[error("tombstone_grace_ms is a setting of compacted topics")]
    TombstoneGraceAlone,
}

impl TopicConfig {
    /// Longest age: about 10,000 years.
    pub const RETENTION_AGE_MS_MAX: u64 = 315_360_000_000_000;
    /// Shortest window in which an event is known again.
    pub const DEDUPE_WINDOW_MS_MIN: u64 = 1_000;
    /// Longest such window: seven days.
    pub const DEDUPE_WINDOW_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
    /// For how long compaction leaves a tombstone unless asked otherwise: a day.
    pub const TOMBSTONE_GRACE_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

    /// Checks every setting.
    ///
    /// # Errors
    /// [`TopicConfigError`], the first found.
    pub fn check(&self) -> Result<(), TopicConfigError> {
        match *self {
            Self {
                retention_age_ms: Some(value),
                ..
            } if !(1..=Self::RETENTION_AGE_MS_MAX).contains(&value) => {
                Err(TopicConfigError::RetentionAge { value })
            }
            Self {
                retention_bytes: Some(0),
                ..
            } => Err(TopicConfigError::RetentionBytes),
            Self {
                dedupe_window_ms: Some(value),
                ..
            } if !(Self::DEDUPE_WINDOW_MS_MIN..=Self::DEDUPE_WINDOW_MS_MAX).contains(&value) => {
                Err(TopicConfigError::DedupeWindow { value })
            }
            Self {
                tombstone_grace_ms: Some(value),
                ..
            } if value > Self::RETENTION_AGE_MS_MAX => {
                Err(TopicConfigError::TombstoneGrace { value })
            }
            Self {
                compact: false,
                tombstone_grace_ms: Some(_),
                ..
            } => Err(TopicConfigError::TombstoneGraceAlone),
            _ => Ok(()),
        }
    }

    /// Whether it is remembered where the last record of each key is.
    pub fn has_key_heads(&self) -> bool {
        self.has_key_versions || self.stale_records.is_some() || self.compact
    }

    /// Whether records are looked at one by one before they are written.
    pub fn looks_at_records(&self) -> bool {
        self.has_key_heads() || self.dedupe_window_ms.is_some()
    }

    /// Length at which a segment of a partition is left, so that retention by bytes can let go of
    /// small enough pieces.
    pub(super) fn segment_bytes_max(&self, partition_count: usize, limit: u64) -> u64 {
        // What is appended to is never compacted, so it should not become long.
        let limit = match self.compact {
            true => limit.min(COMPACTED_SEGMENT_BYTES_MAX),
            false => limit,
        };
        let Some(bytes) = self.retention_bytes else {
            return limit;
        };
        let share = bytes / (SEGMENTS_PER_SHARE * partition_count.max(1) as u64);
        share.max(SEGMENT_BYTES_MIN).min(limit)
    }

    /// Age of its first batch at which a segment is left, milliseconds, so that a trickle of records
    /// does not hold old ones.
    pub(super) fn segment_age_ms_max(&self) -> Option<i64> {
        let age_ms = self.retention_age_ms? / SEGMENTS_PER_AGE;
        i64::try_from(age_ms.max(SEGMENT_AGE_MS_MIN)).ok()
    }

    /// Tombstones that were appended before this time may go, at broker time `now_ms`.
    pub(super) fn tombstones_before_ms(&self, now_ms: i64) -> i64 {
        let grace_ms = self.tombstone_grace_ms;
        let grace_ms = grace_ms.unwrap_or(Self::TOMBSTONE_GRACE_MS_DEFAULT);
        now_ms.saturating_sub(i64::try_from(grace_ms).unwrap_or(i64::MAX))
    }
}

impl TopicConfigChange {
    /// The settings after the change.
    pub(super) fn applied_to(&self, config: TopicConfig) -> TopicConfig {
        TopicConfig {
            retention_age_ms: self.retention_age_ms.applied_to(config.retention_age_ms),
            retention_bytes: self.retention_bytes.applied_to(config.retention_bytes),
            dedupe_window_ms: self.dedupe_window_ms.applied_to(config.dedupe_window_ms),
            tombstone_grace_ms: self
                .tombstone_grace_ms
                .applied_to(config.tombstone_grace_ms),
            ..config
        }
    }
}
