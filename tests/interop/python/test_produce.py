"""The Produce stream: answers, sequences, duplicates."""

import os
import zlib

from towpath.v1.produce_service_pb2 import (
    AcceptedBatch,
    OpenRefused,
    ProduceRequest,
    Refused,
    TopicOpened,
)
from towpath.v1.record_pb2 import RecordBatch

import problem
from client import Client
from records import Address, filling, numbered, record

WINDOW_BATCHES = 128


def test_batches_are_placed_one_after_the_other(client: Client, topic, producer_id):
    with client.produce() as stream:
        opened = stream.open(topic, producer_id, handle=7)
        assert (opened.handle, opened.partition_count) == (7, 1)
        assert opened.topic_id == client.get_topic(topic).topic_id
        assert list(opened.last_sequences) == []
        first = stream.write(0, *numbered(1, 2, 3), handle=7)
        second = stream.write(1, *numbered(4), handle=7)
        assert stream.close() == []
    assert (first.handle, first.sequence, first.base_offset, first.record_count) == (7, 0, 0, 3)
    assert (second.handle, second.sequence, second.base_offset, second.record_count) == (7, 1, 3, 1)
    assert 0 < first.lsn < second.lsn
    assert 0 < first.append_time_ms <= second.append_time_ms
    assert [it.value for it in client.read(topic).values()] == [b"1", b"2", b"3", b"4"]


def test_batches_need_not_wait_for_the_topic_to_be_open(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.send_open(topic, producer_id)
        for sequence in range(WINDOW_BATCHES):
            stream.send(sequence, *numbered(sequence))
        opened, *answers = stream.close()
    assert isinstance(opened, TopicOpened)
    sequences = list(range(WINDOW_BATCHES))
    assert [answer.sequence for answer in answers] == sequences
    assert [answer.base_offset for answer in answers] == sequences


def test_one_stream_writes_to_several_topics(client: Client, new_topic, producer_id):
    topics = {3: new_topic(), 5: new_topic(2)}
    with client.produce() as stream:
        for handle, topic in topics.items():
            stream.open(topic, producer_id, handle=handle)
        stream.send(0, *numbered(1), handle=3)
        stream.send(0, *numbered(2), handle=5, partition=1)
        answers = stream.close()
    assert {(answer.handle, answer.partition) for answer in answers} == {(3, 0), (5, 1)}
    assert client.read(*topics.values()) == {
        Address(topics[3], 0, 0): record(value=b"1"),
        Address(topics[5], 1, 0): record(value=b"2"),
    }


def test_a_repeated_batch_is_answered_as_the_first(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        first = stream.write(0, *numbered(1))
        stream.write(1, *numbered(2))
        repeated = stream.write(0, *numbered(1))
    assert not first.is_duplicate and repeated.is_duplicate
    repeated.is_duplicate = False
    assert repeated == first
    assert len(client.read(topic)) == 2


def test_a_producer_that_comes_back_makes_no_duplicate(client: Client, new_topic, producer_id):
    topic = new_topic(2)
    with client.produce() as stream:
        topic_id = stream.open(topic, producer_id).topic_id
        answered = [stream.write(sequence, *numbered(sequence), partition=1) for sequence in (0, 1)]
    with client.produce() as stream:
        opened = stream.open(topic, producer_id, topic_id=topic_id)
        assert [(it.partition, it.sequence) for it in opened.last_sequences] == [(1, 1)]
        for sequence in (0, 1, 2):
            stream.send(sequence, *numbered(sequence), partition=1)
        *repeated, new = stream.close()
    assert [(it.base_offset, it.lsn) for it in repeated] == [
        (it.base_offset, it.lsn) for it in answered
    ]
    assert [it.is_duplicate for it in (*repeated, new)] == [True, True, False]
    assert len(client.read(topic)) == 3


def test_only_so_many_batches_are_remembered(client: Client, topic, producer_id):
    assert client.server_info().limits.producer_window_batches == WINDOW_BATCHES
    with client.produce() as stream:
        stream.open(topic, producer_id)
        for sequence in range(WINDOW_BATCHES + 1):
            stream.write(sequence, *numbered(sequence))
        assert stream.write(1, *numbered(1)).is_duplicate
        forgotten = stream.write(0, *numbered(0))
    check_refused(forgotten, "SEQUENCE_GAP", is_sequence_spent=False)


def test_a_gap_in_the_sequence_is_refused_without_effect(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        stream.write(0, *numbered(0))
        refused = stream.write(2, *numbered(2))
        found = check_refused(refused, "SEQUENCE_GAP", is_sequence_spent=False)
        assert found.metadata == {
            "topic": topic,
            "partition": "0",
            "expected": "1",
            "received": "2",
        }
        assert stream.write(1, *numbered(1)).base_offset == 1
        assert stream.write(2, *numbered(2)).base_offset == 2


def test_a_producer_that_nobody_knows_must_begin_at_zero(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        refused = stream.write(5, *numbered(5))
        found = check_refused(refused, "PRODUCER_UNKNOWN", is_sequence_spent=False)
        assert found.metadata == {"topic": topic, "partition": "0", "received": "5"}
        assert found.hint
        assert stream.write(0, *numbered(0)).base_offset == 0


def test_a_batch_over_the_limit_spends_its_sequence(client: Client, topic, producer_id):
    batch_bytes_max = client.server_info().limits.batch_bytes_max
    with client.produce() as stream:
        stream.open(topic, producer_id)
        stream.send(0, *filling(batch_bytes_max + 1))
        stream.send(1, *numbered(1))
        refused, behind_it = stream.next_few(2)
        found = check_refused(refused, "BATCH_TOO_LARGE", is_sequence_spent=True)
        assert found.metadata == {
            "field": "batch",
            "size_bytes": str(batch_bytes_max + 1),
            "size_bytes_max": str(batch_bytes_max),
        }
        assert behind_it.base_offset == 0
        # What was refused for good stays refused, whatever is sent under its number.
        again = stream.write(0, *numbered(0))
        check_refused(again, "BATCH_TOO_LARGE", is_sequence_spent=True)
    assert len(client.read(topic)) == 1


def test_a_message_beyond_all_limits_ends_the_stream(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        stream.send(0, *numbered(0))
        stream.send(1, record(value=bytes(5 * 1024 * 1024)))
        assert stream.next().sequence == 0
        found = problem.refusal(stream.next)
    assert (found.reason, found.metadata["field"]) == ("BATCH_TOO_LARGE", "produce.batch")
    with client.produce() as stream:
        opened = stream.open(topic, producer_id)
        assert [it.sequence for it in opened.last_sequences] == [0]
        assert isinstance(stream.write(1, *numbered(1)), AcceptedBatch)


def test_a_record_over_the_limit_is_named(client: Client, topic, producer_id):
    record_bytes_max = client.server_info().limits.record_bytes_max
    with client.produce() as stream:
        stream.open(topic, producer_id)
        refused = stream.write(0, *numbered(0), record(value=bytes(record_bytes_max)))
    found = check_refused(refused, "RECORD_TOO_LARGE", is_sequence_spent=True)
    assert found.metadata["field"] == "batch.records[1]"
    assert found.metadata["size_bytes_max"] == str(record_bytes_max)
    assert int(found.metadata["size_bytes"]) > record_bytes_max


def test_count_and_crc_are_checked_where_they_are_given(client: Client, topic, producer_id):
    records = numbered(1, 2)
    crc = zlib.crc32(RecordBatch(records=records).SerializeToString())
    with client.produce() as stream:
        stream.open(topic, producer_id)
        # The way here may have caused it, so the same batch may still be accepted.
        broken = stream.write(0, *records, crc=crc ^ 1)
        check_refused(broken, "INVALID_ARGUMENT", is_sequence_spent=False, field="crc")
        assert stream.write(0, *records, crc=crc, record_count=2).base_offset == 0
        miscounted = stream.write(1, *records, record_count=3)
        check_refused(miscounted, "INVALID_ARGUMENT", is_sequence_spent=True, field="record_count")


def test_what_was_sent_behind_a_refused_batch_is_sent_again(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        # Behind the first of all there is nothing that the broker knows of the producer.
        for first, reason in ((0, "PRODUCER_UNKNOWN"), (2, "SEQUENCE_GAP")):
            stream.send(first, *numbered(first), crc=0)
            stream.send(first + 1, *numbered(first + 1))
            broken, behind_it = stream.next_few(2)
            check_refused(broken, "INVALID_ARGUMENT", is_sequence_spent=False, field="crc")
            check_refused(behind_it, reason, is_sequence_spent=False)
            for sequence in (first, first + 1):
                assert stream.write(sequence, *numbered(sequence)).base_offset == sequence


def test_a_malformed_header_is_named_by_its_place(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        refused = stream.write(0, *numbered(0), record(b"key", b"", ("fine", b""), ("", b"")))
        check_refused(
            refused, "INVALID_ARGUMENT", is_sequence_spent=True, field="batch.records[1].headers[1]"
        )


def test_a_batch_without_records_is_refused(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        check_refused(stream.write(0), "INVALID_ARGUMENT", is_sequence_spent=True, field="batch")


def test_a_partition_that_is_not_there_is_refused(client: Client, new_topic, producer_id):
    topic = new_topic(2)
    with client.produce() as stream:
        stream.open(topic, producer_id)
        refused = stream.write(0, *numbered(0), partition=2)
    found = check_refused(refused, "PARTITION_NOT_FOUND", is_sequence_spent=False)
    assert found.metadata == {"topic": topic, "partition": "2", "partition_count": "2"}


def test_an_unknown_topic_is_refused_with_a_hint_and_the_stream_goes_on(
    client: Client, topic_names, producer_id
):
    client.create_topic("arrivals", 1)
    with client.produce() as stream:
        stream.send_open("arivals", producer_id)
        stream.send(0, *numbered(0))
        open_refused, refused = stream.next_few(2)
        assert isinstance(open_refused, OpenRefused)
        found = problem.of_stream(open_refused.error)
        assert (found.reason, found.hint) == ("TOPIC_NOT_FOUND", 'did you mean "arrivals"?')
        assert found.metadata == {"topic": "arivals"}
        check_refused(refused, "TOPIC_NOT_FOUND", is_sequence_spent=False)
        assert refused.error == open_refused.error
        # The handle is free again.
        assert isinstance(stream.open("arrivals", producer_id), TopicOpened)
        assert stream.write(0, *numbered(0)).base_offset == 0


def test_a_topic_that_was_created_again_is_another_one(client: Client, topic, producer_id):
    with client.produce() as stream:
        topic_id = stream.open(topic, producer_id).topic_id
        stream.write(0, *numbered(0))
        client.delete_topic(topic)
        client.create_topic(topic, 1)
        check_refused(stream.write(1, *numbered(1)), "TOPIC_NOT_FOUND", is_sequence_spent=False)
        again = stream.open(topic, producer_id, handle=2, topic_id=topic_id)
        assert problem.of_stream(again.error).reason == "TOPIC_NOT_FOUND"
    assert client.read(topic) == {}


def test_a_producer_id_of_another_size_is_refused(client: Client, topic):
    with client.produce() as stream:
        found = problem.of_stream(stream.open(topic, os.urandom(15)).error)
    assert found.reason == "INVALID_ARGUMENT"
    assert found.metadata == {"field": "open.producer_id"}


def test_a_handle_in_use_ends_the_stream(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        found = problem.refusal(lambda: stream.open(topic, producer_id))
    assert (found.reason, found.invalid_field) == ("INVALID_ARGUMENT", "open.handle")


def test_a_request_without_a_step_ends_the_stream(client: Client, topic, producer_id):
    with client.produce() as stream:
        stream.open(topic, producer_id)
        stream.send(0, *numbered(0))
        stream.requests.put(ProduceRequest())
        assert stream.next().base_offset == 0
        found = problem.refusal(stream.next)
    assert (found.reason, found.invalid_field) == ("INVALID_ARGUMENT", "request")


def check_refused(
    answer, reason: str, is_sequence_spent: bool, field: str | None = None
) -> problem.Problem:
    assert isinstance(answer, Refused), answer
    assert answer.is_sequence_spent == is_sequence_spent
    found = problem.of_stream(answer.error)
    assert found.reason == reason
    if field is not None:
        assert found.metadata == {"field": field}
    return found
