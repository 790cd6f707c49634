//! Choosing and packing what a consumer gets next.

use std::collections::BTreeSet;

use bytes::BytesMut;
use towpath_proto::batch::{self, NewRecord, Records};
use towpath_proto::v1;
use towpath_proto::wire::Delivered;

use super::state::{FakeSubscription, Place, RecordState};
use crate::fake::State;

/// Records of one delivery at most.
const RECORDS_MAX: usize = 8;

/// The next delivery for a consumer, if there is one.
pub(super) fn next(
    state: &mut State,
    name: &str,
    consumer: &[u8],
    credit: i64,
) -> Option<Delivered> {
    let State {
        log, subscriptions, ..
    } = state;
    let subscription = subscriptions.get_mut(name)?;
    let topic = log.topics.get(&subscription.shown.topic)?;
    for (number, partition) in (0..).zip(&topic.partitions) {
        for stored in &partition.batches {
            let offsets = stored.fetched.base_offset..;
            for (offset, record) in offsets.zip(Records::new(&stored.fetched.batch)) {
                let key = record.unwrap().key().map(<[u8]>::to_vec);
                subscription.add((number, offset), key);
            }
        }
    }
    if subscription.shown.is_paused {
        return None;
    }
    let most = RECORDS_MAX.min(usize::try_from(credit).unwrap_or(0));
    let places = ready(subscription, most);
    let delivery = subscription.next_delivery();
    let mut bytes = BytesMut::new();
    let mut spans = Vec::new();
    for place in &places {
        subscription.lease(*place, consumer, delivery);
        let batches = topic.partitions[place.0 as usize].batches.iter();
        let stored = { batches }.find(|it| it.fetched.next_offset().get() > place.1)?;
        let index = usize::try_from(place.1 - stored.fetched.base_offset).unwrap();
        let record = Records::new(&stored.fetched.batch).nth(index)?.unwrap();
        let copy = NewRecord {
            key: record.key(),
            value: record.value(),
            headers: record.headers(),
            event_time_ms: record.event_time_ms(),
        };
        copy.put(&mut bytes);
        spans.push(v1::DeliveredSpan {
            first_offset: place.1,
            record_count: 1,
            attempt: 1 + subscription.records[place].failed_attempts,
            lsn: stored.fetched.lsn,
            append_time_ms: stored.fetched.append_time_ms,
        });
    }
    let partition = places.first()?.0;
    Some(Delivered {
        delivery,
        is_dead_letter: false,
        partition,
        spans,
        crc: batch::crc(&bytes),
        batch: bytes.freeze(),
    })
}

/// Records of one partition that may be delivered: in ordered modes none with an earlier one of its key
/// that waits.
fn ready(subscription: &FakeSubscription, most: usize) -> Vec<Place> {
    let is_ordered = subscription.mode() != v1::SubscriptionMode::Shared;
    let mut blocked = BTreeSet::new();
    let mut places: Vec<Place> = Vec::new();
    for (place, record) in &subscription.records {
        let key = record.key.as_ref().filter(|_| is_ordered);
        let key = key.map(|key| (place.0, key));
        let is_free = key.is_none_or(|key| !blocked.contains(&key));
        let is_same = places.first().is_none_or(|first| first.0 == place.0);
        match record.state {
            RecordState::Ready if is_free && is_same && places.len() < most => places.push(*place),
            RecordState::Ready | RecordState::Waiting(_) => blocked.extend(key),
            RecordState::Leased(_) | RecordState::Done => {}
        }
    }
    places
}
