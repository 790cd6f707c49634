"""Reading to the end: what comes back, from where, and in which order."""

import zlib

import grpc
import pytest
from towpath.v1.fetch_service_pb2 import FetchSource, PartitionOffset
from towpath.v1.position_pb2 import Beginning, End, Position

from broker import Broker
from client import Client
from problem import refusal
from records import Address, filling, numbered, record

STRANGE_RECORDS = {
    "key and value": record(b"key", b"value"),
    "no key": record(None, b"value"),
    "empty key": record(b"", b"value"),
    "empty value": record(b"key", b""),
    "tombstone": record(b"key", None),
    "nothing at all": record(),
    "not UTF-8": record(b"\xff\x00", bytes(range(256))),
    "headers in their order": record(b"k", b"v", ("b", b"2"), ("a", b""), ("b", b"\x00\xff")),
    "header beyond ASCII": record(b"k", b"v", ("größe", b"12")),
    "tombstone with headers": record(b"k", None, ("why", b"moved")),
    "event time": record(b"k", b"v", event_time_ms=1_357_016_400_000),
    "event time zero": record(b"k", b"v", event_time_ms=0),
    "event time before 1970": record(b"k", b"v", event_time_ms=-1),
}


def test_records_come_back_as_they_were_sent(client: Client, new_topic, producer_id):
    sent = list(STRANGE_RECORDS.values())
    published, produced = new_topic(), new_topic()
    for one in sent:
        client.publish(published, one)
    with client.produce() as stream:
        stream.open(produced, producer_id)
        stream.write(0, *sent)
    for topic in (published, produced):
        read = client.read(topic)
        assert list(read.values()) == sent
        assert list(read) == [Address(topic, 0, offset) for offset in range(len(sent))]


@pytest.mark.parametrize("field", ["key", "value", "event_time_ms"])
def test_what_is_absent_is_not_empty(client: Client, topic: str, field: str):
    empty = record(**{field: 0 if field == "event_time_ms" else b""})
    client.publish(topic, record(), empty)
    read = client.read(topic).values()
    assert [it.HasField(field) for it in read] == [False, True]


def test_the_crc_is_that_of_the_batch(client: Client, topic: str):
    client.publish(topic, *STRANGE_RECORDS.values())
    (batch,) = client.fetch(topic).batches()
    assert batch.crc == zlib.crc32(batch.batch.SerializeToString())


def test_the_largest_batch_needs_more_than_grpcio_receives_by_itself(
    broker: Broker, client: Client, topic: str, producer_id
):
    records = filling(client.server_info().limits.batch_bytes_max)
    with client.produce() as stream:
        stream.open(topic, producer_id)
        assert stream.write(0, *records).record_count == len(records)
    assert list(client.read(topic).values()) == records

    default = Client(broker.address, receive_bytes_max=None)
    with pytest.raises(grpc.RpcError) as raised:
        default.read(topic)
    default.close()
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_reader_drops_what_is_below_the_offset_it_asked_for(client: Client, topic: str):
    for numbers in ([0, 1, 2], [3, 4, 5], [6]):
        client.publish(topic, *numbered(*numbers))
    source = FetchSource(topic=topic, start=Position(offset=4))
    first = next(client.fetch(source).batches())
    assert (first.base_offset, first.record_count) == (3, 3)
    assert values(client.read(source)) == [b"4", b"5", b"6"]


def test_the_end_is_an_offset_to_read_from(client: Client, topic: str):
    client.publish(topic, *numbered(0, 1))
    assert client.read(FetchSource(topic=topic, start=Position(offset=2))) == {}


def test_an_offset_out_of_range_is_refused_with_the_range(client: Client, new_topic):
    topic = new_topic(2)
    client.publish(topic, *numbered(0, 1), partition=1)
    starts = [PartitionOffset(partition=1, offset=3)]
    source = FetchSource(topic=topic, start_offsets=starts)
    problem = refusal(lambda: client.fetch(source))
    assert problem.reason == "OFFSET_OUT_OF_RANGE"
    assert problem.metadata == {
        "topic": topic,
        "partition": "1",
        "requested": "3",
        "log_start_offset": "0",
        "end_offset": "2",
    }


def test_partitions_may_have_starts_of_their_own(client: Client, new_topic):
    topic = new_topic(3)
    for partition in range(3):
        client.publish(topic, *numbered(0, 1, 2), partition=partition)
    source = FetchSource(
        topic=topic,
        partitions=[0, 2],
        start=Position(end=End()),
        start_offsets=[PartitionOffset(partition=2, offset=1)],
    )
    assert list(client.read(source)) == [Address(topic, 2, 1), Address(topic, 2, 2)]


def test_reading_begins_at_a_time(client: Client, topic: str):
    before = client.publish(topic, *numbered(0))
    after = client.publish(topic, *numbered(1))
    while after.append_time_ms == before.append_time_ms:
        after = client.publish(topic, *numbered(1))
    source = FetchSource(topic=topic, start=Position(time_ms=after.append_time_ms))
    first, *_ = client.read(source)
    assert first.offset == after.positions[0].offset
    later = Position(time_ms=after.append_time_ms + 86_400_000)
    assert client.read(FetchSource(topic=topic, start=later)) == {}


def test_reading_begins_so_many_records_before_the_end(client: Client, new_topic):
    topic = new_topic(2)
    for number in range(6):
        client.publish(topic, *numbered(number), partition=number % 2)
    source = FetchSource(topic=topic, start=Position(last_records=3))
    assert sorted(values(client.read(source))) == [b"3", b"4", b"5"]


def test_positions_are_looked_up(client: Client, new_topic):
    topic = new_topic(2)
    published = client.publish(topic, *numbered(0, 1, 2), partition=1)

    def offsets(**position) -> list[int]:
        found = client.look_up(topic, position=Position(**position))
        assert found.topic_id == client.get_topic(topic).topic_id
        assert found.lsn >= published.lsn
        assert [(it.log_start_offset, it.end_offset) for it in found.offsets] == [(0, 0), (0, 3)]
        return [it.offset for it in found.offsets]

    assert offsets(beginning=Beginning()) == [0, 0]
    assert offsets(end=End()) == [0, 3]
    assert offsets(last_records=2) == [0, 1]
    assert offsets(time_ms=published.append_time_ms) == [0, 0]


def test_every_partition_is_told_to_be_caught_up(client: Client, new_topic):
    topic = new_topic(3)
    published = client.publish(topic, *numbered(0, 1), partition=1)
    with client.fetch(topic) as stream:
        caught_up = stream.caught_up()
        assert list(stream.messages()) == []
    ends = {partition: it.end_offset for (_, partition), it in caught_up.items()}
    assert ends == {0: 0, 1: 2, 2: 0}
    assert all(it.lsn >= published.lsn for it in caught_up.values())


def test_several_topics_are_merged_by_lsn(client: Client, new_topic, producer_id):
    first, second = new_topic(4), new_topic(2)
    written = []
    with client.produce() as stream:
        stream.open(second, producer_id)
        for sequence in range(10):
            keyed = [record(b"%d" % number, b"%d" % sequence) for number in range(8)]
            published = client.publish(first, *keyed)
            places = {it.partition for it in published.positions}
            written += [(published.lsn, first, partition) for partition in sorted(places)]
            accepted = stream.write(sequence, *numbered(sequence))
            written.append((accepted.lsn, second, 0))
    with client.fetch(first, second, merge_by_lsn=True) as stream:
        order = [(it.lsn, stream.topics[it.handle], it.partition) for it in stream.batches()]
    assert [lsn for lsn, _, _ in order] == [lsn for lsn, _, _ in written]
    assert sorted(order) == sorted(written)


def test_what_is_not_there_is_refused(client: Client, topic: str):
    assert refusal(lambda: client.fetch("nowhere")).reason == "TOPIC_NOT_FOUND"
    missing = refusal(lambda: client.fetch(FetchSource(topic=topic, partitions=[0, 1])))
    assert missing.reason == "PARTITION_NOT_FOUND"
    assert missing.metadata == {"topic": topic, "partition": "1", "partition_count": "1"}
    topic_id = client.get_topic(topic).topic_id
    gone = refusal(lambda: client.fetch(FetchSource(topic=topic, topic_id=topic_id + 1_000)))
    assert gone.reason == "TOPIC_NOT_FOUND"


def test_a_request_that_makes_no_sense_is_refused_by_field(client: Client, topic: str):
    foreign = FetchSource(topic=topic, start_offsets=[PartitionOffset(partition=1)])
    refused = {
        "sources": lambda: client.fetch(),
        "sources[1].topic": lambda: client.fetch(topic, topic),
        "sources[0].partitions": lambda: client.fetch(FetchSource(topic=topic, partitions=[0, 0])),
        "sources[0].start_offsets[0].partition": lambda: client.fetch(foreign),
    }
    for field, call in refused.items():
        problem = refusal(call)
        assert (problem.reason, problem.invalid_field) == ("INVALID_ARGUMENT", field)


def values(read: dict) -> list[bytes]:
    return [record.value for record in read.values()]
