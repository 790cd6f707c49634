//! The events that the demo sends: departures of flights, in the order of their time.

use bytes::Bytes;

use crate::failure::Failure;
use crate::input::JsonPath;

/// Public domain; see `assets/README.md`.
const SAMPLE: &[u8] = include_bytes!("../../../assets/flights-sample.ndjson");

/// Name of the field that is the key: the aircraft.
pub(super) const KEY_FIELD: &str = ".tail";

/// One event: its key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// The events of the sample.
///
/// # Errors
///
/// The sample is not what it should be.
pub(super) fn events() -> Result<Vec<Event>, Failure> {
    let path: JsonPath = KEY_FIELD.parse().map_err(Failure::usage)?;
    let lines = SAMPLE
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let key = path
                .find(line)
                .map_err(|fault| Failure::usage(fault.to_string()))?;
            Ok(Event {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: Bytes::from_static(line),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_sample_holds_different_events_of_many_aircraft() {
        let events = events().expect("events");
        assert_eq!(events.len(), 2_000, "events");
        let values: HashSet<_> = events.iter().map(|event| event.value.clone()).collect();
        assert_eq!(values.len(), events.len(), "all differ");
        let keys: HashSet<_> = events.iter().map(|event| event.key.clone()).collect();
        assert!(keys.len() > 500, "{} keys", keys.len());
    }
}
