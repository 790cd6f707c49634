use std::time::Duration;

use super::*;

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

fn view<'a>(
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
) -> View<'a, impl Iterator<Item = (&'a str, &'a [u8])>> {
    View {
        topic: "orders",
        partition: 5,
        offset: 17,
        lsn: 99,
        key,
        value,
        headers: headers.into_iter(),
        append_time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_480),
        event_time: None,
        attempt: None,
        key_version: None,
    }
}

fn printed(
    form: Form,
    print: impl FnOnce(&mut RecordPrinter<Vec<u8>>) -> io::Result<()>,
) -> String {
    let mut printer = RecordPrinter::new(Vec::new(), form);
    print(&mut printer).expect("printed");
    printer.flush().expect("flushed");
    String::from_utf8_lossy(&printer.out).into_owned()
}

#[test]
fn json_holds_the_exact_text() {
    let text = printed(Form::Json, |printer| {
        let headers: Headers<'_> = vec![("ce-type", b"order.placed"), ("raw", b"\xff")];
        printer.print(view(
            Some(b"4\"2"),
            Some("{\"a\":\"\u{e9}\n\"}".as_bytes()),
            headers,
        ))
    });
    let expected = concat!(
        r#"{"topic":"orders","partition":5,"offset":17,"lsn":99,"key":"4\"2","#,
        r#""value":"{\"a\":\"é\n\"}","#,
        r#""headers":[{"name":"ce-type","value":"order.placed"},{"name":"raw","value_b64":"/w=="}],"#,
        r#""timestamp":"1970-01-01T00:00:01.480Z"}"#,
        "\n"
    );
    assert_eq!(text, expected, "one line");
}

#[test]
fn json_tells_absent_from_empty_and_text_from_bytes() {
    let text = printed(Form::Json, |printer| {
        printer.print(view(None, Some(b""), vec![]))?;
        printer.print(view(Some(b""), None, vec![]))?;
        printer.print(view(Some(b"\xff\xfe"), Some(b"\x80"), vec![]))
    });
    let found: Vec<_> = text
        .lines()
        .map(|line| {
            let start = line.find("\"key").expect("a key");
            &line[start..line.find(",\"headers\"").expect("headers")]
        })
        .collect();
    let expected = [
        r#""key":null,"value":"""#,
        r#""key":"","value":null"#,
        r#""key_b64":"//4=","value_b64":"gA==""#,
    ];
    assert_eq!(found, expected, "keys and values");
}

#[test]
fn an_event_time_is_told_where_there_is_one() {
    let text = printed(Form::Json, |printer| {
        let event_time = Some(Timestamp::UNIX_EPOCH);
        printer.print(View {
            event_time,
            ..view(None, None, vec![])
        })
    });
    assert!(
        text.ends_with("Z\",\"event_time\":\"1970-01-01T00:00:00.000Z\"}\n"),
        "{text}"
    );
}

#[test]
fn a_pipe_gets_values_byte_for_byte() {
    let mut printer = RecordPrinter::new(Vec::new(), Form::Values);
    for value in [Some(&b"one"[..]), Some(b"\xff\0"), Some(b""), None] {
        printer
            .print(view(Some(b"k"), value, vec![]))
            .expect("printed");
    }
    printer.flush().expect("flushed");
    assert_eq!(printer.out, b"one\n\xff\0\n\n\n", "values");
}

#[test]
fn a_terminal_gets_columns_and_nothing_it_would_act_on() {
    let text = printed(Form::Aligned, |printer| {
        printer.print(view(
            Some(b"42"),
            Some(b"{\"order\":42}"),
            vec![("ce-type", b"placed")],
        ))?;
        printer.print(view(None, Some(b"\x1b[2J\xff\n"), vec![]))?;
        printer.print(view(Some(b"longer"), None, vec![]))
    });
    let expected = concat!(
        "1970-01-01T00:00:01.480Z  orders/5@17  42  placed  {\"order\":42}\n",
        "1970-01-01T00:00:01.480Z  orders/5@17  -   -       \\u{1b}[2J\\xff\\n\n",
        "1970-01-01T00:00:01.480Z  orders/5@17  longer  -       -\n",
    );
    assert_eq!(text, expected, "lines");
}

#[test]
fn much_is_written_before_it_is_flushed() {
    let mut printer = RecordPrinter::new(Vec::new(), Form::Values);
    let value = vec![b'x'; BUFFER_BYTES];
    printer
        .print(view(None, Some(&value), vec![]))
        .expect("printed");
    assert_eq!(printer.out.len(), BUFFER_BYTES + 1, "written");
    printer
        .print(view(None, Some(b"small"), vec![]))
        .expect("printed");
    assert_eq!(printer.out.len(), BUFFER_BYTES + 1, "gathered");
}

#[test]
fn an_attempt_is_told_where_there_is_one() {
    let text = printed(Form::Json, |printer| {
        printer.print(View {
            attempt: Some(2),
            ..view(None, None, vec![])
        })
    });
    assert!(text.ends_with("Z\",\"attempt\":2}\n"), "{text}");
}

#[test]
fn records_of_a_key_have_their_version() {
    let print = |printer: &mut RecordPrinter<Vec<u8>>| {
        printer.print(View {
            key_version: Some(3),
            ..view(Some(b"k"), Some(b"v"), vec![])
        })
    };
    let text = printed(Form::Json, print);
    assert!(text.ends_with("Z\",\"key_version\":3}\n"), "{text}");
    let text = printed(Form::Aligned, print);
    assert!(text.contains("orders/5@17 v3  k  "), "{text}");
}
