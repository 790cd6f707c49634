//! Names of the headers of dead letters, and of records that were made of them.
//!
//! A dead letter has them behind the headers of its record, and so has a record that was redriven to its
//! subscription. What counts begins with the last [`KIND`].

pub use towpath_proto::dead_letter::{
    APPEND_TIME_MS, ATTEMPTS, DEAD, FAILURE, KIND, OFFSET, PARKED, PARTITION, REASON,
    REDRIVE_DEAD_OFFSET, REDRIVE_OFFSET, REDRIVE_PARTITION, REDRIVE_SUBSCRIPTION, REDRIVE_TOPIC,
    SUBSCRIPTION, TOPIC,
};
