//! Filter expressions, and the records that they judge.

use bytes::Bytes;
use prost::Message;
use towpath_proto::batch::Records;
use towpath_proto::v1;

use crate::broker_rooms::filter::{
    Doubt, Filter, FilterInput, Judgement, STEPS_PER_RECORD_MAX, Steps,
};
use crate::given::Given;

/// An expression, then key, value, headers and times of a record.
pub fn filter(data: &[u8]) {
    let mut input = Given::new(data);
    let expression = String::from_utf8_lossy(input.piece());
    let record = record(input);
    let batch = v1::RecordBatch {
        records: vec![record],
    };
    let payload = batch.encode_to_vec();
    let judged = match Filter::compile(&expression) {
        Ok(filter) => judge(&filter, &payload),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a reason");
            let end = expression.chars().count() + 1;
            assert!(
                error.position().is_none_or(|it| (1..=end).contains(&it)),
                "a place in it"
            );
            return;
        }
    };
    // What is written around an expression changes its verdict as logic has it.
    same(&payload, &format!("({expression})"), judged);
    same(&payload, &format!("({expression}) && true"), judged);
    same(&payload, &format!("({expression}) || false"), judged);
    same(&payload, &format!("({expression}) ? true : false"), judged);
    let negated = match judged {
        Judgement::Match => Judgement::NoMatch,
        Judgement::NoMatch => Judgement::Match,
        doubt @ Judgement::Doubt(_) => doubt,
    };
    same(&payload, &format!("!({expression})"), negated);
}

fn record(mut input: Given<'_>) -> v1::Record {
    let flags = input.u8();
    let given = |flag: u8, bytes: &[u8]| (flags & flag != 0).then(|| Bytes::copy_from_slice(bytes));
    let key = given(1, input.piece());
    let value = given(2, input.piece());
    let event_time_ms = (flags & 4 != 0).then(|| input.u64().cast_signed());
    let mut headers = Vec::new();
    while !input.is_empty() && headers.len() < 8 {
        let name = String::from_utf8_lossy(input.piece());
        headers.push(v1::Header {
            // A header without a name is refused before any filter sees it.
            name: format!("h{name}"),
            value: Bytes::copy_from_slice(input.piece()),
        });
    }
    v1::Record {
        key,
        value,
        headers,
        event_time_ms,
    }
}

fn judge(filter: &Filter, payload: &[u8]) -> Judgement {
    let record = Records::new(payload)
        .next()
        .expect("a record")
        .expect("whole");
    let input = FilterInput {
        record,
        append_time_ms: 1_000,
    };
    let mut steps = Steps::default();
    let judged = filter.judge(&input, &mut steps);
    assert!(steps.taken() <= STEPS_PER_RECORD_MAX, "bounded");
    let once = steps.taken();
    assert_eq!(filter.judge(&input, &mut steps), judged, "always the same");
    assert_eq!(steps.taken(), once * 2, "for the same work");
    judged
}

fn same(payload: &[u8], expression: &str, expected: Judgement) {
    // Too long or too deep with something around it.
    let Ok(filter) = Filter::compile(expression) else {
        return;
    };
    let judged = judge(&filter, payload);
    let is_costly = |it| matches!(it, Judgement::Doubt(Doubt::TooCostly));
    let is_doubt = |it| matches!(it, Judgement::Doubt(_));
    let is_same = judged == expected || (is_doubt(judged) && is_doubt(expected));
    assert!(
        is_same || is_costly(judged) || is_costly(expected),
        "{expression}: {judged:?} and not {expected:?}"
    );
}
