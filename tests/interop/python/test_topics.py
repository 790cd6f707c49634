"""Topics: created, shown, listed, deleted, and refused."""

import pytest

from client import Client
from problem import refusal
from records import numbered


def test_a_created_topic_is_shown_with_its_partitions(client: Client, topic_names):
    name = next(topic_names)
    created = client.create_topic(name, 3)
    assert (created.name, created.partition_count) == (name, 3)
    client.publish(name, *numbered(1, 2), partition=1)
    shown = client.get_topic(name)
    assert (shown.topic_id, shown.create_time_ms) == (created.topic_id, created.create_time_ms)
    assert shown.record_count == 2
    assert [(it.partition, it.log_start_offset, it.end_offset) for it in shown.partitions] == [
        (0, 0, 0),
        (1, 0, 2),
        (2, 0, 0),
    ]


def test_a_topic_has_eight_partitions_unless_told_otherwise(client: Client, topic_names):
    assert client.create_topic(next(topic_names)).partition_count == 8


def test_a_topic_that_is_only_validated_is_not_created(client: Client, topic_names):
    name = next(topic_names)
    validated = client.create_topic(name, 2, validate_only=True)
    assert (validated.topic_id, validated.partition_count) == (0, 2)
    assert refusal(lambda: client.get_topic(name)).reason == "TOPIC_NOT_FOUND"


def test_topics_are_listed_in_pages_by_name(client: Client):
    names = [f"page-{number}" for number in range(5)]
    for name in reversed(names):
        client.create_topic(name, 1)
    listed, token, page_count = [], "", 0
    while page_count == 0 or token:
        page = client.list_topics(page_size=2, page_token=token, name_prefix="page-")
        listed += [topic.name for topic in page.topics]
        token, page_count = page.next_page_token, page_count + 1
    assert (listed, page_count) == (names, 3)


def test_a_topic_that_exists_is_told_with_its_id(client: Client, topic: str):
    topic_id = client.get_topic(topic).topic_id
    problem = refusal(lambda: client.create_topic(topic))
    assert problem.reason == "TOPIC_EXISTS"
    assert problem.metadata == {
        "topic": topic,
        "topic_id": str(topic_id),
        "partition_count": "1",
    }
    assert problem.resource == ("topic", topic)


def test_the_name_that_was_probably_meant_is_hinted_at(client: Client):
    client.create_topic("departures", 1)
    problem = refusal(lambda: client.get_topic("depatrures"))
    assert problem.reason == "TOPIC_NOT_FOUND"
    assert problem.metadata == {"topic": "depatrures"}
    assert problem.resource == ("topic", "depatrures")
    assert problem.hint == 'did you mean "departures"?'


@pytest.mark.parametrize("name", ["", ".hidden", "two words", "a/b", "straße", "n" * 201])
def test_a_strange_name_is_refused_by_field(client: Client, name: str):
    problem = refusal(lambda: client.create_topic(name))
    assert problem.reason == "INVALID_ARGUMENT"
    assert problem.metadata == {"field": "name"}
    assert problem.invalid_field == "name"


def test_a_deleted_name_comes_back_as_another_topic(client: Client, topic: str):
    client.publish(topic, *numbered(1, 2))
    deleted = client.delete_topic(topic)
    assert deleted.record_count == 2
    assert refusal(lambda: client.get_topic(topic)).reason == "TOPIC_NOT_FOUND"

    created = client.create_topic(topic, 1)
    assert created.topic_id > deleted.topic_id
    assert client.read(topic) == {}
    stale = refusal(lambda: client.delete_topic(topic, topic_id=deleted.topic_id))
    assert stale.reason == "TOPIC_NOT_FOUND"
    assert client.get_topic(topic).topic_id == created.topic_id
