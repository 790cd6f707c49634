//! Of what people write.

use crate::given::put_piece;

use super::Seed;

/// Expressions that use most of the language.
const EXPRESSIONS: &[&str] = &[
    r#"key == "o-7" && headers["hregion"] == "eu""#,
    r#"json.total >= 100.5 || !(json.paid) || json.customer.name.startsWith("A")"#,
    r#"json.lines.exists(line, line.n > 1 && line.sku in ["x1", "x9"])"#,
    r#"json.lines.all(l, l.sku.matches("x[0-9]")) && size(json.lines) == 2"#,
    "json.lines.map(l, l.n * 2).filter(n, n % 3 == 0).size() > 0 ? true : has(json.note)",
    r#"type == "order.placed" && time > timestamp("2026-01-01T00:00:00Z")"#,
    r#"int(string(json.big)) - 1 < 0x10 || double("1e3") / -2.0 != 0.0 || b"\xff" == bytes("a")"#,
    r#"{"a": [1, 2u, null]}["a"][0] == 1 && "x" + 'y' == r"xy""#,
];

/// A body that they look into.
const BODY: &str = r#"{"id":"o-7","total":150,"rate":1.5,"big":18446744073709551615,"paid":true,"note":null,
"customer":{"name":"Ann","city":"Ulm"},"lines":[{"sku":"x1","n":1},{"sku":"x9","n":9}]}"#;

const PLAN: &str = r#"{"operations":[
{"append":{"topic":"a","partition":0,"expected_offset":3,"records":[{"key":"k","value":"v"}]}},
{"schedule":{"topic":"a","at":"2026-12-24T18:00:00Z","schedule_id":"s","record":{"value":"v"}}},
{"settle":{"subscription":"s","delivery":7,"partition":0,"outcome":"nack","delay_ms":5,"reason":"r",
"ranges":[{"start":1,"end":3}]}},
{"offsets":{"group":"g","member_id":"000102030405060708090a0b0c0d0e0f",
"offsets":[{"topic":"a","partition":0,"generation":1,"offset":5}]}}]}"#;

const RECORDS: &[&str] = &[
    r#"{"topic":"t","partition":1,"offset":7,"lsn":9,"key":"k","value":"v","headers":
[{"name":"a","value":"1"},{"name":"a","value_b64":"/w=="}],"timestamp":"2026-11-21T09:00:00Z"}"#,
    r#"{"key_b64":"//4=","value":null,"event_time":"1970-01-01T00:00:01Z"}"#,
    r#"{"order":{"id":"N\"1","n":-1.5e3}}"#,
];

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = vec![Seed::new("cli_plan", "all", PLAN)];
    for (number, expression) in EXPRESSIONS.iter().enumerate() {
        let mut bytes = Vec::new();
        put_piece(&mut bytes, expression.as_bytes());
        bytes.push(7);
        put_piece(&mut bytes, b"o-7");
        put_piece(&mut bytes, BODY.as_bytes());
        bytes.extend(1_767_225_600_000_u64.to_le_bytes());
        for (name, value) in [("ce-type", "order.placed"), ("region", "eu")] {
            put_piece(&mut bytes, name.as_bytes());
            put_piece(&mut bytes, value.as_bytes());
        }
        seeds.push(Seed::new("filter", format!("expression-{number}"), bytes));
    }
    for (number, record) in RECORDS.iter().enumerate() {
        for form in [0, 1, 2, 60] {
            let mut bytes = vec![form];
            put_piece(&mut bytes, b".order.id");
            bytes.extend(record.as_bytes());
            seeds.push(Seed::new(
                "cli_record",
                format!("record-{number}-{form}"),
                bytes,
            ));
        }
    }
    seeds
}
