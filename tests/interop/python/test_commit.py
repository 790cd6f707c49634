"""Commit: several things at once, all of them or none."""

import uuid

import pytest
from towpath.v1.commit_service_pb2 import (
    AppendRecords,
    CommitRequest,
    CommitResponse,
    Operation,
    SettleRecords,
)
from towpath.v1.commit_service_pb2_grpc import CommitServiceStub
from towpath.v1.position_pb2 import Beginning, Position
from towpath.v1.subscription_service_pb2 import (
    Ack,
    CreateSubscriptionRequest,
    GetSubscriptionRequest,
    PullRequest,
)
from towpath.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from client import CALL_SECONDS_MAX, Client
from consumer import Held, held, settlement
from problem import refusal
from records import Address, numbered


@pytest.fixture
def subscriptions(client: Client) -> SubscriptionServiceStub:
    return SubscriptionServiceStub(client.channel)


@pytest.fixture
def order(client: Client, subscriptions, topic: str) -> Held:
    """A record of a subscription of the same name as its topic, which was pulled."""
    request = CreateSubscriptionRequest(
        name=topic, topic=topic, start=Position(beginning=Beginning())
    )
    subscriptions.CreateSubscription(request, timeout=CALL_SECONDS_MAX)
    client.publish(topic, *numbered(1), partition=0)
    request = PullRequest(subscription=topic, records_max=1, wait_ms=5_000)
    pulled = subscriptions.Pull(request, timeout=CALL_SECONDS_MAX)
    (order,) = [one for delivered in pulled.deliveries for one in held(delivered)]
    return order


def commit(client: Client, *operations: Operation, key: bytes = b"") -> CommitResponse:
    stub = CommitServiceStub(client.channel)
    request = CommitRequest(operations=operations, idempotency_key=key)
    return stub.Commit(request, timeout=CALL_SECONDS_MAX)


def append(topic: str, *numbers: int, **fields) -> Operation:
    return Operation(append=AppendRecords(topic=topic, records=numbered(*numbers), **fields))


def ack(subscription: str, order: Held) -> Operation:
    return Operation(
        settle=SettleRecords(subscription=subscription, settlement=settlement(order, ack=Ack()))
    )


def lag(subscriptions, name: str) -> int:
    request = GetSubscriptionRequest(name=name)
    shown = subscriptions.GetSubscription(request, timeout=CALL_SECONDS_MAX).subscription
    return sum(it.lag_records for it in shown.partitions)


def test_records_for_two_topics_and_an_ack_happen_together(
    client: Client, subscriptions, topic: str, new_topic, order: Held
):
    invoices, ledger = new_topic(1), new_topic(2)
    done = commit(
        client,
        append(invoices, 1),
        append(ledger, 2, 3, partition=1, expected_offset=0),
        ack(topic, order),
    )
    positions = [[(it.partition, it.offset) for it in one.positions] for one in done.results]
    assert positions == [[(0, 0)], [(1, 0), (1, 1)], []]
    stored = client.read(invoices, ledger)
    assert {address: one.value for address, one in stored.items()} == {
        Address(invoices, 0, 0): b"1",
        Address(ledger, 1, 0): b"2",
        Address(ledger, 1, 1): b"3",
    }
    batches = list(client.fetch(invoices, ledger).batches())
    assert {batch.lsn for batch in batches} == {done.lsn}
    assert {batch.append_time_ms for batch in batches} == {done.commit_time_ms}
    assert lag(subscriptions, topic) == 0

    # The same once more, as after a lost answer: the ack tells that it was done.
    again = refusal(lambda: commit(client, append(invoices, 1), ack(topic, order)))
    assert again.reason == "LEASE_EXPIRED"
    assert again.metadata["operation"] == "1"
    assert len(client.read(invoices)) == 1


def test_a_commit_with_a_key_happens_once(client: Client, topic: str, new_topic, order: Held):
    invoices = new_topic(8)
    key = uuid.uuid4().bytes
    operations = [append(invoices, 1, 2, 3), ack(topic, order)]
    first = commit(client, *operations, key=key)
    again = commit(client, *operations, key=key)
    assert (first.is_repeated, again.is_repeated) == (False, True)
    assert (again.results, again.lsn) == (first.results, first.lsn)
    assert len(client.read(invoices)) == 3

    other = refusal(lambda: commit(client, append(invoices, 4), key=key))
    assert (other.reason, other.metadata["field"]) == ("INVALID_ARGUMENT", "idempotency_key")
    assert len(client.read(invoices)) == 3


def test_what_does_not_hold_keeps_all_from_happening(
    client: Client, subscriptions, topic: str, new_topic, order: Held
):
    invoices, ledger = new_topic(1), new_topic(1)
    client.publish(ledger, *numbered(7))
    problem = refusal(
        lambda: commit(
            client,
            append(invoices, 1),
            append(ledger, 2, expected_offset=0),
            ack(topic, order),
        )
    )
    assert problem.reason == "EXPECTED_OFFSET_MISMATCH"
    assert problem.metadata == {
        "operation": "1",
        "topic": ledger,
        "partition": "0",
        "expected_offset": "0",
        "end_offset": "1",
    }
    problem = refusal(lambda: commit(client, append(invoices, 1), append("nowhere", 2)))
    assert (problem.reason, problem.metadata["operation"]) == ("TOPIC_NOT_FOUND", "1")
    assert client.read(invoices) == {}
    assert len(client.read(ledger)) == 1
    assert lag(subscriptions, topic) == 1
    # The record is still the consumer's.
    commit(client, append(invoices, 1), ack(topic, order))
    assert lag(subscriptions, topic) == 0
