"""Following topics: what comes after the end was reached."""

from towpath.v1.fetch_service_pb2 import (
    CaughtUp,
    FetchedBatch,
    FetchSource,
    Heartbeat,
    SourceFailed,
)
from towpath.v1.position_pb2 import End, Position

import problem
from client import Client
from records import numbered


def test_new_records_follow_the_old_ones(client: Client, new_topic):
    topic = new_topic(2)
    client.publish(topic, *numbered(0), partition=0)
    with client.fetch(topic, follow=True) as stream:
        assert next(stream.batches()).lsn == stream.opened.lsn
        stream.caught_up()
        for number in (1, 2, 3):
            published = client.publish(topic, *numbered(number), partition=number % 2)
            batch = stream.next(FetchedBatch)
            assert (batch.lsn, batch.partition) == (published.lsn, number % 2)
            assert [record.value for record in batch.batch.records] == [b"%d" % number]


def test_only_new_records_are_read_from_the_end(client: Client, topic: str):
    client.publish(topic, *numbered(0, 1))
    source = FetchSource(topic=topic, start=Position(end=End()))
    with client.fetch(source, follow=True) as stream:
        assert stream.next(CaughtUp).end_offset == 2
        client.publish(topic, *numbered(2))
        assert next(stream.batches()).base_offset == 2


def test_followed_topics_are_merged_by_lsn(client: Client, new_topic):
    topics = [new_topic(2), new_topic(2)]
    with client.fetch(*topics, follow=True, merge_by_lsn=True) as stream:
        stream.caught_up()
        lsns = [
            client.publish(topics[number % 2], *numbered(number), partition=number // 2 % 2).lsn
            for number in range(12)
        ]
        batches = stream.batches()
        assert [next(batches).lsn for _ in lsns] == lsns


def test_silence_is_told_from_death(client: Client, topic: str):
    published = client.publish(topic, *numbered(0))
    with client.fetch(topic, follow=True) as stream:
        heartbeat = stream.next(Heartbeat)
    assert heartbeat.lsn >= published.lsn
    assert heartbeat.broker_time_ms >= published.append_time_ms


def test_a_deleted_topic_fails_and_the_others_go_on(client: Client, new_topic):
    deleted, kept = new_topic(), new_topic()
    with client.fetch(deleted, kept, follow=True) as stream:
        stream.caught_up()
        client.delete_topic(deleted)
        failed = stream.next(SourceFailed)
        assert stream.topics[failed.handle] == deleted
        assert not failed.HasField("partition")
        assert problem.of_stream(failed.error).reason == "TOPIC_NOT_FOUND"
        published = client.publish(kept, *numbered(0))
        assert stream.next(FetchedBatch).lsn == published.lsn


def test_a_stream_ends_when_nothing_is_left_to_read(client: Client, topic: str):
    with client.fetch(topic, follow=True) as stream:
        stream.caught_up()
        client.delete_topic(topic)
        assert [type(message) for message in stream.messages()] == [SourceFailed]
