"""What a topic keeps: its settings changed, and its oldest records trimmed."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from towpath.v1.fetch_service_pb2 import FetchSource, PartitionOffset
from towpath.v1.position_pb2 import End, Position
from towpath.v1.topic_service_pb2 import TopicConfig, TrimTopicResponse

from client import Client
from problem import refusal
from records import Address, numbered

DAY_MS = 24 * 60 * 60 * 1000


def settings(topic) -> dict[str, int]:
    """The settings that are set."""
    return {field.name: value for field, value in topic.config.ListFields()}


def trimmed(response: TrimTopicResponse) -> list[tuple[int, int, int]]:
    return [(it.partition, it.trimmed.start, it.trimmed.end) for it in response.partitions]


def test_settings_are_given_and_shown(client: Client, topic_names):
    name = next(topic_names)
    created = client.create_topic(name, 1, config=TopicConfig(retention_age_ms=DAY_MS))
    assert settings(created) == {"retention_age_ms": DAY_MS}
    assert client.get_topic(name).config == created.config


def test_a_mask_says_what_changes_and_what_is_unset(client: Client, topic: str):
    assert not client.get_topic(topic).HasField("config"), "nothing is set"
    both = TopicConfig(retention_age_ms=DAY_MS, retention_bytes=1000)
    assert client.update_topic(topic, config=both).config == both, "without a mask"
    age = FieldMask(paths=["retention_age_ms"])
    updated = client.update_topic(topic, config=TopicConfig(retention_bytes=7), update_mask=age)
    assert settings(updated) == {"retention_bytes": 1000}
    problem = refusal(
        lambda: client.update_topic(topic, update_mask=FieldMask(paths=["retention_days"]))
    )
    assert (problem.reason, problem.invalid_field) == ("INVALID_ARGUMENT", "update_mask")
    assert settings(client.get_topic(topic)) == {"retention_bytes": 1000}


@pytest.mark.parametrize("setting", ["retention_age_ms", "retention_bytes"])
def test_a_setting_out_of_range_is_refused_by_field(client: Client, topic: str, setting: str):
    problem = refusal(lambda: client.update_topic(topic, config=TopicConfig(**{setting: 0})))
    assert problem.reason == "INVALID_ARGUMENT"
    assert problem.invalid_field == f"config.{setting}"


def test_a_change_can_be_bound_to_what_was_seen(client: Client, topic: str):
    seen = client.get_topic(topic).etag
    config = TopicConfig(retention_bytes=1000)
    would = client.update_topic(topic, config=config, etag=seen, validate_only=True)
    assert settings(would) == {"retention_bytes": 1000}
    updated = client.update_topic(topic, config=config, etag=seen)
    problem = refusal(lambda: client.update_topic(topic, config=config, etag=seen))
    assert problem.reason == "ETAG_MISMATCH"
    assert problem.metadata == {"topic": topic, "etag": updated.etag}


def test_a_trim_lets_go_of_what_lies_before(client: Client, new_topic):
    topic = new_topic(2)
    for partition in (0, 1):
        client.publish(topic, *numbered(0, 1, 2, 3), partition=partition)
    before = Position(offset=3)
    would = client.trim_topic(topic, before=before, validate_only=True)
    assert trimmed(would) == [(0, 0, 3), (1, 0, 3)]
    one = client.trim_topic(topic, before=before, partitions=[1])
    assert trimmed(one) == [(1, 0, 3)]
    assert one.topic_id == client.get_topic(topic).topic_id
    assert trimmed(client.trim_topic(topic, before=Position(offset=1), partitions=[1])) == []
    read = client.read(topic)
    assert list(read) == [*(Address(topic, 0, it) for it in range(4)), Address(topic, 1, 3)]
    assert trimmed(client.trim_topic(topic, before=Position(end=End()))) == [(0, 0, 4), (1, 3, 4)]
    assert client.read(topic) == {}


def test_what_is_not_there_cannot_be_trimmed(client: Client, topic: str):
    client.publish(topic, *numbered(0, 1))
    beyond = refusal(lambda: client.trim_topic(topic, before=Position(offset=3)))
    assert beyond.reason == "OFFSET_OUT_OF_RANGE"
    assert beyond.metadata["end_offset"] == "2"
    nothing = refusal(lambda: client.trim_topic(topic))
    assert (nothing.reason, nothing.invalid_field) == ("INVALID_ARGUMENT", "before")
    other = client.get_topic(topic).topic_id + 1
    other_life = refusal(
        lambda: client.trim_topic(topic, topic_id=other, before=Position(end=End()))
    )
    assert other_life.reason == "TOPIC_NOT_FOUND"
    assert len(client.read(topic)) == 2


def test_a_reader_that_resumes_below_the_log_start_learns_where_to_go_on(
    client: Client, topic: str
):
    client.publish(topic, *numbered(0, 1, 2, 3))
    client.trim_topic(topic, before=Position(offset=3))

    def resumed(offset: int) -> FetchSource:
        return FetchSource(topic=topic, start_offsets=[PartitionOffset(offset=offset)])

    problem = refusal(lambda: client.fetch(resumed(1)))
    assert problem.reason == "OFFSET_OUT_OF_RANGE"
    assert problem.metadata["partition"] == "0"
    log_start = int(problem.metadata["log_start_offset"])
    assert list(client.read(resumed(log_start))) == [Address(topic, 0, 3)]
