"""Publish: a few records at once, all of them or none."""

import pytest

from client import Client
from problem import refusal
from records import Address, filling, numbered, record


def test_records_are_written_under_one_lsn(client: Client, new_topic):
    topic = new_topic(8)
    keys = [b"%d" % number for number in range(20)]
    published = client.publish(topic, *[record(key, key) for key in keys])
    places = {position.partition for position in published.positions}
    assert len(places) > 1
    stored = client.read(topic)
    addresses = [Address(topic, it.partition, it.offset) for it in published.positions]
    assert [stored[address].key for address in addresses] == keys
    batches = list(client.fetch(topic).batches())
    assert {batch.lsn for batch in batches} == {published.lsn}
    assert {batch.append_time_ms for batch in batches} == {published.append_time_ms}


def test_records_without_a_key_go_to_one_partition(client: Client, new_topic):
    published = client.publish(new_topic(8), *numbered(1, 2, 3))
    assert len({position.partition for position in published.positions}) == 1
    assert [position.offset for position in published.positions] == [0, 1, 2]


def test_a_partition_may_be_chosen_in_spite_of_keys(client: Client, new_topic):
    topic = new_topic(8)
    published = client.publish(topic, record(b"a"), record(b"b"), record(b"c"), partition=5)
    assert [(it.partition, it.offset) for it in published.positions] == [(5, 0), (5, 1), (5, 2)]


def test_one_bad_record_keeps_all_from_being_written(client: Client, topic: str):
    record_bytes_max = client.server_info().limits.record_bytes_max
    large = record(b"key", bytes(record_bytes_max))
    problem = refusal(lambda: client.publish(topic, *numbered(1), large))
    assert problem.reason == "RECORD_TOO_LARGE"
    assert problem.metadata["field"] == "records[1]"
    assert client.read(topic) == {}


def test_too_much_at_once_is_refused(client: Client, topic: str):
    batch_bytes_max = client.server_info().limits.batch_bytes_max
    problem = refusal(lambda: client.publish(topic, *filling(batch_bytes_max + 1)))
    assert problem.reason == "BATCH_TOO_LARGE"
    assert problem.metadata == {
        "field": "records",
        "size_bytes": str(batch_bytes_max + 1),
        "size_bytes_max": str(batch_bytes_max),
    }
    assert len(client.publish(topic, *filling(batch_bytes_max)).positions) > 0


@pytest.mark.parametrize(
    ("records", "field"),
    [([], "records"), ([record(b"k", b"", ("", b"name is empty"))], "records[0].headers[0]")],
)
def test_what_is_malformed_is_named(client: Client, topic: str, records, field: str):
    problem = refusal(lambda: client.publish(topic, *records))
    assert (problem.reason, problem.invalid_field) == ("INVALID_ARGUMENT", field)


def test_a_topic_is_not_created_by_writing_to_it(client: Client):
    assert refusal(lambda: client.publish("never-made", *numbered(1))).reason == "TOPIC_NOT_FOUND"


def test_a_partition_that_is_not_there_is_refused(client: Client, new_topic):
    topic = new_topic(2)
    problem = refusal(lambda: client.publish(topic, *numbered(1), partition=2))
    assert problem.reason == "PARTITION_NOT_FOUND"
    assert problem.metadata == {"topic": topic, "partition": "2", "partition_count": "2"}
