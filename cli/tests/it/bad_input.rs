//! Input that is wrong, as far as no other file has it: each is told with what is wrong and where,
//! ends with the exit code of its kind, and leaves nothing behind that was not said.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::harness::{TestBroker, fails, towpath};

#[test]
fn a_partition_out_of_range_is_not_found() {
    let broker = TestBroker::with_topic("t", 2);
    for args in [
        &["produce", "t", "v", "-p", "2"][..],
        &["consume", "t", "-e", "-p", "2"],
        &["consume", "t/2@0", "-n", "1"],
    ] {
        let error = broker.fails(4, args);
        assert!(error.contains("partition 2"), "{args:?}: {error}");
        assert!(error.contains("(PARTITION_NOT_FOUND)"), "{args:?}: {error}");
    }
    for number in ["-1", "x", "4294967296"] {
        let partition = format!("-p{number}");
        for args in [["produce", "t", "v"], ["consume", "t", "-e"]] {
            let error = fails(2, towpath(&args).arg(&partition));
            assert!(error.contains("invalid value"), "{args:?}: {error}");
        }
    }
}

#[test]
fn a_name_that_no_topic_can_have_is_refused_by_every_command() {
    let huge = "n".repeat(100_000);
    for name in ["", ".hidden", "..", "a b", "\u{20ac}", "a\nb", &huge] {
        for args in [
            &["topic", "create", name][..],
            &["topic", "get", name],
            &["topic", "delete", name],
            &["produce", name, "v"],
            &["consume", name, "-e"],
        ] {
            let error = fails(2, &mut towpath(args));
            assert!(error.contains("topic name"), "{args:?}: {error}");
        }
    }
}

#[test]
fn keys_and_headers_keep_to_their_limits() {
    let broker = TestBroker::with_topic("t", 1);
    let key = "k".repeat(64 * 1024 + 1);
    let name = format!("{}=v", "n".repeat(256));
    let value = format!("n={}", "v".repeat(64 * 1024 + 1));
    let many = ["-H", "n=v"].repeat(65);
    for (args, what) in [
        (&["-k", &key][..], "key is too large"),
        (&["-H", &name], "header name is too long"),
        (&["-H", &value], "header value is too large"),
        (&many, "more headers than allowed"),
    ] {
        let args = [&["produce", "t", "v"], args].concat();
        let error = broker.fails(2, &args);
        assert!(error.contains(what), "{error}");
        assert!(error.contains("(INVALID_ARGUMENT)"), "{error}");
    }
    assert!(broker.records("t").is_empty(), "nothing was written");
}

#[test]
fn a_header_is_a_name_in_utf_8_and_a_value() {
    for (header, what) in [
        (&b"=v"[..], "the form name=value"),
        (b"name", "the form name=value"),
        (b"", "the form name=value"),
        (b"\xff=v", "invalid UTF-8"),
    ] {
        let mut command = towpath(&["produce", "t", "v", "-H"]);
        let error = fails(2, command.arg(OsStr::from_bytes(header)));
        assert!(error.contains(what), "{header:?}: {error}");
    }
}

#[test]
fn a_line_that_is_no_record_stops_there_and_says_what_is_on_disk() {
    let broker = TestBroker::with_topic("t", 1);
    let check = |line: &[u8], what: &str| {
        let before = broker.records("t").len();
        let input = [b"{\"value\":\"a\"}\n", line, b"\n{\"value\":\"b\"}\n"].concat();
        let error = broker.fails_with(input, 1, &["produce", "t", "--input", "json"]);
        assert!(error.contains(&format!("error: line 2: {what}")), "{error}");
        assert!(error.contains("on disk: 1 record\n"), "{error}");
        assert!(error.contains("nothing after line 1 was sent"), "{error}");
        assert_eq!(broker.records("t").len(), before + 1, "the one before it");
    };
    check(b"plain", "not a JSON object");
    check(b"[1]", "not a JSON object");
    check(b"{\"value\":\"\xff\"}", "not a record");
    check(b"{\"value\":\"cut off", "not a record");
    check(b"{\"valu\":\"v\"}", "not a record");
    check(b"{\"value_b64\":\"?\"}", "value_b64 is not base64");
}

#[test]
fn a_mebibyte_of_value_has_room_and_more_is_told_with_both_sizes() {
    let broker = TestBroker::with_topic("t", 1);
    let produce = ["produce", "t", "--input", "whole", "-k", "key", "-H", "n=v"];
    let mebibyte = "v".repeat(1 << 20);
    broker.ok_with(mebibyte.as_str(), &produce);
    let more = mebibyte + &"v".repeat(64 << 10);
    let error = broker.fails_with(more, 2, &produce);
    assert!(error.contains("with key, headers and encoding"), "{error}");
    assert!(error.contains("size_bytes=1114129"), "{error}");
    assert!(error.contains("size_bytes_max=1114112"), "{error}");
}

#[test]
fn json_that_is_wrong_is_told_with_its_line_and_column() {
    let broker = TestBroker::with_topic("t", 1);
    let produce = ["produce", "t", "--key-from", ".a"];
    let error = broker.fails_with("{\"a\":1", 1, &produce);
    let first = "error: line 1: not JSON: it ends inside an object, at column 6\n";
    assert!(error.contains(first), "{error}");
    assert!(error.ends_with("  nothing was sent\n"), "{error}");
    let error = broker.fails_with("{\"a\":1}\n{\"a\":1}x\n", 1, &produce);
    let second = "error: line 2: not JSON: trailing characters, at column 8\n";
    assert!(error.contains(second), "{error}");
    assert!(
        error.ends_with("  nothing after line 1 was sent\n"),
        "{error}"
    );
}

#[test]
fn a_number_of_things_is_told_without_the_bounds_of_its_type() {
    for args in [
        &["topic", "create", "t", "--partitions"][..],
        &["consume", "t", "-n"],
        &["bench", "produce", "--records"],
        &["bench", "latency", "--rate"],
    ] {
        for (number, what) in [
            ("0", "at least 1 is needed"),
            ("99999999999999999999", "the number is too large"),
            ("many", "expected a whole number from 1 on"),
        ] {
            let error = fails(2, towpath(args).arg(number));
            assert!(error.contains(what), "{args:?} {number}: {error}");
        }
    }
}
