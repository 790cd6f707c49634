//! The headers of dead letters: behind those of the record, one that says of which kind it is, and then
//! what became of the record.
//!
//! A record may have headers of these names from before: what counts begins with the last
//! [`KIND`].

use crate::v1::Header;

/// First of them: [`DEAD`] or [`PARKED`].
pub const KIND: &str = "towpath-dlq-kind";
/// Name of the subscription.
pub const SUBSCRIPTION: &str = "towpath-dlq-subscription";
/// Name of the topic that the record comes from.
pub const TOPIC: &str = "towpath-dlq-topic";
/// Number of its partition there.
pub const PARTITION: &str = "towpath-dlq-partition";
/// Its offset there.
pub const OFFSET: &str = "towpath-dlq-offset";
/// When it was appended there, by the broker's clock, milliseconds since the Unix epoch.
pub const APPEND_TIME_MS: &str = "towpath-dlq-append-time-ms";
/// Failed attempts that counted.
pub const ATTEMPTS: &str = "towpath-dlq-attempts";
/// Why it is dead; missing for one that is parked.
pub const REASON: &str = "towpath-dlq-reason";
/// One of the latest failed attempts: its time as [`APPEND_TIME_MS`], a space, and its reason.
pub const FAILURE: &str = "towpath-dlq-failure";

/// The record cannot be handled.
pub const DEAD: &str = "dead";
/// A record of its key before it cannot be handled.
pub const PARKED: &str = "parked";

/// Name of the subscription whose dead letter was appended to another topic.
pub const REDRIVE_SUBSCRIPTION: &str = "towpath-redrive-subscription";
/// Name of the topic that the record came from first.
pub const REDRIVE_TOPIC: &str = "towpath-redrive-topic";
/// Number of its partition there.
pub const REDRIVE_PARTITION: &str = "towpath-redrive-partition";
/// Its offset there.
pub const REDRIVE_OFFSET: &str = "towpath-redrive-offset";
/// Its offset among the dead letters.
pub const REDRIVE_DEAD_OFFSET: &str = "towpath-redrive-dead-offset";

/// The headers of a record and those that say what became of it; none of the latter if it is no dead
/// letter.
pub fn split(headers: &[Header]) -> (&[Header], &[Header]) {
    let start = headers.iter().rposition(|header| header.name == KIND);
    headers.split_at(start.unwrap_or(headers.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> Header {
        Header {
            name: name.to_owned(),
            value: bytes::Bytes::new(),
        }
    }

    #[test]
    fn what_counts_begins_with_the_last_kind() {
        let headers = [KIND, REASON, "own", KIND, TOPIC].map(header);
        let (own, added) = split(&headers);
        assert_eq!((own.len(), added.len()), (3, 2));
        assert_eq!(added[1].name, TOPIC);
    }

    #[test]
    fn a_record_that_is_no_dead_letter_keeps_its_headers() {
        let headers = ["own", REASON].map(header);
        let (own, added) = split(&headers);
        assert_eq!((own.len(), added.len()), (2, 0));
    }
}
