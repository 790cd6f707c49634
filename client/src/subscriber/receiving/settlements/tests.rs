//! How much one request holds.

use std::time::Duration;

use towpath_proto::v1::settlement::Outcome;

use super::*;

fn ticket(offset: u64) -> Ticket {
    Ticket {
        delivery: DeliveryId::new(1),
        place: Place {
            source: Source::new(0, false),
            offset: Offset::new(offset),
        },
        lane: None,
        holds_lane: false,
    }
}

fn record_count(request: &v1::SettleDeliveries) -> u64 {
    let ranges = request.settlements.iter().flat_map(|it| &it.ranges);
    ranges.map(|it| it.end - it.start).sum()
}

#[test]
fn a_request_names_no_more_records_than_the_broker_takes() {
    let mut settlements = Settlements::default();
    for offset in 0..100_000 {
        settlements.settle(&ticket(offset), DeliveryOutcome::Ack, None, None);
    }
    let requests: Vec<_> = std::iter::from_fn(|| settlements.take()).collect();
    let counts: Vec<_> = requests.iter().map(record_count).collect();
    assert_eq!(counts, [RECORDS_MAX, 100_000 - RECORDS_MAX]);
}

#[test]
fn a_request_with_many_words_stays_small() {
    let mut settlements = Settlements::default();
    for offset in 0..3_000 {
        let outcome = DeliveryOutcome::nack(format!("{offset}{}", "é".repeat(200)));
        settlements.settle(&ticket(offset), outcome, None, None);
    }
    let requests: Vec<_> = std::iter::from_fn(|| settlements.take()).collect();
    let counts: Vec<_> = requests.iter().map(record_count).collect();
    assert_eq!(counts, [1_024, 1_024, 952]);
    let reasons = requests.iter().flat_map(|it| &it.settlements);
    let is_short = |it: &v1::Settlement| match it.outcome.as_ref().unwrap() {
        Outcome::Nack(nack) => nack.reason.len() <= 200,
        other => panic!("{other:?}"),
    };
    assert!({ reasons }.all(is_short), "cut, at a character");
}

#[test]
fn a_wait_is_as_long_as_the_broker_takes() {
    let mut settlements = Settlements::default();
    let outcome = DeliveryOutcome::retry_after(Duration::MAX, "later");
    settlements.settle(&ticket(0), outcome, None, None);
    let request = settlements.take().unwrap();
    let Some(Outcome::Nack(nack)) = &request.settlements[0].outcome else {
        panic!("{request:?}")
    };
    assert_eq!(nack.delay_ms, Some(86_400_000), "a day");
}

#[test]
fn a_confirmation_of_something_else_is_noticed() {
    let mut settlements = Settlements::default();
    settlements.confirm(&v1::Settled::default()).unwrap_err();
    settlements.settle(&ticket(0), DeliveryOutcome::Ack, None, None);
    settlements.take().unwrap();
    settlements.confirm(&v1::Settled::default()).unwrap_err();
}
