"""Records that are delivered later."""

import pytest
from towpath.v1.commit_service_pb2 import CommitRequest, Operation
from towpath.v1.commit_service_pb2_grpc import CommitServiceStub
from towpath.v1.record_pb2 import Record
from towpath.v1.schedule_service_pb2 import (
    CancelScheduleRequest,
    ListSchedulesRequest,
    RescheduleRequest,
    ScheduleRecord,
    ScheduleTime,
)
from towpath.v1.schedule_service_pb2_grpc import ScheduleServiceStub

from client import CALL_SECONDS_MAX, Client
from problem import refusal

HOUR_MS = 3_600_000


@pytest.fixture
def schedules(client: Client) -> ScheduleServiceStub:
    return ScheduleServiceStub(client.channel)


def schedule(client: Client, topic: str, value: str, delay_ms: int, **fields):
    """Schedules a record; returns where it stands."""
    asked = ScheduleRecord(
        topic=topic,
        record=Record(value=value.encode()),
        time=ScheduleTime(delay_ms=delay_ms),
        **fields,
    )
    request = CommitRequest(operations=[Operation(schedule=asked)])
    stub = CommitServiceStub(client.channel)
    (result,) = stub.Commit(request, timeout=CALL_SECONDS_MAX).results
    return result.scheduled


def ids(schedules: ScheduleServiceStub, topic: str) -> list[str]:
    """Those of all pages, by time."""
    found, request = [], ListSchedulesRequest(topic=topic, page_size=2)
    while True:
        page = schedules.ListSchedules(request, timeout=CALL_SECONDS_MAX)
        found += [it.schedule_id for it in page.records]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def cancel(schedules: ScheduleServiceStub, topic: str, schedule_id: str) -> int:
    request = CancelScheduleRequest(topic=topic, schedule_id=schedule_id)
    return schedules.CancelSchedule(request, timeout=CALL_SECONDS_MAX).due_ms


def test_what_is_scheduled_is_listed_moved_cancelled_and_delivered(
    client: Client, schedules, topic: str
):
    first = schedule(client, topic, "a", HOUR_MS, schedule_id="a")
    unnamed = schedule(client, topic, "b", 2 * HOUR_MS)
    schedule(client, topic, "c", 3 * HOUR_MS, schedule_id="c")
    assert first.schedule_id == "a" and unnamed.schedule_id.startswith("@")
    assert ids(schedules, topic) == ["a", unnamed.schedule_id, "c"]
    assert cancel(schedules, topic, unnamed.schedule_id) == unnamed.due_ms
    now = RescheduleRequest(topic=topic, schedule_id="c", time=ScheduleTime(delay_ms=0))
    due_ms = schedules.Reschedule(now, timeout=CALL_SECONDS_MAX).due_ms
    batch = next(client.fetch(topic, follow=True).batches())
    (record,) = batch.batch.records
    assert record.value == b"c" and batch.append_time_ms >= due_ms
    headers = {header.name: header.value for header in record.headers}
    assert headers == {
        "towpath-scheduled-at-ms": str(due_ms).encode(),
        "towpath-schedule-id": b"c",
    }
    assert ids(schedules, topic) == ["a"]


def test_an_id_that_is_taken_and_one_that_is_not_there_are_refused(
    client: Client, schedules, topic: str
):
    schedule(client, topic, "a", HOUR_MS, schedule_id="a")
    taken = refusal(lambda: schedule(client, topic, "b", HOUR_MS, schedule_id="a"))
    assert taken.reason == "SCHEDULE_EXISTS"
    assert (taken.metadata["schedule_id"], taken.metadata["operation"]) == ("a", "0")
    missing = refusal(lambda: cancel(schedules, topic, "b"))
    assert missing.reason == "SCHEDULE_NOT_FOUND"
    assert missing.metadata == {"topic": topic, "schedule_id": "b"}
    too_far = refusal(lambda: schedule(client, topic, "b", 400 * 24 * HOUR_MS))
    assert too_far.reason == "INVALID_ARGUMENT"
    assert too_far.metadata["field"] == "operations[0].schedule.time"
    assert ids(schedules, topic) == ["a"]
