//! What `produce` takes in: a value, a file or standard input, made into records.
//!
//! Reading happens on a thread of its own and keeps a bounded number of bytes; nothing here knows
//! what becomes of the records.

mod json_error;
mod json_path;
mod json_record;
mod lines;
mod shape;
mod source;

pub(crate) use json_error::JsonError;
pub(crate) use json_path::JsonPath;
pub(crate) use json_record::{JsonFault, parse as parse_record};
pub(crate) use lines::Line;
pub(crate) use shape::{InputForm, KeyRule, RecordShape};
pub(crate) use source::Input;
