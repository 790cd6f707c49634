"""A member of a consumer group over the generated stubs."""

import queue
import uuid

from towpath.v1.group_service_pb2 import (
    CommitOffsets,
    GroupCredit,
    JoinGroup,
    JoinRequest,
    LeaveGroup,
    OffsetCommit,
)
from towpath.v1.group_service_pb2_grpc import GroupServiceStub
from towpath.v1.position_pb2 import Beginning, Position

from client import CALL_SECONDS_MAX, Client

BEGINNING = Position(beginning=Beginning())
PLENTY = GroupCredit(records=1_000_000, bytes=1 << 30)


class Member:
    """Takes what it is sent, one message at a time, and notes what it owns."""

    def __init__(self, client: Client, group: str, topic: str, start: Position | None = BEGINNING):
        self.requests = queue.SimpleQueue()
        self.owned: dict[int, int] = {}
        wish = JoinGroup(
            group=group,
            member_id=uuid.uuid4().bytes,
            client_name="interop",
            topics=[topic],
            start=start,
        )
        self.send(join=wish)
        groups = GroupServiceStub(client.channel)
        requests = iter(self.requests.get, None)
        self.call = groups.Join(requests, timeout=CALL_SECONDS_MAX)

    def __enter__(self) -> "Member":
        assert self.next()[0] == "joined"
        self.send(credit=PLENTY)
        return self

    def __exit__(self, *exception):
        self.requests.put(None)
        self.call.cancel()

    def send(self, **step):
        self.requests.put(JoinRequest(**step))

    def next(self):
        """The next message and its kind, but for heartbeats."""
        while True:
            response = next(self.call)
            kind = response.WhichOneof("response")
            message = getattr(response, kind)
            if kind == "assigned":
                generation = message.generation
                self.owned.update({it.partition: generation for it in message.partitions})
            if kind != "heartbeat":
                return kind, message

    def until(self, wanted: str):
        while True:
            kind, message = self.next()
            if kind == wanted:
                return message

    def owns(self, count: int):
        while len(self.owned) < count:
            self.next()

    def commit(self, partition: int, offset: int, generation: int | None = None):
        owned = self.owned.get(partition, 0)
        commit = OffsetCommit(
            partition=partition,
            offset=offset,
            generation=owned if generation is None else generation,
        )
        self.send(commit=CommitOffsets(offsets=[commit]))
        (result,) = self.until("committed").results
        return result

    def leave(self):
        """Leaves and waits for the end of the stream."""
        self.send(leave=LeaveGroup())
        for _ in self.call:
            pass
