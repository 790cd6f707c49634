"""A consumer of a durable subscription over the generated stubs."""

import queue
import uuid
from typing import NamedTuple

from towpath.v1.position_pb2 import OffsetRange
from towpath.v1.subscription_service_pb2 import (
    Delivered,
    LeaveReceive,
    OpenReceive,
    ReceiveCredit,
    ReceiveRequest,
    SettleDeliveries,
    Settlement,
)
from towpath.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from client import CALL_SECONDS_MAX, Client

PLENTY = ReceiveCredit(records=1_000_000, bytes=1 << 30)


class Held(NamedTuple):
    """A record that the consumer has."""

    delivery: int
    partition: int
    offset: int
    attempt: int
    is_dead_letter: bool
    value: bytes


def held(delivered: Delivered) -> list[Held]:
    """The records of a delivery."""
    records = iter(delivered.batch.records)
    return [
        Held(
            delivered.delivery,
            delivered.partition,
            offset,
            span.attempt,
            delivered.is_dead_letter,
            next(records).value,
        )
        for span in delivered.spans
        for offset in range(span.first_offset, span.first_offset + span.record_count)
    ]


def settlement(record: Held, **outcome) -> Settlement:
    """What is said of a record."""
    return Settlement(
        delivery=record.delivery,
        partition=record.partition,
        is_dead_letter=record.is_dead_letter,
        ranges=[OffsetRange(start=record.offset, end=record.offset + 1)],
        **outcome,
    )


class Consumer:
    """Takes what it is sent, one record at a time."""

    def __init__(self, client: Client, subscription: str):
        self.requests = queue.SimpleQueue()
        self.waiting: list[Held] = []
        self.caught_up = None
        self.send(open=OpenReceive(subscription=subscription, consumer_id=uuid.uuid4().bytes))
        stub = SubscriptionServiceStub(client.channel)
        self.call = stub.Receive(iter(self.requests.get, None), timeout=CALL_SECONDS_MAX)

    def __enter__(self) -> "Consumer":
        assert self.until("opened").partition_count > 0
        self.send(credit=PLENTY)
        return self

    def __exit__(self, *exception):
        self.requests.put(None)
        self.call.cancel()

    def send(self, **step):
        self.requests.put(ReceiveRequest(**step))

    def until(self, wanted: str):
        """The next message of a kind; records that come before it wait."""
        while True:
            response = next(self.call)
            kind = response.WhichOneof("response")
            message = getattr(response, kind)
            if kind == "delivered":
                self.waiting.extend(held(message))
            if kind == "caught_up":
                self.caught_up = message
            if kind == wanted:
                return message

    def next(self) -> Held:
        """The next record."""
        while not self.waiting:
            self.until("delivered")
        return self.waiting.pop(0)

    def settle(self, record: Held, **outcome) -> bool:
        """Says what became of a record; returns whether it was the consumer's."""
        self.send(settle=SettleDeliveries(settlements=[settlement(record, **outcome)]))
        (result,) = self.until("settled").results
        return not result.expired

    def leave(self):
        """Leaves and waits for the end of the stream."""
        self.send(leave=LeaveReceive())
        for _ in self.call:
            pass
