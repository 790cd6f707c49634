"""Topics that look at records: events once, versions of keys and of entities, and histories of keys."""

from collections.abc import Callable

import pytest
from towpath.v1.commit_service_pb2 import AppendRecords, CommitRequest, Operation
from towpath.v1.commit_service_pb2_grpc import CommitServiceStub
from towpath.v1.key_service_pb2 import GetLatestRequest, GetLatestResponse, ReadKeyRequest
from towpath.v1.key_service_pb2_grpc import KeyServiceStub
from towpath.v1.position_pb2 import Position
from towpath.v1.topic_service_pb2 import STALE_RECORDS_MARK, STALE_RECORDS_REFUSE, TopicConfig

from client import CALL_SECONDS_MAX, Client
from problem import of_stream, refusal
from records import Record, record


@pytest.fixture
def looking(new_topic: Callable[..., str]) -> Callable[..., str]:
    """Makes topics that look at records."""
    return lambda **settings: new_topic(1, config=TopicConfig(**settings))


def event(number: int) -> Record:
    headers = [("ce-source", b"/shop"), ("ce-id", b"%d" % number)]
    return record(b"k", b"%d" % number, *headers)


def versioned(version: int) -> Record:
    return record(b"alice", b"%d" % version, ("towpath-entity-version", b"%d" % version))


def values(client: Client, topic: str) -> list[bytes]:
    return [one.value for one in client.read(topic).values()]


def history(client: Client, topic: str, key: bytes, **fields) -> list[tuple[int, bytes | int]]:
    """Versions with their values, or with the last version that is gone."""
    stub = KeyServiceStub(client.channel)
    request = ReadKeyRequest(topic=topic, key=key, **fields)
    told = []
    for number, response in enumerate(stub.ReadKey(request, timeout=CALL_SECONDS_MAX)):
        assert (response.current_version > 0) == (number == 0)
        told.extend((one.version, one.record.value) for one in response.records)
        if response.HasField("gap"):
            told.append((response.gap.first_version, response.gap.last_version))
    return told


def latest(client: Client, topic: str, key: bytes) -> GetLatestResponse:
    request = GetLatestRequest(topic=topic, key=key)
    return KeyServiceStub(client.channel).GetLatest(request, timeout=CALL_SECONDS_MAX)


def test_an_event_is_written_once(client: Client, looking, producer_id: bytes):
    topic = looking(dedupe_window_ms=60_000)
    client.publish(topic, event(1), event(2))
    again = client.publish(topic, event(2), event(3), event(2))
    told = [(it.offset, it.is_repeated) for it in again.positions]
    assert told == [(1, True), (2, False), (1, True)]

    with client.produce() as stream:
        stream.open(topic, producer_id)
        mixed = stream.write(0, event(4), event(1), event(5))
        assert (mixed.base_offset, mixed.record_count) == (3, 2)
        assert [it.index for it in mixed.unwritten] == [1]
        assert mixed.unwritten[0].repeated_event.offset == 0
        nothing = stream.write(1, event(5), event(4))
        assert nothing.record_count == 0
        places = [it.repeated_event.offset for it in nothing.unwritten]
        assert places == [4, 3]
        # As it was the first time, although all of it is there by now.
        duplicate = stream.write(0, event(4), event(1), event(5))
        assert duplicate.is_duplicate
        assert (duplicate.record_count, duplicate.unwritten) == (2, mixed.unwritten)
        assert stream.write(2, event(6)).base_offset == 5
    assert values(client, topic) == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_a_record_rests_on_the_version_of_its_key(client: Client, looking, producer_id: bytes):
    topic = looking(key_versions=True)
    with client.produce() as stream:
        stream.open(topic, producer_id)
        stream.write(0, record(b"alice", b"a"), record(b"alice", b"b"), expected_version=0)
        refused = stream.write(1, record(b"alice", b"x"), expected_version=1)
        assert refused.is_sequence_spent
        problem = of_stream(refused.error)
        assert problem.reason == "EXPECTED_VERSION_MISMATCH"
        versions = ["expected_version", "current_version"]
        assert [problem.metadata[name] for name in versions] == ["1", "2"]
        stream.write(2, record(b"alice", b"c"), expected_version=2)
        others = stream.write(3, record(b"alice", b"x"), record(b"bob", b"x"), expected_version=3)
        assert of_stream(others.error).metadata["field"] == "expected_version"
    assert history(client, topic, b"alice") == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_a_commit_rests_on_versions(client: Client, looking):
    topic = looking(key_versions=True)
    commits = CommitServiceStub(client.channel)

    def commit(*expected: int):
        def append(version: int) -> Operation:
            records = [record(b"alice", b"%d" % version)]
            append = AppendRecords(topic=topic, records=records, expected_version=version)
            return Operation(append=append)

        request = CommitRequest(operations=[append(version) for version in expected])
        return commits.Commit(request, timeout=CALL_SECONDS_MAX)

    commit(0, 1)
    problem = refusal(lambda: commit(2, 2))
    assert (problem.reason, problem.metadata["operation"]) == ("EXPECTED_VERSION_MISMATCH", "1")
    assert values(client, topic) == [b"0", b"1"]


def test_old_news_is_refused_or_marked(client: Client, looking, producer_id: bytes):
    refusing = looking(stale_records=STALE_RECORDS_REFUSE)
    with client.produce() as stream:
        stream.open(refusing, producer_id)
        mixed = stream.write(0, versioned(3), versioned(2), versioned(4))
        assert (mixed.base_offset, mixed.record_count) == (0, 2)
        assert [it.stale_entity_version for it in mixed.unwritten] == [3]
    problem = refusal(lambda: client.publish(refusing, versioned(5), versioned(4)))
    assert (problem.reason, problem.metadata["current_version"]) == ("STALE_ENTITY_VERSION", "5")
    assert problem.metadata["field"] == "records[1]"
    assert values(client, refusing) == [b"3", b"4"]
    nameless = refusal(lambda: client.publish(refusing, record(b"alice", b"v")))
    assert nameless.reason == "INVALID_ARGUMENT"

    marking = looking(stale_records=STALE_RECORDS_MARK)
    client.publish(marking, versioned(3), versioned(1))
    headers = [one.headers for one in client.read(marking).values()]
    marks = [[it.value for it in of_one if it.name == "towpath-stale"] for of_one in headers]
    assert marks == [[], [b"3"]]
    assert latest(client, marking, b"alice").record.record.value == b"3"


def test_the_history_of_a_key_is_read_alone(client: Client, looking):
    topic = looking(key_versions=True)
    for value in [b"a", b"b", b"c"]:
        client.publish(topic, record(b"alice", value), record(b"bob", value))
    assert history(client, topic, b"alice") == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert history(client, topic, b"bob", from_version=3) == [(3, b"c")]
    newest_first = history(client, topic, b"bob", newest_first=True, record_count_max=2)
    assert newest_first == [(3, b"c"), (2, b"b")]
    client.trim_topic(topic, before=Position(offset=4))
    assert history(client, topic, b"alice") == [(1, 2), (3, b"c")]
    assert history(client, topic, b"alice", newest_first=True) == [(3, b"c"), (1, 2)]

    newest = latest(client, topic, b"alice")
    assert (newest.current_version, newest.record.version) == (3, 3)
    assert (newest.record.position.offset, newest.record.record.value) == (4, b"c")
    assert not latest(client, topic, b"nobody").HasField("record")
    plain = client.create_topic(topic + "-plain").name
    for call in [lambda: latest(client, plain, b"k"), lambda: history(client, plain, b"k")]:
        assert refusal(call).reason == "INVALID_ARGUMENT"


def test_settings_that_are_fixed_stay(client: Client, looking):
    topic = looking(key_versions=True, dedupe_window_ms=60_000)
    shown = client.get_topic(topic).config
    assert (shown.key_versions, shown.dedupe_window_ms) == (True, 60_000)
    changed = client.update_topic(topic, config=TopicConfig(dedupe_window_ms=120_000)).config
    assert (changed.key_versions, changed.dedupe_window_ms) == (True, 120_000)
    fixed = TopicConfig(stale_records=STALE_RECORDS_MARK)
    problem = refusal(lambda: client.update_topic(topic, config=fixed))
    assert problem.reason == "INVALID_ARGUMENT"
