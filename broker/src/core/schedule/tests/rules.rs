//! What is refused, and in which order.

use super::*;

fn wish(topic: TopicId, when: ScheduleTime, record: &'static [u8]) -> CommitSchedule {
    CommitSchedule {
        operation: 3,
        partition: PartitionRef {
            topic,
            partition: 0,
        },
        when,
        name: None,
        record: Bytes::from_static(record),
    }
}

fn refusal(bench: &Bench, wishes: Vec<CommitSchedule>) -> Option<CommitRefusalCause> {
    let refused = bench.state.check_schedules(&wishes, bench.now_ms).err()?;
    assert_eq!(refused.operation, 3);
    Some(refused.cause)
}

#[test]
fn a_time_is_not_long_past_and_not_too_far() {
    let bench = Bench::new();
    let (topic, now_ms) = (bench.topics[0], bench.now_ms);
    let ahead_max = limits::SCHEDULE_AHEAD_MS_MAX;
    let check = |when, expected: Option<ScheduleRefusal>| {
        let found = refusal(&bench, vec![wish(topic, when, b"v")]);
        assert_eq!(
            found,
            expected.map(CommitRefusalCause::Schedule),
            "{when:?}"
        );
    };
    let past = |due_ms| Some(ScheduleRefusal::InPast { due_ms, now_ms });
    let far = |due_ms| Some(ScheduleRefusal::TooFar { due_ms, now_ms });
    check(ScheduleTime::At(now_ms - 5_000), None);
    check(ScheduleTime::At(now_ms - 5_001), past(now_ms - 5_001));
    check(ScheduleTime::At(i64::MIN), past(i64::MIN));
    check(ScheduleTime::At(now_ms + ahead_max), None);
    check(
        ScheduleTime::At(now_ms + ahead_max + 1),
        far(now_ms + ahead_max + 1),
    );
    check(ScheduleTime::After(ahead_max.unsigned_abs()), None);
    check(ScheduleTime::After(u64::MAX), far(i64::MAX));
}

#[test]
fn the_limits_count_what_a_commit_adds_itself() {
    let mut bench = Bench::new();
    bench.state.limits.scheduled_per_topic_max = 2;
    bench.state.limits.scheduled_bytes_per_topic_max = 10;
    bench.state.limits.scheduled_max = 3;
    bench.state.limits.scheduled_bytes_max = 15;
    let [one, other] = bench.topics;
    let later = ScheduleTime::After(5);
    let check = |wishes: &[(TopicId, &'static [u8])], expected: Option<(ScheduleLimit, u64)>| {
        let wishes = wishes
            .iter()
            .map(|(topic, record)| wish(*topic, later, record));
        let full = expected.map(|(limit, limit_max)| ScheduleRefusal::Full { limit, limit_max });
        let found = refusal(&bench, wishes.collect());
        assert_eq!(found, full.map(CommitRefusalCause::Schedule));
    };
    check(&[(one, b"12345"), (one, b"12345"), (other, b"12345")], None);
    check(
        &[(one, b""), (one, b""), (one, b"")],
        Some((ScheduleLimit::TopicCount, 2)),
    );
    check(
        &[(one, b"123456"), (one, b"12345")],
        Some((ScheduleLimit::TopicBytes, 10)),
    );
    check(
        &[(one, b""), (one, b""), (other, b""), (other, b"")],
        Some((ScheduleLimit::Count, 3)),
    );
    check(
        &[(one, b"1234567890"), (other, b"123456")],
        Some((ScheduleLimit::Bytes, 15)),
    );
}

#[test]
fn a_target_has_to_be_there_and_take_records() {
    let mut bench = Bench::new();
    let later = ScheduleTime::After(5);
    let nowhere = TopicId::new(77);
    let found = refusal(&bench, vec![wish(nowhere, later, b"v")]);
    let expected = AppendRefusal::TopicNotFound { topic: nowhere };
    assert_eq!(found, Some(CommitRefusalCause::Append(expected)));
    let mut beyond = wish(bench.topics[0], later, b"v");
    beyond.partition.partition = 2;
    let expected = AppendRefusal::PartitionNotFound {
        partition: 2,
        partition_count: 2,
    };
    assert_eq!(
        refusal(&bench, vec![beyond]),
        Some(CommitRefusalCause::Append(expected))
    );
    bench.state.set_space_low(true);
    let found = refusal(&bench, vec![wish(bench.topics[0], later, b"v")]);
    assert_eq!(
        found,
        Some(CommitRefusalCause::Append(AppendRefusal::StorageFull))
    );
}

#[test]
fn due_records_wait_for_room_and_no_longer() {
    let mut bench = Bench::new();
    bench.step(Step::Schedule {
        topic: 0,
        partition: 0,
        name: None,
        when: ScheduleTime::After(0),
    });
    let step = bench.state.step_schedules(bench.now_ms);
    assert_eq!(step.due.len(), 1);
    let full = FireFailure::Refused(AppendRefusal::StorageFull);
    bench.state.fire_failed(&[], &full, bench.now_ms);
    assert_eq!(bench.state.step_schedules(bench.now_ms + 999).due, []);
    assert_eq!(
        bench.state.step_schedules(bench.now_ms + 1_000).due.len(),
        1
    );
}

#[test]
fn what_cannot_be_delivered_does_not_hold_up_the_rest() {
    let mut bench = Bench::new();
    for partition in [0, 1] {
        bench.step(Step::Schedule {
            topic: 0,
            partition,
            name: None,
            when: ScheduleTime::After(0),
        });
    }
    let due = bench.state.step_schedules(bench.now_ms).due;
    let keys: Vec<_> = due.iter().map(|it| it.key).collect();
    let refused = FireFailure::Refused(AppendRefusal::ProducerUnknown);
    bench.state.fire_failed(&keys[..1], &refused, bench.now_ms);
    assert_eq!(bench.state.set_aside_count(), 1);
    let due = |bench: &mut Bench, now_ms| {
        let due = bench.state.step_schedules(now_ms).due;
        bench.state.fire_failed(&[], &FireFailure::Changed, now_ms);
        due.iter().map(|it| it.key).collect::<Vec<_>>()
    };
    let now_ms = bench.now_ms;
    assert_eq!(due(&mut bench, now_ms), keys[1..], "the other one");
    assert_eq!(
        due(&mut bench, now_ms + 60_000),
        keys,
        "and again after a while"
    );
}
