//! Calls that go through dead letters: what they tell, and how they go on.

use super::*;

/// Letters of two keys: each has a dead one and, behind it, those that are parked.
async fn with_two_keys() -> TestBroker {
    let records = [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("b", "b2"),
        ("a", "a3"),
    ];
    with_letters(wish(), &records, &["a", "b"]).await
}

/// Only dead ones: of each key the first.
fn dead_ones() -> v1::RedriveDeadLettersRequest {
    v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.set_kind(v1::DeadLetterKind::Dead))),
        ..all()
    }
}

fn resumed_at(
    token: &str,
    request: v1::RedriveDeadLettersRequest,
) -> v1::RedriveDeadLettersRequest {
    v1::RedriveDeadLettersRequest {
        resume_token: token.to_owned(),
        ..request
    }
}

/// All that a call tells.
async fn told(
    broker: &TestBroker,
    request: v1::RedriveDeadLettersRequest,
) -> Vec<v1::RedriveDeadLettersResponse> {
    let responses = soon(client(broker).redrive_dead_letters(request)).await;
    let mut responses = responses.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(response) = soon(responses.message()).await.unwrap() {
        told.push(response);
    }
    told
}

async fn dead_count(broker: &TestBroker) -> usize {
    let request = v1::ListDeadLettersRequest {
        state: v1::DeadLetterState::Dead.into(),
        ..v1::ListDeadLettersRequest::default()
    };
    list(broker, request).await.len()
}

fn named(offsets: &[u64]) -> v1::DeadLetterFilter {
    let letters = offsets.iter().map(|offset| v1::DeadLetterRef {
        partition: 0,
        offset: *offset,
    });
    filter(|it| it.letters = letters.collect())
}

#[tokio::test]
async fn letters_that_are_named_and_are_not_there_are_told() {
    let broker = with_two_keys().await;
    let redrive_of = |offsets: &[u64]| v1::RedriveDeadLettersRequest {
        filter: Some(named(offsets)),
        validate_only: true,
        ..all()
    };
    let discard_of = |offsets: &[u64]| v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        filter: Some(named(offsets)),
        reason: "a test".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    for none in [&[77][..], &[5, 6, 77]] {
        let refused = redrive(&broker, redrive_of(none)).await;
        refusal(refused.map(|_| ()), ErrorReason::DeadLetterNotFound);
        let refused = discard(&broker, discard_of(none)).await;
        refusal(refused.map(|_| ()), ErrorReason::DeadLetterNotFound);
    }
    let some = told(&broker, redrive_of(&[77, 0, 5])).await;
    let missing = |of: &[v1::DeadLetterRef]| of.iter().map(|it| it.offset).collect::<Vec<_>>();
    assert_eq!(missing(&some[0].missing), [5, 77]);
    assert!(some[1..].iter().all(|it| it.missing.is_empty()), "once");
    assert!(some.last().unwrap().redriven_count > 0, "the other one");
    let gone = discard(&broker, discard_of(&[0])).await;
    assert_eq!(gone.unwrap().discarded_count, 1);
    let again = discard(&broker, discard_of(&[0])).await;
    refusal(again.map(|_| ()), ErrorReason::DeadLetterNotFound);
    // What a call that goes on names may be done with since.
    let resumed = resumed_at(&some[0].resume_token, redrive_of(&[0]));
    assert_eq!(told(&broker, resumed).await.len(), 2, "begun and ended");
    broker.stop().await;
}

#[tokio::test]
async fn wherever_a_call_is_interrupted_nothing_is_told_twice() {
    let broker = with_two_keys().await;
    let one = v1::DeadLetterRef {
        partition: 0,
        offset: 0,
    };
    // One key is on its way already.
    let first = v1::RedriveDeadLettersRequest {
        filter: Some(filter(|it| it.letters = vec![one])),
        ..all()
    };
    redrive(&broker, first).await.unwrap();
    for request in [all(), dead_ones()] {
        let dry = v1::RedriveDeadLettersRequest {
            records_per_second_max: 1,
            validate_only: true,
            ..request
        };
        let steps = told(&broker, dry.clone()).await;
        let counts = |it: &v1::RedriveDeadLettersResponse| (it.redriven_count, it.passed_count);
        let all = counts(steps.last().unwrap());
        assert_eq!(all.0 + all.1, 5);
        assert!(all.0 > 0 && all.1 > 0, "{all:?}");
        for step in steps.iter().filter(|it| !it.is_done) {
            let rest = told(&broker, resumed_at(&step.resume_token, dry.clone())).await;
            let (before, rest) = (counts(step), counts(rest.last().unwrap()));
            let sum = (before.0 + rest.0, before.1 + rest.1);
            assert_eq!(sum, all, "from {}", step.resume_token);
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_was_parked_behind_a_key_that_was_done_before_an_interruption_follows_it() {
    let broker = with_letters(wish(), &RECORDS[..2], &["a", "b"]).await;
    publish(&broker, &[("a", "a2"), ("b", "b2")]).await;
    let consumer = Consumer::open(&broker, 2).await;
    list_until(&broker, 4).await;
    drop(consumer);
    // It began before these were parked, and is cut off when it has come to the second key.
    let begun = v1::RedriveDeadLettersRequest {
        records_per_second_max: 2,
        ..resumed_at("0/0//2", dead_ones())
    };
    let responses = soon(client(&broker).redrive_dead_letters(begun)).await;
    let mut responses = responses.unwrap().into_inner();
    let key = |token: &str| token.split('/').nth(2).unwrap_or_default().to_owned();
    let mut keys = Vec::new();
    let mut token = String::new();
    while keys.len() < 2 {
        let response = soon(responses.message()).await.unwrap().unwrap();
        token = response.resume_token;
        if !key(&token).is_empty() && keys.last() != Some(&key(&token)) {
            keys.push(key(&token));
        }
    }
    drop(responses);
    // What the filter has found of the first key is handled meanwhile.
    let mut consumer = Consumer::open(&broker, 3).await;
    while consumer.has.is_empty() {
        let response = consumer.next().await;
        consumer.take(response);
    }
    consumer.ack_all().await;
    drop(consumer);
    let rest = redrive(&broker, resumed_at(&token, dead_ones())).await;
    assert!(rest.unwrap().0.is_done, "to the end");
    assert_eq!(
        dead_count(&broker).await,
        0,
        "each was handled or is on its way"
    );
    broker.stop().await;
}

#[tokio::test]
async fn what_follows_a_key_keeps_the_rate_and_is_told() {
    let records: Vec<_> = (0..6).map(|_| ("a", "v")).collect();
    for request in [all(), dead_ones()] {
        let broker = with_letters(wish(), &records, &["a"]).await;
        let begun = v1::RedriveDeadLettersRequest {
            records_per_second_max: 3,
            ..resumed_at("0/0//1", request)
        };
        let steps = told(&broker, begun).await;
        let counts: Vec<_> = steps.iter().map(|it| it.redriven_count).collect();
        let is_slow = counts.is_sorted_by(|before, after| before + 3 >= *after);
        assert!(is_slow && counts.last() == Some(&6), "{counts:?}");
        broker.stop().await;
    }
}

#[tokio::test]
async fn what_is_on_its_way_already_is_passed_at_once() {
    let records: Vec<_> = (0..200).map(|_| ("a", "v")).collect();
    let broker = with_letters(wish(), &records, &["a"]).await;
    redrive(&broker, all()).await.unwrap();
    for request in [all(), dead_ones()] {
        let slow = v1::RedriveDeadLettersRequest {
            records_per_second_max: 1,
            ..request
        };
        let (done, _) = redrive(&broker, slow).await.unwrap();
        assert_eq!((done.redriven_count, done.passed_count), (0, 200));
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_waits_for_one_of_its_key_that_is_dead_again_says_so() {
    let broker = with_letters(wish(), &RECORDS, &["b"]).await;
    redrive(&broker, all()).await.unwrap();
    let mut consumer = Consumer::open(&broker, 2).await;
    while !consumer.has.contains_key(&(DEAD, 0)) {
        let response = consumer.next().await;
        consumer.take(response);
    }
    assert!(consumer.settle((DEAD, 0), dead("never")).await);
    let letters = list_until(&broker, 2).await;
    let facts: Vec<_> = letters
        .iter()
        .map(|it| (it.state(), it.behind_offset))
        .collect();
    let expected = [
        (v1::DeadLetterState::Dead, None),
        (v1::DeadLetterState::Redriven, Some(0)),
    ];
    assert_eq!(facts, expected);
    broker.stop().await;
}
