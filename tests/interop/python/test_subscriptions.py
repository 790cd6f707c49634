"""Durable subscriptions: consumers that settle record by record, and dead letters."""

import pytest
from towpath.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    DeadLetterKind,
    DeadLetterRef,
    DiscardDeadLettersRequest,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    RedriveDeadLettersRequest,
    RedriveToTopic,
)
from towpath.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from towpath.v1.position_pb2 import Beginning, Position
from towpath.v1.subscription_service_pb2 import (
    Ack,
    CreateSubscriptionRequest,
    DeleteSubscriptionRequest,
    GetSubscriptionRequest,
    Nack,
    PullRequest,
    Release,
    SettleRequest,
    SubscriptionConfig,
    ToDeadLetters,
)
from towpath.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from client import CALL_SECONDS_MAX, Client
from consumer import Consumer, held, settlement
from problem import refusal
from records import numbered, record

BEGINNING = Position(beginning=Beginning())
AT_ONCE = SubscriptionConfig(backoff_min_ms=0, backoff_max_ms=0)


@pytest.fixture
def subscriptions(client: Client) -> SubscriptionServiceStub:
    return SubscriptionServiceStub(client.channel)


@pytest.fixture
def letters(client: Client) -> DeadLetterServiceStub:
    return DeadLetterServiceStub(client.channel)


@pytest.fixture
def name(subscriptions, topic: str) -> str:
    """A subscription to a topic of the same name."""
    create(subscriptions, topic)
    return topic


def create(subscriptions, topic: str, start: Position | None = BEGINNING, **fields):
    request = CreateSubscriptionRequest(
        name=topic, topic=topic, start=start, config=AT_ONCE, **fields
    )
    return subscriptions.CreateSubscription(request, timeout=CALL_SECONDS_MAX)


def lag(subscriptions, name: str) -> int:
    request = GetSubscriptionRequest(name=name)
    shown = subscriptions.GetSubscription(request, timeout=CALL_SECONDS_MAX).subscription
    return sum(it.lag_records for it in shown.partitions)


def list_letters(letters, name: str, **fields):
    request = ListDeadLettersRequest(subscription=name, value_bytes_max=100, **fields)
    return letters.ListDeadLetters(request, timeout=CALL_SECONDS_MAX).dead_letters


def wait_for_letters(letters, name: str, count: int):
    found = []
    while len(found) < count:
        found = list_letters(letters, name)
    return found


def redrive(letters, name: str, **fields):
    """Redrives to the end, and returns what is told last."""
    request = RedriveDeadLettersRequest(subscription=name, **fields)
    *_, last = letters.RedriveDeadLetters(request, timeout=CALL_SECONDS_MAX)
    assert last.is_done
    return last


def with_a_letter(client: Client, letters, name: str):
    """Records of one key, of which the first is dead."""
    client.publish(name, *(record(b"key", b"%d" % number) for number in range(3)))
    with Consumer(client, name) as consumer:
        assert consumer.settle(consumer.next(), dead_letter=ToDeadLetters(reason="no account"))
        return wait_for_letters(letters, name, 3)


def test_every_record_is_settled_once(client: Client, subscriptions, name: str):
    client.publish(name, *numbered(*range(5)))
    with Consumer(client, name) as consumer:
        for number in range(5):
            one = consumer.next()
            assert (one.value, one.attempt) == (b"%d" % number, 1)
            assert consumer.settle(one, ack=Ack())
        consumer.leave()
    assert lag(subscriptions, name) == 0


def test_a_consumer_is_told_when_nothing_can_be_handed_out(client: Client, name: str):
    with Consumer(client, name) as consumer:
        assert consumer.until("caught_up").waiting_records == 0
        last = client.publish(name, *numbered(*range(3))).lsn
        while (told := consumer.until("caught_up")).lsn < last:
            pass
        assert len(consumer.waiting) == told.in_flight_records == 3, "behind the records"
        assert consumer.settle(consumer.next(), nack=Nack(reason="later", delay_ms=3_600_000))
        for _ in range(2):
            assert consumer.settle(consumer.next(), ack=Ack())
        while consumer.caught_up.in_flight_records:
            consumer.until("caught_up")
        told = consumer.caught_up
        assert (told.elsewhere_in_flight_records, told.waiting_records) == (0, 1)
        assert told.broker_time_ms < told.next_due_ms <= told.broker_time_ms + 3_600_000


def test_what_failed_or_was_given_back_comes_again(client: Client, name: str):
    client.publish(name, record(b"key", b"value"))
    with Consumer(client, name) as consumer:
        first = consumer.next()
        assert consumer.settle(first, nack=Nack(reason="try again"))
        second = consumer.next()
        assert second.attempt == 2
        assert consumer.settle(second, release=Release())
        third = consumer.next()
        assert third.attempt == 2, "what is released counts no attempt"
        assert not consumer.settle(first, ack=Ack()), "its lease is over"
        assert consumer.settle(third, ack=Ack())


def test_records_are_pulled_and_settled_with_single_calls(client: Client, subscriptions, name):
    client.publish(name, *numbered(1, 2, 3))
    request = PullRequest(subscription=name, records_max=10, wait_ms=10_000)
    pulled = subscriptions.Pull(request, timeout=CALL_SECONDS_MAX)
    records = [it for delivered in pulled.deliveries for it in held(delivered)]
    assert [it.value for it in records] == [b"1", b"2", b"3"]
    settlements = [settlement(it, ack=Ack()) for it in records]
    request = SettleRequest(subscription=name, settlements=settlements)
    settled = subscriptions.Settle(request, timeout=CALL_SECONDS_MAX)
    assert not any(it.expired for it in settled.results)
    assert lag(subscriptions, name) == 0


def test_a_dead_letter_tells_what_became_of_it(client: Client, letters, name: str):
    dead, *parked = with_a_letter(client, letters, name)
    assert (dead.reason, dead.origin_topic, dead.origin_offset) == ("no account", name, 0)
    assert dead.record == record(b"key", b"0")
    assert [it.kind for it in parked] == [DeadLetterKind.Value("DEAD_LETTER_KIND_PARKED")] * 2
    only_dead = DeadLetterFilter(reason_contains="account")
    assert len(list_letters(letters, name, filter=only_dead)) == 1
    request = GetDeadLetterRequest(
        subscription=name, letter=DeadLetterRef(partition=0, offset=dead.offset)
    )
    shown = letters.GetDeadLetter(request, timeout=CALL_SECONDS_MAX)
    assert shown.dead_letter.record.value == b"0"


def test_a_key_is_redriven_in_order(client: Client, subscriptions, letters, name: str):
    with_a_letter(client, letters, name)
    by_reason = DeadLetterFilter(reason_contains="account")
    counted = redrive(letters, name, filter=by_reason, validate_only=True)
    assert counted.redriven_count == 3, "with those behind it"
    assert redrive(letters, name, filter=by_reason).redriven_count == 3
    with Consumer(client, name) as consumer:
        for number in range(3):
            one = consumer.next()
            assert (one.is_dead_letter, one.value) == (True, b"%d" % number)
            assert consumer.settle(one, ack=Ack())
    assert not list_letters(letters, name)
    assert lag(subscriptions, name) == 0


def test_dead_letters_become_records_of_a_topic(client: Client, letters, name: str, new_topic):
    dead, *_ = with_a_letter(client, letters, name)
    target = new_topic()
    one = DeadLetterFilter(letters=[DeadLetterRef(partition=0, offset=dead.offset)])
    mended = RedriveToTopic(topic=target, replacement=record(b"key", b"mended"))
    assert redrive(letters, name, filter=one, to_topic=mended).redriven_count == 1
    (found,) = client.read(target).values()
    headers = {it.name: it.value for it in found.headers}
    assert found.value == b"mended"
    assert headers["towpath-redrive-topic"] == name.encode()
    assert len(list_letters(letters, name)) == 2


def test_nobody_else_writes_among_dead_letters(client: Client, letters, name: str):
    with_a_letter(client, letters, name)
    problem = refusal(lambda: client.publish(f"{name}.dlq", record(b"key", b"foreign")))
    assert problem.reason == "TOPIC_IN_USE"
    assert problem.metadata == {"topic": f"{name}.dlq", "subscriptions": name}
    assert len(list_letters(letters, name)) == 3


def test_dead_letters_are_discarded_with_a_reason(client: Client, letters, name: str):
    with_a_letter(client, letters, name)

    def discard(**fields):
        request = DiscardDeadLettersRequest(subscription=name, **fields)
        *_, last = letters.DiscardDeadLetters(request, timeout=CALL_SECONDS_MAX)
        return last

    assert refusal(discard).reason == "INVALID_ARGUMENT"
    assert discard(reason="a test").discarded_count == 3
    assert not list_letters(letters, name)
    gone = GetDeadLetterRequest(subscription=name, letter=DeadLetterRef())
    shown = refusal(lambda: letters.GetDeadLetter(gone, timeout=CALL_SECONDS_MAX))
    assert shown.reason == "DEAD_LETTER_NOT_FOUND"


def test_a_subscription_says_where_it_begins_and_is_deleted(subscriptions, topic: str):
    assert refusal(lambda: create(subscriptions, topic, start=None)).reason == "START_UNSET"
    assert not create(subscriptions, topic).existed
    assert create(subscriptions, topic).existed
    request = DeleteSubscriptionRequest(name=topic)
    subscriptions.DeleteSubscription(request, timeout=CALL_SECONDS_MAX)
    assert refusal(lambda: lag(subscriptions, topic)).reason == "SUBSCRIPTION_NOT_FOUND"
