//! When it counts that nothing can be handed out.

use super::*;

fn told(lsn: u64) -> Response {
    Response::CaughtUp(v1::SubscriptionCaughtUp {
        lsn,
        ..v1::SubscriptionCaughtUp::default()
    })
}

/// The LSN of what was told last, if it counts.
fn lsn(receiving: &Receiving) -> Option<u64> {
    let known = receiving.caught_up_since(0);
    known.map(|(_, caught_up)| caught_up.lsn.get())
}

const RECORDS: [(u64, Option<&str>); 2] = [(0, Some("a")), (1, Some("a"))];

#[test]
fn it_counts_once_all_that_came_before_was_begun_with() {
    let mut receiving = open();
    receiving.go_by_key();
    hear(&mut receiving, [delivered(1, 0, &RECORDS), told(5)]);
    assert_eq!(lsn(&receiving), None, "two wait");
    let mut tickets = take_all(&mut receiving);
    assert_eq!(offsets(&tickets), [0], "the other one waits for its key");
    assert_eq!(lsn(&receiving), None);
    let first = tickets.remove(&0).unwrap();
    drop(ack(&mut receiving, first));
    assert_eq!(offsets(&take_all(&mut receiving)), [1]);
    assert_eq!(lsn(&receiving), Some(5), "though it is being handled");
    assert_eq!(receiving.caught_up_since(1), None, "once");
}

#[test]
fn what_was_lost_is_not_waited_for() {
    let mut receiving = open();
    hear(
        &mut receiving,
        [delivered(1, 0, &RECORDS), told(5), lost(0, 1)],
    );
    assert_eq!(lsn(&receiving), Some(5), "the other one with it");
}

#[test]
fn it_is_over_when_more_comes_or_the_connection_breaks() {
    let mut receiving = open();
    hear(&mut receiving, [told(5)]);
    assert_eq!(lsn(&receiving), Some(5));
    hear(&mut receiving, [delivered(1, 0, &RECORDS)]);
    take_all(&mut receiving);
    assert_eq!(lsn(&receiving), None, "told before these");
    hear(&mut receiving, [told(6)]);
    assert_eq!(receiving.caught_up_since(1).map(|it| it.0), Some(2));
    receiving.disconnect();
    assert_eq!(lsn(&receiving), None, "nobody knows");
    connect(&mut receiving, opened());
    hear(&mut receiving, [told(7)]);
    assert_eq!(receiving.caught_up_since(2).map(|it| it.0), Some(3));
    receiving.leave();
    assert_eq!(lsn(&receiving), None, "nothing comes any more");
}

#[test]
fn who_has_all_that_it_may_have_is_full() {
    let mut receiving = open();
    let records: Vec<_> = (0..RECORDS_MAX).map(|offset| (offset, None)).collect();
    hear(&mut receiving, [delivered(1, 0, &records[1..])]);
    assert!(!receiving.is_full(), "one may come");
    hear(&mut receiving, [delivered(2, 0, &records[..1])]);
    assert!(receiving.is_full());
    let mut tickets = take_all(&mut receiving);
    assert!(receiving.is_full(), "whoever has them");
    let first = tickets.remove(&0).unwrap();
    drop(ack(&mut receiving, first));
    assert!(receiving.is_full(), "the broker was told of no room yet");
    for offset in 1..4 {
        let ticket = tickets.remove(&offset).unwrap();
        drop(ack(&mut receiving, ticket));
    }
    requests(&mut receiving);
    assert!(!receiving.is_full());
}
