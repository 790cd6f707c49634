"""Producers with a name: of their lives only the newest writes."""

from broker import Broker
from client import Client
from records import numbered

import problem

from towpath.v1.produce_service_pb2 import DeleteProducerRequest, OpenRefused, Refused, TopicOpened


def test_a_newer_life_shuts_the_older_one_out(client: Client, new_topic):
    topic = new_topic(2)
    old = client.open_producer("relay-1")
    assert (len(old.producer_id), old.producer_epoch) == (16, 1)
    with client.produce() as stream:
        life = {"producer_epoch": old.producer_epoch}
        assert isinstance(stream.open(topic, old.producer_id, **life), TopicOpened)
        assert stream.write(0, *numbered(1)).base_offset == 0
        new = client.open_producer("relay-1")
        assert (new.producer_id, new.producer_epoch) == (old.producer_id, 2)
        # Also in a partition to which nobody has written.
        for sequence, partition in [(1, 0), (0, 0), (0, 1)]:
            refused = stream.write(sequence, *numbered(2), partition=partition)
            check_fenced(refused, topic, 2)
            assert not refused.is_sequence_spent
        check_fenced(stream.open(topic, old.producer_id, handle=1, **life), topic, 2)
        # Without the epoch it is no life of the name at all.
        check_fenced(stream.open(topic, old.producer_id, handle=2), topic, 2)
    with client.produce() as stream:
        opened = stream.open(topic, new.producer_id, producer_epoch=2)
        assert list(opened.last_sequences) == []
        assert stream.write(0, *numbered(3)).base_offset == 1
    assert [it.value for it in client.read(topic).values()] == [b"1", b"3"]


def test_the_last_bytes_of_the_id_number_batches_by_themselves(client: Client, topic):
    life = client.open_producer("relay-2")
    other = life.producer_id[:12] + (1).to_bytes(4, "little")
    with client.produce() as stream:
        stream.open(topic, life.producer_id, producer_epoch=1)
        stream.open(topic, other, producer_epoch=1, handle=1)
        assert stream.write(0, *numbered(1)).base_offset == 0
        assert stream.write(0, *numbered(2), handle=1).base_offset == 1
        client.open_producer("relay-2")
        for handle in (0, 1):
            answer = stream.write(1, *numbered(3), handle=handle)
            assert problem.of_stream(answer.error).reason == "PRODUCER_FENCED"


def test_lives_are_remembered_after_a_kill(own_broker: Broker, own_client: Client):
    own_client.create_topic("orders", 1)
    old = own_client.open_producer("relay-1")
    new = own_client.open_producer("relay-1")
    own_broker.kill()
    own_broker.start()
    client = Client(own_broker.address)
    with client.produce() as stream:
        opened = stream.open("orders", old.producer_id, producer_epoch=1)
        check_fenced(opened, "orders", 2)
        opened = stream.open("orders", new.producer_id, producer_epoch=2, handle=1)
        assert isinstance(opened, TopicOpened)
    client.close()


def test_names_are_listed_and_deleted(client: Client, topic):
    life = client.open_producer("gone")
    request = DeleteProducerRequest(name="gone")
    assert client.producing.DeleteProducer(request).producer.producer_epoch == 1
    found = problem.refusal(lambda: client.producing.DeleteProducer(request))
    assert (found.reason, found.resource) == ("PRODUCER_NOT_FOUND", ("producer", "gone"))
    with client.produce() as stream:
        opened = stream.open(topic, life.producer_id, producer_epoch=1)
        found = problem.of_stream(opened.error)
        assert (found.reason, "producer_epoch" in found.metadata) == ("PRODUCER_FENCED", False)
    again = client.open_producer("gone")
    assert again.producer_id != life.producer_id
    found = problem.refusal(lambda: client.open_producer("a b"))
    assert (found.reason, found.invalid_field) == ("INVALID_ARGUMENT", "name")


def check_fenced(answer: OpenRefused | Refused, topic: str, epoch: int):
    found = problem.of_stream(answer.error)
    assert found.reason == "PRODUCER_FENCED"
    expected = {"producer": "relay-1", "producer_epoch": str(epoch), "topic": topic}
    assert found.metadata == expected
    assert "relay-1" in found.message and found.hint
