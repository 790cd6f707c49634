//! What is not scheduled, and why.

use super::*;

/// A bad record behind a good append: nothing happens, and the field is told.
async fn check(bad: v1::ScheduleRecord, reason: ErrorReason, facts: &[(&str, &str)]) {
    let broker = TestBroker::start().await;
    broker.create("reminders", 2).await;
    let first = later("reminders", "v", "taken", Time::DelayMs(HOUR_MS));
    schedule(&broker, vec![first]).await.unwrap();
    let append = Kind::Append(v1::AppendRecords {
        topic: "reminders".to_owned(),
        records: vec![record(None, "now")],
        ..v1::AppendRecords::default()
    });
    let refused = commit(&broker, "", vec![append, Kind::Schedule(bad)]).await;
    check_facts(&refusal(refused, reason), facts);
    assert_eq!(
        all_values(&broker.read_all(source("reminders")).await),
        [""; 0],
        "nothing is written"
    );
    assert_eq!(ids(&broker, "").await, ["taken"], "nor scheduled");
}

fn good() -> v1::ScheduleRecord {
    later("reminders", "v", "new", Time::DelayMs(HOUR_MS))
}

#[tokio::test]
async fn a_time_in_the_past_or_too_far_is_refused() {
    let field = [("field", "operations[1].schedule.time")];
    let times = [
        Time::AtMs(0),
        Time::AtMs(i64::MIN),
        Time::AtMs(i64::MAX),
        Time::DelayMs(u64::MAX),
        Time::DelayMs(367 * 24 * HOUR_MS),
    ];
    for at in times {
        let bad = v1::ScheduleRecord {
            time: Some(time(at)),
            ..good()
        };
        check(bad, ErrorReason::InvalidArgument, &field).await;
    }
    for unset in [None, Some(v1::ScheduleTime { time: None })] {
        let bad = v1::ScheduleRecord {
            time: unset,
            ..good()
        };
        check(bad, ErrorReason::InvalidArgument, &field).await;
    }
}

#[tokio::test]
async fn a_record_that_could_not_be_appended_is_refused() {
    let none = v1::ScheduleRecord {
        record: None,
        ..good()
    };
    let field = |name: &str| format!("operations[1].schedule.{name}");
    check(
        none,
        ErrorReason::InvalidArgument,
        &[("field", &field("record"))],
    )
    .await;
    let nameless = v1::Record {
        headers: vec![v1::Header::default()],
        ..v1::Record::default()
    };
    let nameless = v1::ScheduleRecord {
        record: Some(nameless),
        ..good()
    };
    let header = field("record.headers[0]");
    check(
        nameless,
        ErrorReason::InvalidArgument,
        &[("field", &header)],
    )
    .await;
    let beyond = v1::ScheduleRecord {
        partition: Some(2),
        ..good()
    };
    check(
        beyond,
        ErrorReason::PartitionNotFound,
        &[("partition", "2")],
    )
    .await;
    let nowhere = v1::ScheduleRecord {
        topic: "nowhere".to_owned(),
        ..good()
    };
    check(
        nowhere,
        ErrorReason::TopicNotFound,
        &[("topic", "nowhere"), ("operation", "1")],
    )
    .await;
}

#[tokio::test]
async fn an_id_names_one_record_at_a_time() {
    let named = |id: &str| v1::ScheduleRecord {
        schedule_id: id.to_owned(),
        ..good()
    };
    let field = [("field", "operations[1].schedule.schedule_id")];
    check(
        named(&"i".repeat(129)),
        ErrorReason::InvalidArgument,
        &field,
    )
    .await;
    check(named("@1"), ErrorReason::InvalidArgument, &field).await;
    let taken = [("topic", "reminders"), ("schedule_id", "taken")];
    check(named("taken"), ErrorReason::ScheduleExists, &taken).await;
    let broker = TestBroker::start().await;
    broker.create("reminders", 1).await;
    let twice = schedule(&broker, vec![named("one"), named("one")]).await;
    check_facts(&refusal(twice, ErrorReason::InvalidArgument), &field);
    // In another topic it is another id.
    broker.create("others", 1).await;
    let other = v1::ScheduleRecord {
        topic: "others".to_owned(),
        ..named("one")
    };
    schedule(&broker, vec![named("one"), other]).await.unwrap();
}

/// Its name, how it is set, and to what.
type Limit = (&'static str, fn(&mut Config), &'static str);

#[tokio::test]
async fn a_limit_is_told_by_its_name() {
    let limits: [Limit; 4] = [
        (
            "scheduled_per_topic_max",
            |it| it.engine.core.scheduled_per_topic_max = 1,
            "1",
        ),
        (
            "scheduled_bytes_per_topic_max",
            |it| it.engine.core.scheduled_bytes_per_topic_max = 13,
            "13",
        ),
        ("scheduled_max", |it| it.engine.core.scheduled_max = 1, "1"),
        (
            "scheduled_bytes_max",
            |it| it.engine.core.scheduled_bytes_max = 13,
            "13",
        ),
    ];
    for (limit, set, value) in limits {
        let mut config = config();
        set(&mut config);
        let broker = TestBroker::start_with(config).await;
        broker.create("reminders", 1).await;
        let unnamed = || later("reminders", "12345", "", Time::DelayMs(HOUR_MS));
        let first = schedule(&broker, vec![unnamed()]).await.unwrap().remove(0);
        let full = schedule(&broker, vec![unnamed()]).await;
        let problem = refusal(full, ErrorReason::LimitReached);
        check_facts(&problem, &[("limit", limit), ("limit_value", value)]);
        // Who makes room has room.
        cancel(&broker, "reminders", &first.schedule_id)
            .await
            .unwrap();
        schedule(&broker, vec![unnamed()]).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_for_has_to_make_sense() {
    let broker = TestBroker::start().await;
    broker.create("reminders", 1).await;
    schedule(&broker, vec![good()]).await.unwrap();
    for id in ["", "@x", "@-1"] {
        let refused = cancel(&broker, "reminders", id).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "schedule_id")]);
    }
    for id in ["@0", "@77", "unknown"] {
        refusal(
            cancel(&broker, "reminders", id).await,
            ErrorReason::ScheduleNotFound,
        );
        let moved = reschedule(&broker, "reminders", id, Time::DelayMs(1)).await;
        refusal(moved, ErrorReason::ScheduleNotFound);
    }
    refusal(
        cancel(&broker, "nowhere", "new").await,
        ErrorReason::TopicNotFound,
    );
    let past = reschedule(&broker, "reminders", "new", Time::AtMs(1)).await;
    let problem = refusal(past, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "time"), ("due_ms", "1")]);
    for token in ["x", "1", "1-", "-1-1", "1-1-1"] {
        let request = v1::ListSchedulesRequest {
            page_token: token.to_owned(),
            ..v1::ListSchedulesRequest::default()
        };
        let refused = soon(client(&broker).list_schedules(request)).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "page_token")]);
    }
    assert_eq!(ids(&broker, "").await, ["new"]);
}
