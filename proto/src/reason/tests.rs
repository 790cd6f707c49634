//! The list in Rust, the one in `error.proto` and the one in `docs/errors.md` are the same.

use prost::Message;

use super::*;
use crate::FILE_DESCRIPTOR_SET;
use crate::status::code_of;

const DOCS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md"));

/// Names of the enum in the committed descriptor set, without prefix and the unspecified value.
fn names_in_proto() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut enums = set.file.iter().flat_map(|file| &file.enum_type);
    let reasons = enums
        .find(|candidate| candidate.name() == "ErrorReason")
        .unwrap();
    let names = reasons.value.iter().map(|value| {
        value
            .name()
            .strip_prefix("ERROR_REASON_")
            .expect("values carry the prefix")
            .to_owned()
    });
    names.filter(|name| name != "UNSPECIFIED").collect()
}

#[test]
fn the_rust_enum_and_the_proto_enum_have_the_same_names() {
    let rust: Vec<_> = ErrorReason::ALL
        .iter()
        .map(|reason| reason.as_str().to_owned())
        .collect();
    assert_eq!(rust, names_in_proto(), "same names in the same order");
}

#[test]
fn every_reason_goes_to_the_wire_and_back() {
    for &reason in ErrorReason::ALL {
        let number = reason.number();
        let wire = v1::ErrorReason::try_from(number).unwrap();
        assert_eq!(
            wire.as_str_name(),
            format!("ERROR_REASON_{reason}"),
            "name on the wire"
        );
        assert_eq!(ErrorReason::from_number(number), Some(reason), "back");
        assert_eq!(reason.as_str().parse(), Ok(reason), "from its text");
    }
    assert_eq!(ErrorReason::from_number(0), None, "unspecified");
    assert_eq!(ErrorReason::from_number(9_999), None, "of a later version");
    assert_eq!(
        "NO_SUCH_REASON".parse::<ErrorReason>(),
        Err(UnknownReason),
        "text"
    );
}

#[test]
fn reasons_fit_the_rules_of_error_info() {
    for reason in ErrorReason::ALL {
        let text = reason.as_str();
        assert!(text.len() <= 63, "{text} is too long");
        let is_upper_snake = text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        assert!(is_upper_snake, "{text} is not in upper snake case");
    }
}

#[test]
fn a_failure_without_a_promise_is_never_repeated_as_it_is() {
    for reason in ErrorReason::ALL {
        assert!(
            reason.has_no_side_effects() || reason.retry_advice() == RetryAdvice::Never,
            "{reason} may have happened and would be repeated"
        );
    }
}

/// Each reason has a section in docs/errors.md that tells what the code says.
#[test]
fn docs_have_a_section_for_every_reason_and_no_other() {
    let sections: Vec<(&str, &str)> = DOCS
        .split("\n### ")
        .skip(1)
        .map(|section| section.split_once('\n').expect("a section has a body"))
        .collect();
    let titles: Vec<_> = sections.iter().map(|(title, _)| *title).collect();
    let names: Vec<_> = ErrorReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(titles, names, "sections of docs/errors.md");
    for (&reason, (title, body)) in ErrorReason::ALL.iter().zip(sections) {
        let code = code_name(code_of(reason));
        let advice = match reason.retry_advice() {
            RetryAdvice::Same => "retry: the same request, later",
            RetryAdvice::AfterRefresh => "retry: after a refresh",
            RetryAdvice::Never => "retry: no",
        };
        let effects = if reason.has_no_side_effects() {
            "nothing happened"
        } else {
            "it may have happened"
        };
        assert!(
            body.contains(&format!("`{code}` · {advice} · {effects}")),
            "{title} should say: `{code}` · {advice} · {effects}"
        );
    }
}

/// Returns the name of a code as gRPC writes it.
fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}
