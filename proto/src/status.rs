//! Problems as gRPC statuses, both ways.
//!
//! A status carries `google.rpc.ErrorInfo` with reason and metadata, and beside it what generic
//! clients understand: `BadRequest`, `ResourceInfo`, `RetryInfo` and, with a hint, `Help`.
#![warn(clippy::wildcard_enum_match_arm)]

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::problem::{FIELD, Problem};
use crate::reason::ErrorReason;

/// The domain of every `google.rpc.ErrorInfo` that a Towpath broker sends.
pub const DOMAIN: &str = "towpath";

/// The compiled `.proto` files of what a status carries beside its message, an encoded
/// `google.protobuf.FileDescriptorSet`: with it, tools show the details of a refusal.
pub const DETAILS_DESCRIPTOR_SET: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

/// Where the reasons are explained, in the documentation of the same version.
const REASONS_PAGE: &str = "docs/errors.md";

impl Problem {
    /// Reads the status of a call; none if it carries no reason that this version knows.
    ///
    /// The caller then goes by the code of the status alone.
    pub fn from_status(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = info.reason.parse().ok()?;
        let mut problem = Self::new(reason, status.message());
        for (name, value) in &info.metadata {
            problem = problem.with(name, value);
        }
        if let Some(link) = details.help().and_then(|help| help.links.first()) {
            problem = problem.with_hint(link.description.as_str());
        }
        if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
            problem = problem.with_retry_after(wait);
        }
        Some(problem)
    }
}

/// Makes the status that a call ends with.
impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let reason = problem.reason();
        let mut details = ErrorDetails::new();
        details.set_error_info(
            reason.as_str(),
            DOMAIN,
            problem
                .metadata()
                .clone()
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        );
        if let Some(field) = problem.metadata().get(FIELD)
            && code_of(reason) == Code::InvalidArgument
        {
            details.add_bad_request_violation(field.as_str(), problem.message());
        }
        if let Some(kind) = resource_kind(reason) {
            let name = problem.metadata().get(kind).map_or("", String::as_str);
            details.set_resource_info(kind, name, "", problem.message());
        }
        if let Some(wait) = problem.retry_after() {
            details.set_retry_info(Some(wait));
        }
        if let Some(hint) = problem.hint() {
            let anchor = reason.as_str().to_ascii_lowercase();
            details.add_help_link(hint, format!("{REASONS_PAGE}#{anchor}"));
        }
        Self::with_error_details(code_of(reason), problem.message(), details)
    }
}

/// Returns the gRPC status code that a call refused for this reason ends with.
pub const fn code_of(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::InvalidArgument
        | ErrorReason::RecordTooLarge
        | ErrorReason::BatchTooLarge
        | ErrorReason::StartUnset
        | ErrorReason::InvalidFilter => Code::InvalidArgument,
        ErrorReason::TopicNotFound
        | ErrorReason::PartitionNotFound
        | ErrorReason::GroupNotFound
        | ErrorReason::SubscriptionNotFound
        | ErrorReason::DeadLetterNotFound
        | ErrorReason::ProducerNotFound
        | ErrorReason::ScheduleNotFound => Code::NotFound,
        ErrorReason::TopicExists
        | ErrorReason::SubscriptionExists
        | ErrorReason::ScheduleExists => Code::AlreadyExists,
        ErrorReason::OffsetOutOfRange => Code::OutOfRange,
        ErrorReason::LogCorrupt => Code::DataLoss,
        ErrorReason::SequenceGap
        | ErrorReason::ProducerFenced
        | ErrorReason::ProducerUnknown
        | ErrorReason::StaleEntityVersion
        | ErrorReason::LeaseExpired
        | ErrorReason::SubscriptionBusy
        | ErrorReason::TopicInUse
        | ErrorReason::GroupNotEmpty => Code::FailedPrecondition,
        ErrorReason::EtagMismatch
        | ErrorReason::ExpectedOffsetMismatch
        | ErrorReason::ExpectedVersionMismatch
        | ErrorReason::GenerationStale
        | ErrorReason::MemberUnknown => Code::Aborted,
        ErrorReason::Overloaded | ErrorReason::LimitReached | ErrorReason::StorageFull => {
            Code::ResourceExhausted
        }
        ErrorReason::ShuttingDown => Code::Unavailable,
        ErrorReason::StorageFailed | ErrorReason::Internal => Code::Internal,
    }
}

/// Returns the kind of resource that was not found or exists, which is also the name of the
/// metadata that holds its name.
const fn resource_kind(reason: ErrorReason) -> Option<&'static str> {
    match reason {
        ErrorReason::TopicNotFound | ErrorReason::TopicExists => Some("topic"),
        ErrorReason::PartitionNotFound => Some("partition"),
        ErrorReason::GroupNotFound => Some("group"),
        ErrorReason::SubscriptionNotFound | ErrorReason::SubscriptionExists => Some("subscription"),
        ErrorReason::DeadLetterNotFound => Some("offset"),
        ErrorReason::ProducerNotFound => Some("producer"),
        ErrorReason::ScheduleNotFound | ErrorReason::ScheduleExists => Some("schedule_id"),
        ErrorReason::InvalidArgument
        | ErrorReason::RecordTooLarge
        | ErrorReason::BatchTooLarge
        | ErrorReason::StartUnset
        | ErrorReason::InvalidFilter
        | ErrorReason::EtagMismatch
        | ErrorReason::TopicInUse
        | ErrorReason::GroupNotEmpty
        | ErrorReason::OffsetOutOfRange
        | ErrorReason::LogCorrupt
        | ErrorReason::SequenceGap
        | ErrorReason::ProducerFenced
        | ErrorReason::ProducerUnknown
        | ErrorReason::ExpectedOffsetMismatch
        | ErrorReason::ExpectedVersionMismatch
        | ErrorReason::StaleEntityVersion
        | ErrorReason::GenerationStale
        | ErrorReason::MemberUnknown
        | ErrorReason::LeaseExpired
        | ErrorReason::SubscriptionBusy
        | ErrorReason::Overloaded
        | ErrorReason::LimitReached
        | ErrorReason::StorageFull
        | ErrorReason::ShuttingDown
        | ErrorReason::StorageFailed
        | ErrorReason::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn full(reason: ErrorReason) -> Problem {
        Problem::new(reason, "what happened")
            .with("topic", "orders")
            .with(FIELD, "name")
            .with_hint("did you mean \"order\"?")
            .with_retry_after(Duration::from_millis(1500))
    }

    #[test]
    fn every_problem_goes_through_a_status_unchanged() {
        for &reason in ErrorReason::ALL {
            for problem in [full(reason), Problem::new(reason, "")] {
                let status = Status::from(problem.clone());
                assert_eq!(status.code(), code_of(reason), "code of {reason}");
                assert_eq!(Problem::from_status(&status), Some(problem), "{reason}");
            }
        }
    }

    #[test]
    fn a_status_carries_what_generic_clients_understand() {
        let details = Status::from(full(ErrorReason::TopicNotFound)).get_error_details();
        let resource = details.resource_info().unwrap();
        assert_eq!(
            (&*resource.resource_type, &*resource.resource_name),
            ("topic", "orders"),
            "resource"
        );
        assert_eq!(
            details.help().unwrap().links[0].url,
            "docs/errors.md#topic_not_found",
            "page"
        );
        assert!(details.bad_request().is_none(), "not a bad request");
        let wait = details.retry_info().unwrap().retry_delay;
        assert_eq!(wait, Some(Duration::from_millis(1500)), "wait");

        let details = Status::from(full(ErrorReason::InvalidArgument)).get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(
            (&*violation.field, &*violation.description),
            ("name", "what happened"),
            "field"
        );
        assert!(details.resource_info().is_none(), "no resource");
    }

    #[test]
    fn statuses_of_others_are_not_ours() {
        assert_eq!(
            Problem::from_status(&Status::unavailable("no route")),
            None,
            "no details"
        );
        let other = |reason: &str, domain: &str| {
            let details =
                ErrorDetails::with_error_info(reason, domain, std::collections::HashMap::new());
            Status::with_error_details(Code::NotFound, "", details)
        };
        assert_eq!(
            Problem::from_status(&other("INTERNAL", "example.com")),
            None,
            "other domain"
        );
        assert_eq!(
            Problem::from_status(&other("FROM_THE_FUTURE", DOMAIN)),
            None,
            "unknown reason"
        );
        let garbage = Status::with_details(Code::Internal, "", b"\xff\xff".to_vec().into());
        assert_eq!(Problem::from_status(&garbage), None, "garbage");
    }

    #[test]
    fn the_largest_problem_fits_into_the_trailers_of_a_call() {
        let text = "\u{20ac}".repeat(10_000);
        let mut problem =
            Problem::new(ErrorReason::TopicNotFound, text.as_str()).with_hint(text.as_str());
        for name in ["topic", FIELD, "limit"] {
            problem = problem.with(name, &text);
        }
        let mut headers = tonic::codegen::http::HeaderMap::new();
        Status::from(problem).add_header(&mut headers).unwrap();
        let size: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(size < 16 * 1024, "{size} bytes");
    }
}
