//! The form of a plan in JSON. A field of another name is refused, since it may be a misspelt one.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonPlan<'a> {
    #[serde(borrow)]
    pub(super) operations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JsonOperation<'a> {
    #[serde(borrow)]
    Append(JsonAppend<'a>),
    Settle(JsonSettle),
    Offsets(JsonOffsets),
    #[serde(borrow)]
    Schedule(JsonSchedule<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonAppend<'a> {
    pub(super) topic: String,
    #[serde(default)]
    pub(super) partition: Option<u32>,
    #[serde(default)]
    pub(super) expected_offset: Option<u64>,
    #[serde(default)]
    pub(super) expected_version: Option<u64>,
    #[serde(borrow)]
    pub(super) records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonSchedule<'a> {
    pub(super) topic: String,
    #[serde(default)]
    pub(super) partition: Option<u32>,
    #[serde(default)]
    pub(super) at: Option<String>,
    #[serde(default)]
    pub(super) delay_ms: Option<u64>,
    #[serde(default)]
    pub(super) schedule_id: String,
    #[serde(borrow)]
    pub(super) record: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonSettle {
    pub(super) subscription: String,
    pub(super) delivery: u64,
    pub(super) partition: u32,
    #[serde(default)]
    pub(super) is_dead_letter: bool,
    pub(super) ranges: Vec<JsonRange>,
    pub(super) outcome: JsonOutcome,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) delay_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JsonOutcome {
    Ack,
    Nack,
    Release,
    DeadLetter,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonOffsets {
    pub(super) group: String,
    pub(super) member_id: String,
    pub(super) offsets: Vec<JsonOffset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonOffset {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) generation: u64,
    pub(super) offset: u64,
}
