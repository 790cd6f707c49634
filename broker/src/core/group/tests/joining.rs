//! Where groups begin and end.

use super::*;

#[test]
fn a_group_needs_to_be_told_where_to_start_once_for_each_topic() {
    let mut bench = Bench::new();
    let mut wish = bench.wish(member(1), &[bench.topic]);
    let starts = wish.topics[0].starts.take();
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert!(matches!(refused, JoinRefusal::StartUnset { .. }));
    wish.topics[0].starts = starts;
    bench.join_as(&wish);
    wish.topics[0].starts = None;
    bench.join_as(&wish);
    let other = bench.create_topic("payments");
    wish.topics.push(TopicStart {
        topic: other,
        starts: None,
    });
    let refused = bench.state.join_group(&wish, bench.now_ms).unwrap_err();
    assert!(matches!(refused, JoinRefusal::StartUnset { topics, .. } if topics == [other]));
}

#[test]
fn nothing_is_left_of_deleted_groups_and_topics() {
    let mut bench = Bench::new();
    let session = bench.join(member(1));
    bench.pass(100);
    let (topic, rows) = {
        let name = "orders".parse().unwrap();
        bench.state.delete_topic(&name, None).unwrap()
    };
    bench.apply(rows);
    assert!(!bench.group().reads(topic));
    let in_use = bench.state.delete_group(&name(), false).unwrap_err();
    assert!(matches!(
        in_use,
        DeleteGroupRefusal::InUse {
            member_count: 1,
            ..
        }
    ));
    bench.heard(session);
    let (id, decision) = bench.state.delete_group(&name(), true).unwrap();
    bench.apply(decision.rows);
    bench.tell(decision.notices);
    assert_eq!(bench.heard(session), [GroupEvent::Deleted]);
    assert!(bench.state.group(id).is_none());
    let wish = bench.wish(member(1), &[]);
    let (next, _) = bench.state.join_group(&wish, bench.now_ms).unwrap();
    assert!(next > id, "numbers are never used again");
}
