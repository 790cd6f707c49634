//! Members that join again after something they read is gone.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::wire::join_response::Response;

use crate::group_member::{Member, get, groups, wish, with_records};
use crate::harness::{refusal, soon};

#[tokio::test]
async fn a_group_that_was_deleted_does_not_come_back_with_its_members() {
    let broker = with_records().await;
    let mut member = Member::join(&broker, 1).await;
    member.owns(4).await;
    let again = v1::JoinGroup {
        rejoin: Some(member.rejoin()),
        ..wish(1)
    };
    // It is away, and awaited.
    drop(member);
    soon(async { while get(&broker).await.members[0].is_connected {} }).await;
    let delete = v1::DeleteGroupRequest {
        name: "billing".to_owned(),
        ..v1::DeleteGroupRequest::default()
    };
    soon(groups(&broker).delete_group(delete)).await.unwrap();
    for is_made_anew in [false, true] {
        let refused = Member::try_join(&broker, again.clone()).await.map(|_| ());
        let problem = refusal(refused, ErrorReason::GroupNotFound);
        assert_eq!(problem.metadata()["group"], "billing");
        let list = soon(groups(&broker).list_groups(v1::ListGroupsRequest::default())).await;
        let count = list.unwrap().into_inner().groups.len();
        assert_eq!(count, usize::from(is_made_anew), "what others have made");
        Member::join(&broker, 2).await;
    }
    let elsewhere = v1::Rejoin {
        broker_id: "0f".to_owned(),
        ..again.rejoin.clone().unwrap()
    };
    let elsewhere = v1::JoinGroup {
        rejoin: Some(elsewhere),
        ..again
    };
    let refused = Member::try_join(&broker, elsewhere).await.map(|_| ());
    refusal(refused, ErrorReason::TopicNotFound);
}

#[tokio::test]
async fn who_joins_again_is_told_which_topics_are_gone() {
    let broker = with_records().await;
    broker.create("payments", 2).await;
    let both = v1::JoinGroup {
        topics: vec!["payments".to_owned(), "orders".to_owned()],
        ..wish(1)
    };
    let mut before = Member::try_join(&broker, both.clone()).await.unwrap();
    let again = v1::JoinGroup {
        rejoin: Some(before.rejoin()),
        ..both
    };
    while !matches!(before.next().await, Response::CaughtUp(_)) {}
    broker.delete("payments").await;
    broker.create("payments", 2).await;
    let mut member = Member::try_join(&broker, again.clone()).await.unwrap();
    let topics = &member.joined.topics;
    assert_eq!(*topics[0].topic, *"payments");
    assert_eq!(topics[0].topic_id, before.joined.topics[0].topic_id);
    assert_eq!(
        (topics[0].partition_count, topics[1].partition_count),
        (0, 4)
    );
    // What was on its way when the connection broke.
    member.owned.insert(1, 1);
    member.send_commit(1, 0).await;
    let (mut stale, mut failed) = (None, None);
    while stale.is_none() || failed.is_none() {
        match member.next().await {
            Response::Committed(committed) => stale = committed.results[0].error.clone(),
            Response::Failed(told) => failed = Some(told),
            Response::Batch(batch) => assert_eq!(batch.handle, 1, "of the other one"),
            _ => {}
        }
    }
    let (stale, failed) = (stale.unwrap(), failed.unwrap());
    assert_eq!(stale.reason(), v1::ErrorReason::GenerationStale);
    assert_eq!((failed.handle, failed.partition), (0, None));
    let error = failed.error.unwrap();
    assert_eq!(error.reason(), v1::ErrorReason::TopicNotFound);
    let count = get(&broker).await.partitions.len();
    assert_eq!(count, 4, "nothing of a topic that nobody asked for");

    let mut without_ids = again;
    without_ids.rejoin.as_mut().unwrap().topic_ids.pop();
    let refused = Member::try_join(&broker, without_ids).await.map(|_| ());
    refusal(refused, ErrorReason::InvalidArgument);
}
