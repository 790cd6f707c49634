//! Headers of records that were scheduled: the broker adds them behind the record's own when it delivers it.

/// When the record was due, in milliseconds since the Unix epoch, as decimal digits.
pub const AT_MS: &str = "towpath-scheduled-at-ms";
/// The id that its schedule was given; absent if it was given none.
pub const ID: &str = "towpath-schedule-id";
