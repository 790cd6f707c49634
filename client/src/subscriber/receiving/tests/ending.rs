//! How a consumer goes.

use super::*;
use crate::{ErrorKind, ErrorReason};

const THREE: [(u64, Option<&str>); 3] = [(0, None), (1, None), (2, None)];

/// A consumer that has begun with one record of three, and has the rest.
fn busy() -> (Receiving, Ticket) {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &THREE)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are three");
    };
    requests(&mut receiving);
    hear(&mut receiving, [settled(1)]);
    (receiving, ticket)
}

fn has_left(said: &[Request]) -> bool {
    said.iter().any(|it| matches!(it, Request::Leave(_)))
}

#[test]
fn a_drain_takes_no_more_and_waits_for_what_was_begun() {
    let mut receiving = open();
    hear(&mut receiving, [delivered(1, 0, &THREE)]);
    let Taken::Record(_, ticket) = receiving.take(Instant::now()) else {
        panic!("there are three");
    };
    receiving.drain(Instant::now() + Duration::from_secs(10));
    assert!(
        matches!(receiving.take(Instant::now()), Taken::End),
        "no more"
    );
    let held = receiving.held.extendable(Instant::now());
    assert_eq!(held.count(), 1, "nothing else is kept");
    let said = requests(&mut receiving);
    let [Request::Settle(start), Request::Stop(_)] = &said[..] else {
        panic!("first what was begun, which is not to be given back: {said:?}")
    };
    assert_eq!(describe(start), "1: start 0..1");
    // What was on its way is given back by the broker, too.
    hear(&mut receiving, [delivered(2, 0, &[(7, None)]), settled(1)]);
    let said = requests(&mut receiving);
    assert!(said.is_empty(), "one is busy: {said:?}");
    assert!(!receiving.is_leaving(), "one is busy");
    receiving.settle(ticket, DeliveryOutcome::Ack, None);
    let said = requests(&mut receiving);
    assert!(!has_left(&said), "not confirmed: {said:?}");
    hear(&mut receiving, [settled(1)]);
    assert!(has_left(&requests(&mut receiving)), "that was all");
}

#[test]
fn what_was_begun_is_said_before_the_rest_is_given_back_also_while_the_broker_is_busy() {
    let mut receiving = open();
    let records: Vec<_> = (0..6).map(|offset| (offset, None)).collect();
    hear(&mut receiving, [delivered(1, 0, &records)]);
    for _ in 0..5 {
        let taken = receiving.take(Instant::now());
        assert!(matches!(taken, Taken::Record(..)), "there are six");
        requests(&mut receiving);
    }
    receiving.drain(Instant::now() + Duration::from_secs(10));
    let said = requests(&mut receiving);
    assert!(said.is_empty(), "four are not confirmed: {said:?}");
    hear(&mut receiving, [settled(1)]);
    let said = requests(&mut receiving);
    assert!(
        matches!(&said[..], [Request::Settle(_), Request::Stop(_)]),
        "{said:?}"
    );
}

#[test]
fn a_drain_goes_on_over_the_next_connection() {
    let (mut receiving, ticket) = busy();
    receiving.drain(Instant::now() + Duration::from_secs(10));
    receiving.disconnect();
    let said = connect(&mut receiving, opened());
    let is_asking = |it: &Request| matches!(it, Request::Credit(_) | Request::Stop(_));
    assert!(!said.iter().any(is_asking), "no more, by itself: {said:?}");
    receiving.settle(ticket, DeliveryOutcome::Ack, None);
    requests(&mut receiving);
    hear(&mut receiving, [settled(1), settled(1)]);
    assert!(has_left(&requests(&mut receiving)), "that was all");
}

#[test]
fn a_drain_ends_in_time() {
    let (mut receiving, ticket) = busy();
    let deadline = Instant::now() + Duration::from_secs(5);
    receiving.drain(Instant::now() + Duration::from_hours(1));
    receiving.drain(deadline);
    requests(&mut receiving);
    assert_eq!(receiving.next_time(), Some(deadline), "the shorter one");
    receiving.pass_time(deadline);
    assert!(has_left(&requests(&mut receiving)), "whatever was begun");
    let mut answer = ack(&mut receiving, ticket);
    let error = answer.try_recv().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::LeaseExpired), "{error}");
}

#[test]
fn who_leaves_now_waits_for_what_was_said_only() {
    let (mut receiving, ticket) = busy();
    let mut answer = ack(&mut receiving, ticket);
    receiving.leave();
    let said = requests(&mut receiving);
    assert!(!has_left(&said), "not confirmed: {said:?}");
    hear(&mut receiving, [settled(1)]);
    answer.try_recv().unwrap().unwrap();
    assert!(has_left(&requests(&mut receiving)), "with the rest");
    let said = requests(&mut receiving);
    assert!(said.is_empty(), "nothing more: {said:?}");
}

#[test]
fn who_waits_for_a_confirmation_hears_of_the_end() {
    let (mut receiving, ticket) = busy();
    let mut answer = ack(&mut receiving, ticket);
    let (sender, mut all) = oneshot::channel();
    receiving.wait_for_confirmations(sender);
    receiving.finish();
    for answer in [&mut answer, &mut all] {
        let error = answer.try_recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(error.may_have_happened(), "{error}");
    }
}

#[test]
fn why_it_failed_is_told_once() {
    let (mut receiving, _ticket) = busy();
    receiving.fail(Error::corrupt("damaged"));
    let Taken::Failed(error) = receiving.take(Instant::now()) else {
        panic!("why");
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(matches!(receiving.take(Instant::now()), Taken::End), "once");
}
