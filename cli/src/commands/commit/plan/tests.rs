use super::*;

fn fault_of(text: &str) -> String {
    Plan::parse(text).expect_err(text).to_string()
}

#[test]
fn what_is_wrong_is_told_with_its_path_and_line() {
    let check = |text: &str, expected: &str| {
        let told = fault_of(text);
        assert!(told.contains(expected), "{text}: {told}");
    };
    check("", "not a plan, line 1: it ends inside a value");
    check("[]", "not a plan, line 1: ");
    check(
        "{\n \"operation\": []}",
        "not a plan, line 2: unknown field `operation`",
    );
    let within = |operation: &str| {
        format!(
            "{{\"operations\": [\n {{\"append\": {{\"topic\": \"t\", \"records\": [{{\"value\": \"v\"}}]}}}},\n {operation}\n]}}"
        )
    };
    check(
        &within("{\"apend\": {}}"),
        "operations[1], line 3: unknown variant `apend`",
    );
    check(
        &within("{\"append\":\n {\"topic\": 7, \"records\": []}}"),
        "operations[1], line 4: invalid type: integer `7`, expected a string, at column 12",
    );
    check(
        &within(
            "{\"append\": {\"topic\": \"t\",\n \"records\": [{\"value\": \"v\"},\n {\"key\": \"k\"}]}}",
        ),
        "operations[1].append.records[1], line 5: neither value nor value_b64 is there",
    );
    check(
        &within("{\"append\": {\"topic\": \"t\", \"records\": []}}"),
        "operations[1].append.records, line ",
    );
    check(
        &within(
            "{\"append\": {\"topic\": \"t\", \"expected_offset\": 3, \"records\": [{\"value\": \"v\"}]}}",
        ),
        "operations[1].append, line 3: an expected_offset needs a partition",
    );
    let settle = |more: &str| {
        within(&format!(
            "{{\"settle\": {{\"subscription\": \"s\", \"delivery\": 1, \"partition\": 0, {more}}}}}"
        ))
    };
    check(
        &settle("\"ranges\": [{\"start\": 3, \"end\": 1}], \"outcome\": \"ack\""),
        "operations[1].settle, line 3: a range ends at 1, before it starts at 3",
    );
    check(
        &settle("\"ranges\": [], \"outcome\": \"ack\", \"reason\": \"why\""),
        "only a nack or a dead_letter has a reason",
    );
    check(
        &settle("\"ranges\": [], \"outcome\": \"dead_letter\", \"delay_ms\": 7"),
        "only a nack has a delay_ms",
    );
    check(
        &settle("\"ranges\": [], \"outcome\": \"release\", \"reason\": \"why\""),
        "only a nack or a dead_letter has a reason",
    );
    check(
        &settle("\"ranges\": [], \"outcome\": \"extend\""),
        "unknown variant `extend`, expected one of `ack`, `nack`, `release`, `dead_letter`",
    );
    check(
        &within("{\"offsets\": {\"group\": \"g\", \"member_id\": \"0f\", \"offsets\": []}}"),
        "operations[1].offsets, line 3: a member_id has 32 hexadecimal digits",
    );
}

#[test]
fn a_member_id_keeps_the_order_of_its_digits() {
    let id = u128::from_str_radix("000102030405060708090a0b0c0d0e0f", 16).expect("digits");
    assert_eq!(
        bytes_of(id),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    );
}
