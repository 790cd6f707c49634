"""Consumer groups: members that share partitions, and what is asked about them."""

import pytest
from towpath.v1.error_pb2 import ErrorReason
from towpath.v1.group_service_pb2 import (
    DeleteGroupRequest,
    GetGroupRequest,
    GroupState,
    ListGroupsRequest,
    SeekGroupRequest,
)
from towpath.v1.group_service_pb2_grpc import GroupServiceStub

from client import CALL_SECONDS_MAX, Client
from member import BEGINNING, Member
from problem import refusal
from records import numbered


@pytest.fixture
def groups(client: Client) -> GroupServiceStub:
    return GroupServiceStub(client.channel)


def get(groups: GroupServiceStub, name: str):
    request = GetGroupRequest(name=name)
    return groups.GetGroup(request, timeout=CALL_SECONDS_MAX).group


def test_a_group_goes_on_where_it_was_committed(client: Client, groups, topic: str):
    client.publish(topic, *numbered(*range(10)))
    with Member(client, topic, topic) as member:
        batch = member.until("batch")
        assert (batch.base_offset, batch.record_count) == (0, 10)
        assert member.commit(0, 4).committed_offset == 4
        member.leave()
    (partition,) = get(groups, topic).partitions
    assert (partition.committed_offset, partition.lag_records) == (4, 6)
    assert partition.lag_ms >= 0
    with Member(client, topic, topic, start=None) as member:
        assert member.until("batch").base_offset <= 4
        assert member.commit(0, 10).committed_offset == 10
    (partition,) = get(groups, topic).partitions
    assert (partition.lag_records, partition.lag_ms) == (0, 0)


def test_members_share_partitions_and_take_over(client: Client, groups, new_topic):
    topic = new_topic(4)
    with Member(client, topic, topic) as first:
        first.owns(4)
        with Member(client, topic, topic) as second:
            revoked = first.until("revoking")
            assert len(revoked.partitions) == 2
            first.send(**{"return": {"partitions": revoked.partitions}})
            second.owns(2)
            moved = revoked.partitions[0].partition
            stale = first.commit(moved, 0)
            assert stale.error.reason == ErrorReason.Value("ERROR_REASON_GENERATION_STALE")
            second.leave()
        for partition in revoked.partitions:
            first.owned.pop(partition.partition)
        first.owns(4)
        group = get(groups, topic)
        assert group.state == GroupState.Value("GROUP_STATE_STABLE")
        assert [it.partition_count for it in group.members] == [4]


def test_a_new_group_has_to_say_where_it_begins(client: Client, topic: str):
    member = Member(client, topic, topic, start=None)
    assert refusal(member.next).reason == "START_UNSET"


def test_a_group_is_moved_listed_and_deleted(client: Client, groups, topic: str):
    client.publish(topic, *numbered(*range(5)))
    with Member(client, topic, topic) as member:
        member.owns(1)
        member.commit(0, 5)
        member.leave()
    for is_dry in (True, False):
        request = SeekGroupRequest(name=topic, position=BEGINNING, validate_only=is_dry)
        (sought,) = groups.SeekGroup(request, timeout=CALL_SECONDS_MAX).partitions
        assert (sought.from_offset, sought.to_offset, sought.lag_records) == (5, 0, 5)
    request = ListGroupsRequest(name_prefix=topic)
    listed = groups.ListGroups(request, timeout=CALL_SECONDS_MAX).groups
    assert [it.name for it in listed] == [topic]
    groups.DeleteGroup(DeleteGroupRequest(name=topic), timeout=CALL_SECONDS_MAX)
    assert refusal(lambda: get(groups, topic)).reason == "GROUP_NOT_FOUND"


def test_a_group_with_members_is_not_deleted(client: Client, groups, topic: str):
    with Member(client, topic, topic) as member:
        member.owns(1)

        def delete(**fields):
            request = DeleteGroupRequest(name=topic, **fields)
            return groups.DeleteGroup(request, timeout=CALL_SECONDS_MAX)

        assert refusal(delete).reason == "GROUP_NOT_EMPTY"
        delete(force=True)
        assert refusal(lambda: member.until("never")).reason == "GROUP_NOT_FOUND"
