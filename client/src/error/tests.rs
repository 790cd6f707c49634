//! What errors say of themselves.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, ConnectError, Status};
use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::*;
use crate::Record;

/// Kind, advice, and whether something may have happened.
fn judgement(error: &Error) -> (ErrorKind, RetryAdvice, bool) {
    (
        error.kind(),
        error.retry_advice(),
        error.may_have_happened(),
    )
}

#[test]
fn every_reason_keeps_what_it_promises() {
    for &reason in ErrorReason::ALL {
        let problem = Problem::new(reason, "what happened").with("limit", 3);
        let by_status = Error::from_status(problem.clone().into());
        let by_stream = Error::from_stream(&problem.into());
        for error in [by_status, by_stream] {
            assert_eq!(error.reason(), Some(reason), "reason");
            assert_eq!(
                error.retry_advice(),
                reason.retry_advice(),
                "advice of {reason}"
            );
            let has_no_side_effects = reason.has_no_side_effects();
            assert_eq!(error.has_no_side_effects(), has_no_side_effects, "{reason}");
            assert_eq!(error.metadata("limit"), Some("3"), "metadata of {reason}");
            assert_eq!(error.message(), "what happened", "message of {reason}");
        }
    }
}

#[test]
fn a_reason_of_a_newer_broker_is_judged_by_its_code() {
    use ErrorKind::{Corrupt, Internal, Overloaded, Rejected, Timeout, Unavailable};
    use RetryAdvice::{AfterRefresh, Never, Same};
    let expected = [
        (Code::InvalidArgument, (Rejected, Never, false)),
        (Code::NotFound, (Rejected, Never, false)),
        (Code::Aborted, (Rejected, AfterRefresh, true)),
        (Code::ResourceExhausted, (Overloaded, Same, false)),
        (Code::Unavailable, (Unavailable, Same, true)),
        (Code::DeadlineExceeded, (Timeout, Same, true)),
        (Code::DataLoss, (Corrupt, Never, true)),
        (Code::Internal, (Internal, Never, true)),
    ];
    for (code, judged) in expected {
        let error = Error::from_status(Status::new(code, "text"));
        assert_eq!(judgement(&error), judged, "{code:?}");
        let error = Error::from_stream(&v1::Error {
            reason: 9_999,
            code: code.into(),
            message: "text".to_owned(),
            hint: "do this".to_owned(),
            retry_after_ms: Some(20),
            ..v1::Error::default()
        });
        assert_eq!(judgement(&error), judged, "{code:?}");
        assert_eq!(error.to_string(), "text; do this", "text");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(20)), "wait");
    }
}

#[test]
fn only_a_connection_that_was_never_made_is_without_doubt() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
    let error = Error::from_status(status);
    let expected = (ErrorKind::Connect, RetryAdvice::Same, false);
    assert_eq!(judgement(&error), expected, "never made");

    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let error = Error::from_status(Status::from_error(Box::new(broken)));
    let expected = (ErrorKind::Unavailable, RetryAdvice::Same, true);
    assert_eq!(judgement(&error), expected, "broken");
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "connection reset", "cause");
}

#[test]
fn the_text_names_what_it_is_about_unless_the_message_does() {
    let problem = Problem::new(ErrorReason::TopicNotFound, "topic orders not found")
        .with_hint("did you mean \"order\"?");
    let error = Error::from_problem(&problem)
        .with("topic", "orders")
        .with("partition", 3);
    let text = "topic orders not found partition=3 (TOPIC_NOT_FOUND); did you mean \"order\"?";
    assert_eq!(error.to_string(), text, "text");
}

#[test]
fn what_it_is_about_is_said_once() {
    let error = Error::protocol("odd")
        .with("topic", "first")
        .with("topic", "second");
    assert_eq!(error.to_string(), "odd topic=first", "text");
}

#[test]
fn a_copy_is_changed_alone() {
    let error = Error::timeout(Effects::None, "no answer");
    let doubtful = error.clone().in_doubt();
    assert!(error.has_no_side_effects(), "the original");
    assert!(doubtful.may_have_happened(), "the copy");
}

#[test]
fn a_failed_send_gives_record_and_error_back() {
    let record = Record::new("v").key("k");
    let failed = SendError::new(record.clone(), Error::closed(Effects::None, "closed"));
    assert_eq!(failed.to_string(), "closed", "text");
    assert_eq!(failed.record(), &record, "record");
    assert_eq!(
        Error::from(failed.clone()).kind(),
        ErrorKind::Closed,
        "error"
    );
    assert_eq!(failed.into_record(), record, "record");
}

#[test]
fn nothing_shows_payloads() {
    let record = Record::new("secret").key("secret").header("name", "secret");
    let failed = SendError::new(record, Error::protocol("odd"));
    let text = format!("{failed:?}");
    assert!(
        !text.contains("secret") && text.contains("value_bytes: Some(6)"),
        "{text}"
    );
}
