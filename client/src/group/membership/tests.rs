//! What a member does with what it hears.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use tokio::sync::oneshot;
use towpath_proto::batch::{self, NewRecord};
use towpath_proto::ids::{Generation, PartitionId};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::wire::FetchedBatch;
use towpath_proto::wire::join_response::Response;

use super::*;
use crate::Start;
use crate::testing::for_seeds;

mod schedule;

const PARTITIONS: u32 = 4;
const RECORDS_MAX: u64 = 20;

fn options() -> GroupOptions {
    GroupOptions {
        group: "billing".to_owned(),
        client_name: "test".to_owned(),
        topics: vec!["orders".to_owned()],
        start: Some(Start::Beginning),
        skip_data_loss: false,
        stop_at_trimmed: false,
        records_max: RECORDS_MAX,
        bytes_max: 1 << 20,
    }
}

fn batch_of(partition: u32, base_offset: u64, record_count: u32) -> FetchedBatch {
    let mut bytes = BytesMut::new();
    for _ in 0..record_count {
        let record = NewRecord {
            key: None,
            value: Some(b"v".as_slice()),
            headers: std::iter::empty(),
            event_time_ms: None,
        };
        record.put(&mut bytes);
    }
    FetchedBatch {
        partition,
        base_offset,
        record_count,
        lsn: 1,
        crc: batch::crc(&bytes),
        batch: bytes.freeze(),
        ..FetchedBatch::default()
    }
}

fn joined() -> Response {
    Response::Joined(v1::Joined {
        topics: vec![v1::JoinedTopic {
            handle: 0,
            topic: "orders".to_owned(),
            topic_id: 7,
            partition_count: PARTITIONS,
        }],
        heartbeat_interval_ms: 5_000,
        session_timeout_ms: 15_000,
        broker_id: "0f".to_owned(),
        group_id: 3,
    })
}

fn assigned(generation: u64, partition: u32, committed_offset: u64) -> Response {
    Response::Assigned(v1::Assigned {
        generation,
        partitions: vec![v1::AssignedPartition {
            handle: 0,
            partition,
            committed_offset,
            end_offset: 0,
        }],
    })
}

fn refs(partition: u32, generation: u64) -> Vec<v1::AssignmentRef> {
    vec![v1::AssignmentRef {
        handle: 0,
        partition,
        generation,
    }]
}

fn heartbeat() -> Response {
    Response::Heartbeat(v1::Heartbeat::default())
}

/// A member that owns partition 0 in generation 1.
fn member() -> Membership {
    let mut member = Membership::new(options(), [1; 16]);
    member.begin();
    let first = member.take_request().unwrap().request.unwrap();
    assert!(matches!(first, Request::Join(_)), "{first:?}");
    hear(&mut member, [joined(), assigned(1, 0, 0)]);
    member
}

/// What it owns.
fn owned() -> Assignment {
    Assignment {
        topic: "orders".parse().unwrap(),
        partition: PartitionId::new(0),
        generation: Generation::new(1),
    }
}

fn hear(member: &mut Membership, responses: impl IntoIterator<Item = Response>) {
    for response in responses {
        let heard = member.take(Some(response));
        assert!(matches!(heard, Heard::GoOn | Heard::Joined), "{heard:?}");
    }
}

/// What is handed out, in short.
fn items(member: &mut Membership) -> Vec<String> {
    std::iter::from_fn(|| member.take_item())
        .map(|item| match item.unwrap() {
            GroupItem::Batch(batch) => format!("{} {}", batch.partition(), batch.offsets()),
            GroupItem::Assigned(_) => "assigned".to_owned(),
            GroupItem::Revoking(_) => "revoking".to_owned(),
            GroupItem::Lost(_) => "lost".to_owned(),
            GroupItem::Stopped(_) => "stopped".to_owned(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn requests(member: &mut Membership) -> Vec<Request> {
    std::iter::from_fn(|| member.take_request())
        .filter_map(|request| request.request)
        .collect()
}

#[test]
fn what_waits_of_a_lost_partition_is_dropped() {
    let mut member = member();
    let lost = |partitions| Response::Lost(v1::Lost { partitions });
    hear(
        &mut member,
        [Response::Batch(batch_of(0, 0, 3)), lost(refs(0, 1))],
    );
    assert_eq!(items(&mut member), ["assigned", "lost"]);
    // Of another generation, and from the committed offset.
    let again = Response::Batch(batch_of(0, 1, 2));
    hear(&mut member, [assigned(2, 0, 1), again]);
    let taken = items(&mut member);
    assert_eq!(taken[0], "assigned");
    assert!(taken[1].starts_with("0 1"), "{taken:?}");
}

#[test]
fn a_partition_that_stops_is_told_once_for_each_assignment() {
    let mut member = member();
    let failed = || {
        let damaged = Problem::new(ErrorReason::LogCorrupt, "damaged");
        Response::Failed(v1::SourceFailed {
            handle: 0,
            partition: Some(0),
            error: Some(damaged.into()),
        })
    };
    hear(&mut member, [failed()]);
    assert_eq!(items(&mut member), ["assigned", "stopped"]);
    member.disconnect();
    member.begin();
    // The broker comes to it once more.
    hear(&mut member, [joined(), assigned(1, 0, 0), failed()]);
    assert!(items(&mut member).is_empty(), "told before");
    hear(&mut member, [assigned(2, 0, 0), failed()]);
    assert_eq!(items(&mut member), ["lost", "assigned", "stopped"]);
}

#[test]
fn nothing_is_handed_out_before_the_broker_confirms_the_partition_again() {
    let mut member = member();
    hear(&mut member, [Response::Batch(batch_of(0, 0, 3))]);
    member.disconnect();
    assert_eq!(items(&mut member), ["assigned"]);
    member.begin();
    hear(&mut member, [joined()]);
    assert!(items(&mut member).is_empty(), "not known yet");
    // Sent again from the committed offset: what waits is not taken twice.
    hear(
        &mut member,
        [assigned(1, 0, 0), Response::Batch(batch_of(0, 0, 3))],
    );
    assert_eq!(items(&mut member).len(), 1);
    member.disconnect();
    member.begin();
    hear(&mut member, [joined(), heartbeat()]);
    assert_eq!(items(&mut member), ["lost"]);
}

#[test]
fn a_return_that_did_not_arrive_is_said_again() {
    let mut member = member();
    let revoking = Response::Revoking(v1::Revoking {
        partitions: refs(0, 1),
        grace_ms: 10,
    });
    hear(
        &mut member,
        [Response::Batch(batch_of(0, 0, 3)), revoking.clone()],
    );
    assert_eq!(items(&mut member), ["assigned", "revoking"]);
    requests(&mut member);
    member.give_back(&[owned()]);
    member.disconnect();
    member.begin();
    hear(&mut member, [joined(), assigned(1, 0, 0), revoking]);
    assert!(items(&mut member).is_empty(), "it was given back");
    let said = requests(&mut member);
    assert!(
        said.iter().any(|it| matches!(it, Request::Return(_))),
        "{said:?}"
    );
}

/// Commits partition 0 in generation 1.
fn commit(member: &mut Membership, offset: u64) -> oneshot::Receiver<Result<(), Error>> {
    let (answer, answered) = oneshot::channel();
    let offset = GroupOffset::new(&owned(), Offset::new(offset));
    member.commit(&[offset], answer);
    answered
}

#[test]
fn what_was_committed_goes_before_the_partition_is_given_back() {
    let mut member = member();
    items(&mut member);
    requests(&mut member);
    drop(commit(&mut member, 0));
    member.hurry();
    let said = requests(&mut member);
    assert!(matches!(said[..], [Request::Commit(_)]), "{said:?}");
    drop(commit(&mut member, 0));
    member.give_back(&[owned()]);
    let said = requests(&mut member);
    let is_in_order = matches!(said[..], [Request::Commit(_), Request::Return(_)]);
    assert!(is_in_order, "{said:?}");
}

#[test]
fn a_member_leaves_when_its_commits_are_answered() {
    let mut member = member();
    items(&mut member);
    requests(&mut member);
    let mut answered = commit(&mut member, 3);
    member.leave();
    let said = requests(&mut member);
    assert!(matches!(said[..], [Request::Commit(_)]), "{said:?}");
    let results = vec![v1::CommitResult::default()];
    hear(
        &mut member,
        [Response::Committed(v1::Committed { results })],
    );
    answered.try_recv().unwrap().unwrap();
    let said = requests(&mut member);
    assert!(matches!(said[..], [Request::Leave(_)]), "{said:?}");
}

#[test]
fn a_commit_after_the_end_tells_why_it_ended() {
    let mut member = member();
    let reason_of_commit = |member: &mut Membership| {
        let refused = commit(member, 3).try_recv().unwrap();
        refused.unwrap_err().reason()
    };
    let deleted = Problem::new(ErrorReason::GroupNotFound, "it was deleted");
    member.fail(Error::from_stream(&deleted.into()));
    let why = Some(ErrorReason::GroupNotFound);
    assert_eq!(reason_of_commit(&mut member), why, "before it was told");
    while member.take_item().is_some() {}
    assert!(member.is_finished(), "it was told");
    assert_eq!(reason_of_commit(&mut member), why, "behind that");
}

fn gone(handle: u32) -> Response {
    let topic = ["orders", "payments"][handle as usize];
    let problem = Problem::new(ErrorReason::TopicNotFound, "it was deleted").with("topic", topic);
    Response::Failed(v1::SourceFailed {
        handle,
        partition: None,
        error: Some(problem.into()),
    })
}

#[test]
fn a_member_that_joins_again_names_what_it_found_first() {
    let mut member = member();
    member.disconnect();
    member.begin();
    let Some(Request::Join(join)) = requests(&mut member).into_iter().next() else {
        panic!("it joins first");
    };
    let known = v1::Rejoin {
        broker_id: "0f".to_owned(),
        group_id: 3,
        topic_ids: vec![7],
    };
    assert_eq!(join.rejoin, Some(known));
    let Response::Joined(mut other) = joined() else {
        unreachable!()
    };
    other.topics[0].topic_id += 1;
    let heard = member.take(Some(Response::Joined(other)));
    assert!(matches!(heard, Heard::Over(_)), "not asked for: {heard:?}");
}

#[test]
fn topics_that_are_gone_are_told_once_each_and_the_last_one_ends_the_member() {
    let two = GroupOptions {
        topics: vec!["orders".to_owned(), "payments".to_owned()],
        ..options()
    };
    let Response::Joined(mut joined) = joined() else {
        unreachable!()
    };
    joined.topics.push(v1::JoinedTopic {
        handle: 1,
        topic: "payments".to_owned(),
        topic_id: 8,
        partition_count: 1,
    });
    let joined = Response::Joined(joined);
    let mut member = Membership::new(two, [1; 16]);
    let mut told = |responses: Vec<Response>| {
        member.begin();
        hear(&mut member, responses);
        member.disconnect();
        let items = std::iter::from_fn(|| member.take_item());
        let errors = items.filter_map(Result::err);
        let topics: Vec<_> = errors
            .map(|it| it.metadata("topic").unwrap().to_owned())
            .collect();
        (topics, member.is_finished())
    };
    let first = vec![joined.clone(), assigned(1, 0, 0), gone(1)];
    assert_eq!(told(first), (vec!["payments".to_owned()], false));
    let again = vec![joined.clone(), assigned(1, 0, 0), gone(1)];
    assert_eq!(told(again), (vec![], false), "known");
    let last = vec![joined, gone(1), gone(0)];
    assert_eq!(told(last), (vec!["orders".to_owned()], true));
}

#[test]
fn a_limit_may_be_as_large_as_a_number_can_be() {
    let mut member = Membership::new(
        GroupOptions {
            records_max: u64::MAX,
            bytes_max: u64::MAX,
            ..options()
        },
        [7; 16],
    );
    member.begin();
    hear(&mut member, [joined(), assigned(1, 0, 0)]);
    hear(&mut member, [Response::Batch(batch_of(0, 0, 20))]);
    items(&mut member);
    let credits = requests(&mut member).into_iter().filter_map(|it| match it {
        Request::Credit(credit) => Some(credit.records),
        _ => None,
    });
    assert!(credits.sum::<u64>() > 1 << 40, "plenty");
}

#[test]
fn the_broker_may_send_no_more_than_there_is_room_for() {
    let mut member = member();
    items(&mut member);
    let credit = |requests: Vec<Request>| -> u64 {
        let credits = requests.iter().map(|it| match it {
            Request::Credit(credit) => credit.records,
            _ => 0,
        });
        credits.sum()
    };
    assert_eq!(credit(requests(&mut member)), RECORDS_MAX);
    hear(&mut member, [Response::Batch(batch_of(0, 0, 20))]);
    assert_eq!(credit(requests(&mut member)), 0, "full");
    member.disconnect();
    member.begin();
    hear(&mut member, [joined(), assigned(1, 0, 0)]);
    assert_eq!(credit(requests(&mut member)), 0, "still full");
    items(&mut member);
    assert_eq!(credit(requests(&mut member)), RECORDS_MAX, "taken");
}
