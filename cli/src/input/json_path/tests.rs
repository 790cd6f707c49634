use std::borrow::Cow;

use super::*;

fn find(path: &str, json: &str) -> Result<String, String> {
    let path: JsonPath = path.parse()?;
    let found = path.find(json.as_bytes());
    found
        .map(Cow::into_owned)
        .map_err(|fault| fault.to_string())
}

#[track_caller]
fn check(path: &str, json: &str, expected: &str) {
    assert_eq!(
        find(path, json).as_deref(),
        Ok(expected),
        "{path} in {json}"
    );
}

#[track_caller]
fn check_fault(path: &str, json: &str, expected: &str) {
    let fault = find(path, json).expect_err("a fault");
    assert!(fault.contains(expected), "{path} in {json}: {fault}");
}

#[test]
fn fields_are_found_at_any_depth() {
    check(
        ".tail",
        r#"{"id":"1","tail":"N14228","carrier":"UA"}"#,
        "N14228",
    );
    check(
        ".order.id",
        r#"{"order":{"lines":[1,{"id":"no"}],"id":"yes"}}"#,
        "yes",
    );
    check(
        ".a.b.c",
        r#" { "a" : { "b" : { "c" : "deep" } } } "#,
        "deep",
    );
}

#[test]
fn text_is_unescaped_and_numbers_stay_as_written() {
    check(".k", r#"{"k":"a\"bé"}"#, "a\"b\u{e9}");
    check(".k", r#"{"k":""}"#, "");
    check(".k", r#"{"k":42}"#, "42");
    check(".k", r#"{"k":-1.50e3}"#, "-1.50e3");
    check(
        ".k",
        r#"{"k":12345678901234567890123}"#,
        "12345678901234567890123",
    );
}

#[test]
fn names_of_fields_may_be_escaped() {
    check(".tail", r#"{"t\u0061il":"N1"}"#, "N1");
}

#[test]
fn the_last_of_two_fields_counts() {
    check(".k", r#"{"k":"first","k":"second"}"#, "second");
}

#[test]
fn a_text_that_is_not_json_is_refused_wherever_it_breaks() {
    check_fault(".k", "", "not JSON");
    check_fault(".k", "plain text", "not JSON");
    check_fault(".k", r#"{"k":"v""#, "not JSON");
    check_fault(".k", r#"{"k":"v"} trailing"#, "not JSON");
    check_fault(".k", r#"{"k":"v","l":[1,}"#, "not JSON");
    check_fault(".k", r#"{"k":"v","l":1,}"#, "not JSON");
}

#[test]
fn bytes_that_are_not_utf_8_are_not_json() {
    let path: JsonPath = ".k".parse().expect("a path");
    assert!(path.find(b"{\"k\":\"\xff\"}").is_err(), "in the field");
}

#[test]
fn a_missing_field_is_told_by_its_path() {
    check_fault(".k", "{}", "no field .k");
    check_fault(".a.b", r#"{"a":{"c":1}}"#, "no field .a.b");
    check_fault(".a.b", r#"{"a":"text"}"#, "no field .a.b");
    check_fault(".a.b", r#"{"a":[{"b":1}]}"#, "no field .a.b");
    for json in ["1", "1.5", "-1", "true", "null", r#""text""#, "[1,[2]]"] {
        check_fault(".k", json, "no field .k");
    }
}

#[test]
fn only_text_and_numbers_are_keys() {
    check_fault(".k", r#"{"k":null}"#, "is null");
    check_fault(".k", r#"{"k":true}"#, "is a truth value");
    check_fault(".k", r#"{"k":{"a":1}}"#, "is an object");
    check_fault(".k", r#"{"k":[1]}"#, "is a list");
}

#[test]
fn a_path_begins_with_a_dot_and_has_no_empty_name() {
    for text in ["", ".", "tail", "..a", ".a.", ".a..b"] {
        assert!(text.parse::<JsonPath>().is_err(), "{text:?} was accepted");
    }
    let path: JsonPath = ".a.b".parse().expect("a path");
    assert_eq!(path.to_string(), ".a.b", "printed");
}
