//! Consumer groups over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use towpath_broker::Config;
use towpath_proto::limits;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::join_request::Request;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::seek_group_request::Target;
use towpath_proto::wire::join_response::Response;

use crate::group_member::{
    Member, RECORDS, get, groups, heartbeat, wish, with_records, with_records_and,
};
use crate::harness::{
    TestBroker, check_facts, config, connect, position, problem_of, refusal, soon,
};
use crate::trim::{before, of, trim};

#[tokio::test]
async fn a_group_goes_on_where_it_has_committed() {
    let broker = with_records().await;
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    let mut read: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    while read.values().map(Vec::len).sum::<usize>() < 12 {
        let (partition, values) = member.batch().await;
        read.entry(partition).or_default().extend(values);
    }
    assert_eq!(read[&2], ["2-0", "2-1", "2-2"]);
    assert_eq!(member.commit(2, 2).await.committed_offset, 2);
    assert_eq!(member.commit(2, 1).await.committed_offset, 2, "never back");
    let beyond = member.commit(2, 4).await.error.unwrap();
    let facts = [
        ("topic", "orders"),
        ("partition", "2"),
        ("requested", "4"),
        ("log_start_offset", "0"),
        ("end_offset", "3"),
    ];
    let problem = problem_of(Some(&beyond));
    assert_eq!(problem.reason(), ErrorReason::OffsetOutOfRange);
    check_facts(&problem, &facts);
    let shown = get(&broker).await;
    assert_eq!(shown.state(), v1::GroupState::Stable);
    assert_eq!(shown.members[0].client_name, "member 1");
    let partition = &shown.partitions[2];
    assert_eq!((partition.committed_offset, partition.lag_records), (2, 1));
    assert_eq!(shown.partitions[0].lag_records, 3);
    member.send(Request::Leave(v1::LeaveGroup {})).await;
    while member.try_next().await.unwrap().is_some() {}
    assert_eq!(get(&broker).await.state(), v1::GroupState::Empty);

    let broker = broker.restart().await;
    // It need not be told where to start a second time.
    let again = v1::JoinGroup {
        start: None,
        ..wish(2)
    };
    let mut member = Member::try_join(&broker, again).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 10 {
        let (partition, values) = member.batch().await;
        assert!(partition < 4, "a partition of the topic");
        read.extend(values);
    }
    assert!(!read.contains(&"2-0".to_owned()) && read.contains(&"2-2".to_owned()));
}

#[tokio::test]
async fn records_that_are_gone_count_once_however_many_commits_were_refused() {
    let broker = with_records().await;
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    member.send(Request::Leave(v1::LeaveGroup {})).await;
    while member.try_next().await.unwrap().is_some() {}
    let orders = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(2))
    };
    trim(&broker, of(&[0], orders)).await;
    let mut member = Member::join(&broker, 2).await;
    member.owns(4).await;
    while !matches!(member.next().await, Response::Gap(_)) {}
    let generation = member.owned.insert(0, 1_000).unwrap();
    let refused = member.commit(0, 2).await.error.unwrap();
    assert_eq!(refused.reason(), v1::ErrorReason::GenerationStale);
    member.owned.insert(0, generation);
    let refused = member.commit(0, 9).await.error.unwrap();
    assert_eq!(refused.reason(), v1::ErrorReason::OffsetOutOfRange);
    let skipped = async || get(&broker).await.partitions[0].skipped_records;
    assert_eq!(skipped().await, 0, "none were committed over");
    for (offset, expected) in [(1, 1), (3, 2), (2, 2)] {
        assert_eq!(member.commit(0, offset).await.error, None);
        assert_eq!(skipped().await, expected, "committed to {offset}");
    }
}

#[tokio::test]
async fn members_share_and_take_over() {
    let broker = with_records().await;
    let mut first = Member::join(&broker, 1).await;
    first.owns(4).await;
    let mut second = Member::join(&broker, 2).await;
    assert_eq!(first.return_revoked().await, 2);
    second.owns(2).await;
    let kept = first.owned.clone();
    let shared = second.owned.keys().filter(|it| kept.contains_key(it));
    assert_eq!(shared.count(), 0, "{kept:?} {:?}", second.owned);

    let lost = *second.owned.keys().next().unwrap();
    let stale = first.commit(lost, 1).await.error.unwrap();
    assert_eq!(stale.reason(), v1::ErrorReason::GenerationStale);
    let named = format!("partition {lost} of topic \"orders\"");
    assert!(stale.message.starts_with(&named), "{}", stale.message);
    // Cut off, not gone by its own will.
    drop(second);
    first.owns(4).await;
    assert!(
        kept.iter()
            .all(|(it, generation)| first.owned[it] == *generation)
    );
}

#[tokio::test]
async fn a_member_that_goes_on_elsewhere_replaces_itself() {
    let broker = with_records().await;
    let mut before = Member::join(&broker, 1).await;
    before.owns(4).await;
    let mut after = Member::join(&broker, 1).await;
    after.owns(4).await;
    assert_eq!(after.owned, before.owned);
    let end = loop {
        match before.try_next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    refusal(end, ErrorReason::MemberUnknown);
}

#[tokio::test]
async fn a_group_is_moved_while_it_reads() {
    let broker = with_records().await;
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    let mut count = 0;
    while count < 12 {
        count += member.batch().await.1.len();
    }
    member.commit(1, 3).await;
    let generation = member.owned[&1];
    let request = |validate_only| v1::SeekGroupRequest {
        name: "billing".to_owned(),
        topic: "orders".to_owned(),
        partitions: vec![1],
        target: Some(Target::Relative(-2)),
        validate_only,
    };
    for validate_only in [true, false] {
        let sought = soon(groups(&broker).seek_group(request(validate_only))).await;
        let sought = sought.unwrap().into_inner().partitions;
        assert_eq!(sought.len(), 1);
        let sought = &sought[0];
        assert_eq!((sought.from_offset, sought.to_offset), (3, 1));
        assert_eq!(sought.lag_records, 2);
    }
    member.owned.remove(&1);
    member.owns(4).await;
    assert!(member.owned[&1] > generation);
    assert_eq!(member.batch().await, (1, vec!["1-1".to_owned()]));
}

#[tokio::test]
async fn what_a_group_cannot_do_is_refused() {
    let broker = with_records().await;
    let unset = v1::JoinGroup {
        start: None,
        ..wish(1)
    };
    let refused = Member::try_join(&broker, unset).await.map(|_| ());
    let problem = refusal(refused, ErrorReason::StartUnset);
    assert_eq!(problem.metadata()["beginning_records"], "12");
    let missing = v1::JoinGroup {
        topics: vec!["order".to_owned()],
        ..wish(1)
    };
    let refused = Member::try_join(&broker, missing).await.map(|_| ());
    refusal(refused, ErrorReason::TopicNotFound);
    let get = v1::GetGroupRequest {
        name: "billing".to_owned(),
    };
    refusal(
        soon(groups(&broker).get_group(get)).await,
        ErrorReason::GroupNotFound,
    );

    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    let delete = |force| v1::DeleteGroupRequest {
        name: "billing".to_owned(),
        force,
        validate_only: false,
    };
    let refused = soon(groups(&broker).delete_group(delete(false))).await;
    refusal(refused, ErrorReason::GroupNotEmpty);
    soon(groups(&broker).delete_group(delete(true)))
        .await
        .unwrap();
    let end = loop {
        match member.try_next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    refusal(end, ErrorReason::GroupNotFound);
    let list = soon(groups(&broker).list_groups(v1::ListGroupsRequest::default())).await;
    assert_eq!(list.unwrap().into_inner().groups, []);
}

#[tokio::test]
async fn a_group_reads_so_many_partitions_at_once_or_one_topic_after_the_other() {
    let broker = TestBroker::start().await;
    let max = limits::PARTITIONS_PER_GROUP_MAX;
    broker.create("orders", max).await;
    broker.create("more", 1).await;
    let reading = |topics: &[&str]| v1::JoinGroup {
        topics: topics.iter().map(|it| (*it).to_owned()).collect(),
        ..wish(1)
    };
    let refuse = async |topics: &[&str]| {
        let refused = Member::try_join(&broker, reading(topics)).await.map(drop);
        let problem = refusal(refused, ErrorReason::LimitReached);
        let (limit, value) = ("partitions_per_group_max", max.to_string());
        check_facts(&problem, &[("limit", limit), ("limit_value", &value)]);
    };
    refuse(&["orders", "more"]).await;
    let mut member = Member::try_join(&broker, reading(&["orders"])).await;
    member.as_mut().unwrap().owns(max as usize).await;
    refuse(&["more"]).await;
}

#[tokio::test]
async fn the_start_counts_only_for_topics_that_the_group_has_never_read() {
    let broker = with_records().await;
    let at_two = v1::JoinGroup {
        start: Some(position(Position::Offset(2))),
        ..wish(1)
    };
    Member::try_join(&broker, at_two.clone()).await.unwrap();
    assert_eq!(get(&broker).await.partitions[0].committed_offset, 2);
    let trim = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        before: Some(position(Position::End(v1::End {}))),
        ..v1::TrimTopicRequest::default()
    };
    soon(broker.topics().trim_topic(trim)).await.unwrap();
    // The group is beyond that, or will be told.
    Member::try_join(&broker, at_two.clone()).await.unwrap();
    broker.create("payments", 2).await;
    broker.publish("payments", 0, &["a", "b"]).await;
    let both = v1::JoinGroup {
        topics: vec!["orders".to_owned(), "payments".to_owned()],
        ..at_two
    };
    let refused = Member::try_join(&broker, both.clone()).await.map(|_| ());
    let problem = refusal(refused, ErrorReason::OffsetOutOfRange);
    check_facts(&problem, &[("topic", "payments"), ("partition", "1")]);
    let unset = v1::JoinGroup {
        start: None,
        ..both.clone()
    };
    let refused = Member::try_join(&broker, unset).await.map(|_| ());
    let problem = refusal(refused, ErrorReason::StartUnset);
    check_facts(
        &problem,
        &[("topic", "payments"), ("beginning_records", "2")],
    );
    let elsewhere = v1::JoinGroup {
        group: "audit".to_owned(),
        start: None,
        ..both
    };
    broker.publish("orders", 0, &["c"]).await;
    let refused = Member::try_join(&broker, elsewhere).await.map(|_| ());
    let problem = refusal(refused, ErrorReason::StartUnset);
    let facts = [
        ("topic", "orders payments"),
        ("beginning_records", "3"),
        ("end_records", "0"),
    ];
    check_facts(&problem, &facts);
}

#[tokio::test]
async fn a_group_stops_where_it_was_overtaken_if_asked_to() {
    let broker = with_records().await;
    drop(Member::join(&broker, 1).await);
    let trim = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        partitions: vec![2],
        before: Some(position(Position::Offset(2))),
        ..v1::TrimTopicRequest::default()
    };
    soon(broker.topics().trim_topic(trim)).await.unwrap();
    for stop_at_trimmed in [true, false] {
        let wish = v1::JoinGroup {
            stop_at_trimmed,
            ..wish(1)
        };
        let mut member = Member::try_join(&broker, wish).await.unwrap();
        let mut told = Vec::new();
        let mut caught_up = 0;
        while caught_up < 4 {
            match member.next().await {
                Response::Gap(gap) => {
                    assert_eq!((gap.partition, gap.reason()), (2, v1::GapReason::Trimmed));
                    assert_eq!(gap.range, Some(v1::OffsetRange { start: 0, end: 2 }));
                    told.push("gap");
                }
                Response::Failed(failed) => {
                    assert_eq!(failed.partition, Some(2));
                    let problem = problem_of(failed.error.as_ref());
                    assert_eq!(problem.reason(), ErrorReason::OffsetOutOfRange);
                    let facts = [
                        ("requested", "0"),
                        ("log_start_offset", "2"),
                        ("end_offset", "3"),
                    ];
                    check_facts(&problem, &facts);
                    told.push("failed");
                    caught_up += 1;
                }
                Response::Batch(batch) if batch.partition == 2 => told.push("batch"),
                Response::CaughtUp(_) => caught_up += 1,
                _ => {}
            }
        }
        let expected = match stop_at_trimmed {
            true => ["gap", "failed"],
            false => ["gap", "batch"],
        };
        assert_eq!(told, expected, "the others were read: {stop_at_trimmed}");
    }
}

#[tokio::test]
async fn a_position_that_says_no_place_is_none() {
    let nowhere = v1::Position { position: None };
    let counts = [("beginning_records", "12"), ("end_records", "0")];
    let broker = with_records().await;
    let unset = v1::JoinGroup {
        start: Some(nowhere),
        ..wish(1)
    };
    let refused = Member::try_join(&broker, unset).await.map(|_| ());
    check_facts(&refusal(refused, ErrorReason::StartUnset), &counts);
    Member::join(&broker, 1).await;
    for target in [None, Some(Target::Position(nowhere))] {
        let request = v1::SeekGroupRequest {
            name: "billing".to_owned(),
            target,
            ..v1::SeekGroupRequest::default()
        };
        let refused = soon(groups(&broker).seek_group(request.clone())).await;
        check_facts(&refusal(refused, ErrorReason::StartUnset), &counts);
        let some = v1::SeekGroupRequest {
            topic: "orders".to_owned(),
            partitions: vec![0, 3],
            ..request
        };
        let refused = soon(groups(&broker).seek_group(some)).await;
        let problem = refusal(refused, ErrorReason::StartUnset);
        check_facts(&problem, &[("beginning_records", "6")]);
    }
}

#[tokio::test]
async fn records_come_only_as_far_as_credit_goes() {
    let broker = with_records().await;
    let joining = Member::join_without_credit(broker.channel.clone(), wish(1));
    let mut member = joining.await.unwrap();
    member.owns(4).await;
    for _ in 0..5 {
        member.credit(1, 1_000).await;
        assert_eq!(member.batch().await.1.len(), 1);
    }
    // Only heartbeats until there is more.
    for _ in 0..3 {
        let next = member.try_next().await.unwrap();
        assert!(matches!(next, Some(Response::Heartbeat(_))), "{next:?}");
    }
}

/// A member is dead soon, and nothing is said to one that has nothing to do.
fn impatient() -> Config {
    Config {
        session_timeout: Duration::from_millis(300),
        heartbeat_interval: Duration::from_secs(10),
        ..config()
    }
}

#[tokio::test]
async fn a_member_that_does_not_read_loses_its_partitions() {
    let broker = with_records_and(impatient()).await;
    // More than the connection takes of what nobody reads.
    for partition in [0, 1, 2, 3, 0, 1, 2, 3] {
        let value = "x".repeat(1_000_000);
        broker.publish("orders", partition, &[&value]).await;
    }
    // What it does not read fills nobody else's connection.
    let channel = connect(&broker.broker).await.unwrap();
    let mut deaf = Member::join_over(channel, wish(1)).await.unwrap();
    deaf.owns(4).await;
    deaf.credit(RECORDS, 100 * RECORDS).await;
    let mut heir = Member::join(&broker, 2).await;
    // Connections and hearts are well.
    let hearts = [deaf.requests.clone(), heir.requests.clone()];
    let beating = async {
        loop {
            drop(get(&broker).await);
            for heart in &hearts {
                // One of them stops.
                drop(heart.try_send(heartbeat()));
            }
        }
    };
    tokio::select! {
        () = beating => {}
        () = soon(heir.owns(4)) => {}
    }
    let members = get(&broker).await.members;
    assert_eq!(members.len(), 1, "{members:?}");
}

#[tokio::test]
async fn a_member_with_nothing_to_do_keeps_its_partitions() {
    let broker = with_records_and(impatient()).await;
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    lives_on(&broker, &member).await;
    assert_eq!(member.commit(0, 1).await.error, None, "still its own");
}

#[tokio::test]
async fn a_member_with_no_credit_left_keeps_its_partitions() {
    let broker = with_records_and(impatient()).await;
    let joining = Member::join_without_credit(broker.channel.clone(), wish(1));
    let mut member = joining.await.unwrap();
    member.owns(4).await;
    lives_on(&broker, &member).await;
    member.credit(RECORDS, RECORDS).await;
    member.batch().await;
}

/// Beats the heart of a member for longer than it may take nothing.
async fn lives_on(broker: &TestBroker, member: &Member) {
    let living = async {
        loop {
            soon(member.requests.send(heartbeat())).await.unwrap();
            let state = get(broker).await.state();
            assert_eq!(state, v1::GroupState::Stable, "with its member");
        }
    };
    let lived: Result<(), _> = timeout(Duration::from_secs(1), living).await;
    assert!(lived.is_err(), "it lives on");
}
