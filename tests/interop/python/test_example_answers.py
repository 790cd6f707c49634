"""What the example makes of answers that a healthy broker seldom gives."""

import grpc
import pytest
from towpath.v1 import fetch_service_pb2 as fetch_pb
from towpath.v1 import produce_service_pb2 as produce_pb
from towpath.v1.error_pb2 import Error
from towpath.v1.position_pb2 import OffsetRange
from towpath.v1.record_pb2 import RecordBatch
from towpath.v1.topic_service_pb2 import Topic

from connection import Backoff
from fetch import Reader
from produce import Producer
from records import numbered

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Backoff, "wait", lambda self, why: None)


class Script:
    """Plays the stub: the calls are answered from a list, one after the other."""

    def __init__(self, *calls: list):
        self.calls = list(calls)
        self.requests = []

    def Fetch(self, request):
        self.requests.append(request)
        return iter(self.calls.pop(0))

    def Produce(self, requests):
        self.requests.append(list(requests))
        return iter(self.calls.pop(0))


def reader(*messages: dict) -> Reader:
    opened = fetch_pb.OpenedTopic(topic_id=9, partitions=[fetch_pb.OpenedPartition(start_offset=1)])
    messages = [{"opened": fetch_pb.FetchOpened(topics=[opened])}, *messages]
    return Reader(Script([fetch_pb.FetchResponse(**message) for message in messages]), "orders")


def batch(base_offset: int, count: int, offset_deltas: tuple[int, ...] = ()) -> dict:
    records = RecordBatch(records=numbered(*range(count)))
    return {
        "batch": fetch_pb.FetchedBatch(
            base_offset=base_offset,
            record_count=count,
            offset_deltas=offset_deltas,
            batch=records,
        )
    }


def gap(start: int, end: int, reason: int) -> dict:
    return {"gap": fetch_pb.Gap(range=OffsetRange(start=start, end=end), reason=reason)}


def test_records_below_the_start_are_dropped():
    offsets = [offset for _, offset, _ in reader(batch(0, 3)).records(follow=False)]
    assert offsets == [1, 2]


def test_offsets_of_a_batch_with_holes_are_its_deltas():
    offsets = [offset for _, offset, _ in reader(batch(5, 3, (0, 2, 7))).records(follow=False)]
    assert offsets == [5, 7, 12]


def test_a_harmless_gap_is_passed():
    subject = reader(batch(1, 1), gap(2, 7, fetch_pb.GAP_REASON_TRIMMED), batch(7, 1))
    assert [offset for _, offset, _ in subject.records(follow=False)] == [1, 7]
    assert subject.next_offsets == {0: 8}


@pytest.mark.parametrize(
    "reason", [fetch_pb.GAP_REASON_DATA_LOSS, fetch_pb.GAP_REASON_UNSPECIFIED, 99]
)
def test_lost_records_end_the_reading(reason: int):
    records = reader(gap(2, 7, reason)).records(follow=False)
    with pytest.raises(SystemExit, match="records 2 to 7 of partition 0 are lost"):
        next(records)


def test_a_failed_partition_ends_the_reading():
    error = Error(message="topic was deleted")
    records = reader({"failed": fetch_pb.SourceFailed(error=error)}).records(follow=True)
    with pytest.raises(SystemExit, match="topic was deleted"):
        next(records)


def test_messages_of_a_later_version_are_skipped():
    assert len(list(reader({}, batch(1, 1)).records(follow=False))) == 1


def producer(*calls: list[dict]) -> Producer:
    answers = [[produce_pb.ProduceResponse(**answer) for answer in call] for call in calls]
    return Producer(Script(*answers), Topic(name="orders", topic_id=9, partition_count=1))


def accepted(base_offset: int) -> dict:
    batch = produce_pb.AcceptedBatch(base_offset=base_offset, record_count=2)
    return {"accepted": produce_pb.Accepted(batches=[batch])}


def refused(code: int) -> dict:
    error = Error(code=code, message="not now", hint="later")
    return {"refused": produce_pb.Refused(error=error)}


def test_what_may_succeed_later_is_sent_again_as_it_was(capsys):
    unopened = {"open_refused": produce_pb.OpenRefused(error=Error(code=UNAVAILABLE))}
    subject = producer([unopened, refused(UNAVAILABLE)], [refused(UNAVAILABLE)], [accepted(7)])
    subject.write(numbered(0, 1))
    first, *repeated = subject.stub.requests
    assert repeated == [first, first]
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        "orders/0@7",
        "orders/0@8",
    ]


def test_what_is_refused_for_good_ends_the_program():
    with pytest.raises(SystemExit, match="not now later"):
        producer([refused(NOT_FOUND)]).write(numbered(0))


def test_sequences_rise_by_one_for_each_partition():
    subject = producer([accepted(0)], [accepted(2)])
    subject.write(numbered(0, 1))
    subject.write(numbered(2, 3))
    sequences = [batch.produce.sequence for _opening, batch in subject.stub.requests]
    assert sequences == [0, 1]
