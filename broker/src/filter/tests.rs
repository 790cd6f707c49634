//! Expressions and records, as tables; then whatever anybody may write or send.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use towpath_proto::batch::Records;
use towpath_proto::v1;

use super::*;

fn header(name: &str, value: &[u8]) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value),
    }
}

fn order() -> v1::Record {
    let body =
        br#"{"id":"o-7","total":150,"rate":1.5,"big":18446744073709551615,"paid":true,"note":null,
        "customer":{"name":"Ann","city":"Ulm"},"lines":[{"sku":"x1","n":1},{"sku":"x9","n":9}]}"#;
    v1::Record {
        key: Some(Bytes::from_static(b"o-7")),
        value: Some(Bytes::from_static(body)),
        headers: vec![
            header("ce-type", b"order.placed"),
            header("region", b"us"),
            header("region", b"eu"),
            header("blob", &[0xff, 0]),
        ],
        event_time_ms: Some(1_767_225_600_000),
    }
}

fn judge_with(expression: &Filter, record: &v1::Record, steps: &mut Steps) -> Judgement {
    let batch = v1::RecordBatch {
        records: vec![record.clone()],
    };
    let payload = batch.encode_to_vec();
    let record = Records::new(&payload).next().unwrap().unwrap();
    let input = FilterInput {
        record,
        append_time_ms: 1_000,
    };
    expression.judge(&input, steps)
}

fn judge(expression: &str, record: &v1::Record) -> Judgement {
    let filter =
        Filter::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    judge_with(&filter, record, &mut Steps::default())
}

fn check(expression: &str, expected: Judgement) {
    assert_eq!(judge(expression, &order()), expected, "{expression}");
}

fn failed(expression: &str) {
    let judged = judge(expression, &order());
    let is_failed = matches!(judged, Judgement::Doubt(Doubt::Failed(_)));
    assert!(is_failed, "{expression}: {judged:?}");
}

#[test]
fn what_is_true_of_a_record_matches() {
    for expression in [
        "key == 'o-7'",
        "key.startsWith('o-') && key.endsWith(\"7\") && key.contains('-')",
        "type == 'order.placed'",
        "type in ['order.placed', 'order.paid']",
        "headers.region == 'eu'",
        "headers['region'] == 'eu' && 'region' in headers && size(headers) == 3",
        "headers.blob == b'\\xff\\000'",
        "has(headers.region) && !has(headers.other) && !('other' in headers)",
        "headers.exists(name, name == 'region')",
        "time == timestamp('2026-01-01T00:00:00Z')",
        "time < timestamp('2026-01-01T01:00:00+00:00') - duration('59m59.9s')",
        "time - timestamp('2025-12-31T00:00:00Z') == duration('24h')",
        "time + duration('-1.5h') < time && int(time) == 1767225600",
        "size > 100 && size < 1000",
        "json.total > 100 && json.total >= 150.0 && json.total <= 150u && 149.5 < json.total",
        "json.total + 1 == 151 && json.total * 2 - 3 == 297 && json.total / 4 == 37",
        "json.total % 4 == 2 && -json.total == -150 && json.rate * 2.0 == 3.0",
        "json.big == 18446744073709551615u && json.big > 9223372036854775807",
        "json.paid && !(!json.paid) && json.note == null",
        "json.customer.city == 'Ulm' && json['customer']['name'] == 'Ann'",
        "json.lines[1].sku == 'x9' && json.lines[0u].n == 1",
        "json.lines.exists(line, line.sku == 'x9' && line.n > 5)",
        "json.lines.all(line, line.n > 0) && json.lines.exists_one(line, line.n == 9)",
        "json.lines.map(line, line.n) == [1, 9] && json.lines.filter(it, it.n > 1).size() == 1",
        "json.lines.map(it, it.n > 1, it.sku)[0] == 'x9'",
        "json.lines.all(a, json.lines.exists(b, a.n == b.n))",
        "{'a': 1, 'b': [2]}.b[0] == 2 && {1: 'x'}[1] == 'x' && size({}) == 0",
        "json.customer == {'city': 'Ulm', 'name': 'Ann'}",
        "has(json.customer.city) && !has(json.customer.street)",
        "json.total > 1000 ? false : json.paid",
        "1 == 1.0 && 1 == 1u && 1u != 2.5 && 'a' != 1 && [1] == [1.0] && null != false",
        "9007199254740993 > 9007199254740992.0 && -1 < 0u && 1.5 > 1",
        "'\u{e4}bc'.size() == 3 && size(b'\u{e4}') == 2 && 'a' < 'b' && b'a' < b'b'",
        "int('12') == 12 && uint(3.9) == 3u && double('1.5') == 1.5 && string(12) == '12'",
        "string(b'x') == 'x' && bytes('x') == b'x' && bool('true') && string(1.5) == '1.5'",
        "'a' + 'b' == 'ab' && [1] + [2] == [1, 2] && b'a' + b'b' == b'ab'",
        "0x1F == 31 && 1e3 == 1000.0 && .5 == 0.5 && -9223372036854775808 < 0",
        "'''a\nb''' == 'a\\nb' && r'\\d' == '\\\\d' && \"\\u00e4\" == '\u{e4}' && '\\x41\\101' == 'AA'",
        "[1] != [1, 2] && [1, 2] != [1] && {'a': 1} != {'a': 1, 'b': 2}",
        "json.customer != {'city': 'Ulm'} && json.lines != [json.lines[0]]",
        "!json.lines.exists_one(line, line.n > 0) && !json.lines.exists_one(line, line.n > 9)",
        "[1].all(a, [2].all(a, a == 2) && a == 1)",
        "!bool('false') && !bool('0') && bool('1')",
        "7 - 2 - 1 == 4 && 12 / 3 / 2 == 2 && 2 + 3 * 4 == 14 && (2 + 3) * 4 == 20",
        "time - duration('1h') == timestamp('2025-12-31T23:00:00Z')",
        "duration('1h30m') == duration('5400s') && duration('1m') == duration('60000ms')",
        "duration('1ms') == duration('1000us') && duration('1us') == duration('1000ns')",
        "dyn(1) == 1 && false || true && !false // and a comment",
        "[1, 2,].size() == 2",
    ] {
        check(expression, Judgement::Match);
    }
}

#[test]
fn what_is_not_true_of_a_record_does_not_match() {
    for expression in [
        "false",
        "key == 'o-8'",
        "key == b'o-7'",
        "json.total > 150",
        "headers.region == 'us'",
        "json.lines.exists(line, line.n > 9)",
        "0.0 / 0.0 == 0.0 / 0.0",
        "0.0 / 0.0 < 1 || 1 <= 0.0 / 0.0",
    ] {
        check(expression, Judgement::NoMatch);
    }
}

#[test]
fn what_cannot_be_said_is_in_doubt() {
    for expression in [
        "headers.other == 'x'",
        "json.missing == 1",
        "json.total.more == 1",
        "json.total > 'x'",
        "json.lines[2].n == 1",
        "json.lines[-1].n == 1",
        "json.lines['0'] == 1",
        "json.total",
        "key + 1 == 2",
        "json.total + 1.0 == 151.0",
        "json.total / 0 == 1",
        "9223372036854775807 + json.total > 0",
        "-(-9223372036854775807 - 1) > 0",
        "-9223372036854775807 - 2 < 0",
        "9223372036854775807 * 2 > 0",
        "18446744073709551615u + 1u > 0u",
        "1u - 2u > 0u",
        "18446744073709551615u * 2u > 0u",
        "uint(-1) > 0u",
        "bool('maybe')",
        "int(json.big) > 0",
        "int(1e30) > 0",
        "int('x') > 0",
        "json.id && true",
        "!json.id",
        "json.id ? true : false",
        "json.exists(it, it)",
        "json.total.all(it, true)",
        "size(json.total) == 1",
        "timestamp(json.id) > time",
        "{'a': 1, 'a': 2}.a == 1",
        "json.lines.exists_one(it, it.n)",
    ] {
        failed(expression);
    }
    let mut record = order();
    record.value = Some(Bytes::from_static(b"no json"));
    let doubt = judge("json.total > 1", &record);
    assert_eq!(doubt, Judgement::Doubt(Doubt::NotJson));
    assert_eq!(
        judge("size == 7", &record),
        Judgement::Match,
        "nobody looks"
    );
    record.value = Some(Bytes::from(vec![b' '; BODY_BYTES_MAX + 1]));
    let doubt = judge("json.total > 1", &record);
    assert_eq!(doubt, Judgement::Doubt(Doubt::TooLong));
}

#[test]
fn what_is_absent_is_null() {
    let bare = v1::Record {
        key: None,
        value: None,
        headers: Vec::new(),
        event_time_ms: None,
    };
    for expression in [
        "key == null && type == null && json == null && size == 0 && headers == {}",
        "time == timestamp('1970-01-01T00:00:01Z')",
    ] {
        assert_eq!(judge(expression, &bare), Judgement::Match, "{expression}");
    }
}

#[test]
fn one_part_that_decides_outweighs_doubts_about_others() {
    for expression in [
        "json.missing == 1 || key == 'o-7'",
        "key == 'o-7' || json.missing == 1",
        "!(json.missing == 1 && key == 'x')",
        "[1, 'x', 0].exists(it, 1 / it == 1)",
        "![1, 'x', 0].all(it, 1 / it == 2)",
    ] {
        check(expression, Judgement::Match);
    }
    failed("json.missing == 1 || key == 'x'");
    failed("json.missing == 1 && key == 'o-7'");
}

#[test]
fn an_expression_that_is_none_is_refused_where_it_goes_wrong() {
    let check = |expression: &str, position: Option<usize>, part: &str| {
        let error = Filter::compile(expression).expect_err(expression);
        assert!(error.to_string().contains(part), "{expression}: {error}");
        assert_eq!(error.position(), position, "{expression}: {error}");
    };
    check("", Some(1), "a value is expected");
    check("key ==", Some(7), "not the end");
    check("key = 'a'", Some(5), "the end is expected");
    check("key == 'a", Some(8), "no end");
    check("key == 'a\n'", Some(8), "before its line");
    check("'\u{e4}' == keey", Some(8), "no variable \"keey\"");
    check("key.matches('a')", Some(5), "no function \"matches\"");
    check("startsWith(key, 'a')", Some(1), "called on a value");
    check("key.int()", Some(5), "called as int(x)");
    check("key.contains()", Some(5), "number of arguments");
    check("has(key)", Some(1), "asks for a field");
    check("json.map(it, it)[0].exists(x, y)", Some(31), "\"y\"");
    check("(key == 'a'", Some(12), "\")\" is expected");
    check("key == 'a' && #", Some(15), "'#'");
    check("1 == 99999999999999999999", Some(6), "whole number");
    check("1 == 9223372036854775808", Some(6), "too high");
    check("key == '\\q'", Some(8), "no escape");
    check("time > timestamp('now')", Some(8), "no timestamp");
    check("time - time > duration('1 day')", Some(15), "no duration");
    check("let == 1", Some(1), "reserved");
    check("size + 1 == 2 ? 1 : 2", None, "a number");
    check("headers", None, "a map");
    check("1 + 1", None, "a calculation");
    check("-json.total", None, "a calculation");
    check("'a'", None, "a string");
    check(&format!("key == '{}'", "x".repeat(3_000)), None, "at most");
    let deep = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    check(&deep, Some(25), "nested deeper");
    let signs = format!("{}true", "!".repeat(60));
    check(&signs, Some(25), "nested deeper");
    let long = format!("1{} == 1", " + 1".repeat(60));
    check(&long, Some(191), "deeper than");
}

#[test]
fn many_alternatives_are_not_deep() {
    let any: Vec<_> = (0..100).map(|it| format!("key == 'k{it}'")).collect();
    check(&any.join(" || "), Judgement::NoMatch);
}

#[test]
fn the_work_for_one_record_is_bounded() {
    let items: Vec<_> = (0..20_000).map(|it| it.to_string()).collect();
    let long = v1::Record {
        value: Some(format!("[{}]", items.join(",")).into()),
        ..order()
    };
    let words = v1::Record {
        value: Some(format!("[\"{}\"]", "x".repeat(200_000)).into()),
        ..order()
    };
    for (record, expression) in [
        (
            &long,
            "json.all(a, json.all(b, json.all(c, a + b + c >= 0)))",
        ),
        (&long, "json.map(a, json).map(b, b + b + b + b).size() == 0"),
        (&long, "json.all(a, json == json)"),
        (
            &words,
            "json.map(a, [a + a]).map(b, [b[0] + b[0]]).map(c, [c[0] + c[0] + c[0] + c[0]]) == []",
        ),
        (
            &words,
            "[1,2,3,4,5,6,7,8,9].all(a, json[0].contains('y') || !json[0].contains('z'))",
        ),
    ] {
        let filter = Filter::compile(expression).unwrap();
        let mut steps = Steps::default();
        let judged = judge_with(&filter, record, &mut steps);
        assert_eq!(judged, Judgement::Doubt(Doubt::TooCostly), "{expression}");
        assert_eq!(steps.taken(), STEPS_PER_RECORD_MAX, "{expression}");
    }
    // What it costs is not outweighed by another part: no more is evaluated.
    let filter = Filter::compile("json.all(a, json.all(b, b >= 0)) || true").unwrap();
    let judged = judge_with(&filter, &long, &mut Steps::default());
    assert_eq!(judged, Judgement::Doubt(Doubt::TooCostly));
}

/// Parts of expressions, which make expressions that are nearly right.
fn parts() -> impl Strategy<Value = String> {
    const PARTS: [&str; 62] = [
        "json",
        "key",
        "size",
        "headers",
        "type",
        "time",
        ".a",
        ".b",
        "[0]",
        "[-1]",
        "['a']",
        "(",
        ")",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&&",
        "||",
        "!",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "?",
        ":",
        "[",
        "]",
        "{",
        "}",
        "9223372036854775807",
        "0",
        "1u",
        "1.5",
        "1e308",
        "\"s\"",
        "'\\u00e9'",
        "b'\\xff'",
        "r'\\d'",
        "null",
        "true",
        ".map(x,",
        ".all(x,",
        ".exists(x,",
        "x",
        ".size()",
        ".contains(",
        "int(",
        "uint(",
        "double(",
        "string(",
        "bytes(",
        "size(",
        "duration('1h')",
        "timestamp('2026-01-01T00:00:00Z')",
        "has(json.a)",
        ",",
        "\\",
        "'",
        "\u{1F600}",
    ];
    let part = prop::sample::select(&PARTS[..]);
    prop::collection::vec(part, 1..16).prop_map(|parts| parts.concat())
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"[\[\]{}":,0-9a-be.tfn-]{0,60}"#.prop_map(String::into_bytes),
        Just(br#"{"a":{"b":[1,-9223372036854775808,1.5,"x",null,true]},"b":[{"a":1}]}"#.to_vec()),
        Just([b"[".repeat(10_000), b"]".repeat(10_000)].concat()),
        Just(b"{\"a\":1e999}".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_expression_and_no_record_makes_it_panic(
        expression in prop_oneof![parts(), any::<String>()],
        body in prop::option::of(bodies()),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        value in prop::collection::vec(any::<u8>(), 0..20),
        event_time_ms in prop::option::of(any::<i64>()),
    ) {
        if let Ok(filter) = Filter::compile(&expression) {
            let record = v1::Record {
                key: key.map(Into::into),
                value: body.map(Into::into),
                headers: vec![header("a", &value)],
                event_time_ms,
            };
            let mut steps = Steps::default();
            judge_with(&filter, &record, &mut steps);
            prop_assert!(steps.taken() <= STEPS_PER_RECORD_MAX);
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in bodies()) {
        for expression in [
            "json.a.b[0] == 1 || json.all(x, x == json) || json[0] > 1",
            "json == json && size(json) > 1 && string(json) == '' && json.exists(x, x.a + x.b > 1)",
        ] {
            let record = v1::Record { value: Some(body.clone().into()), ..order() };
            judge(expression, &record);
        }
    }
}
