"""What a client sees of a broker that is killed or stopped, and started again."""

from towpath.v1.draining_pb2 import Draining
from towpath.v1.produce_service_pb2 import Refused

import problem
from broker import Broker
from client import Client
from problem import refusal
from records import numbered, record
from test_fetch import STRANGE_RECORDS


def test_everything_survives_a_kill(own_broker: Broker, own_client: Client, producer_id):
    own_client.create_topic("orders", 4)
    own_client.create_topic("audit", 1)
    for number in range(50):
        keyed = [record(b"%d" % key, b"%d" % number) for key in range(number % 7 + 1)]
        own_client.publish("orders", *keyed)
    own_client.publish("audit", *STRANGE_RECORDS.values())
    with own_client.produce() as stream:
        topic_id = stream.open("audit", producer_id).topic_id
        large = [record(b"large", bytes(256 * 1024))] * 8
        answered = [stream.write(0, *large), stream.write(1, *numbered(1))]
    before, batches = own_client.server_info(), all_batches(own_client)
    topics = own_client.list_topics()

    own_broker.kill()
    own_broker.start()

    client = Client(own_broker.address)
    after = client.server_info()
    assert after.broker_id == before.broker_id
    assert after.incarnation > before.incarnation
    assert client.list_topics().topics == topics.topics
    # To the byte, with offsets, LSNs, times and checksums.
    assert all_batches(client) == batches
    with client.produce() as stream:
        opened = stream.open("audit", producer_id, topic_id=topic_id)
        assert [it.sequence for it in opened.last_sequences] == [1]
        repeated = [stream.write(0, *large), stream.write(1, *numbered(1))]
        new = stream.write(2, *numbered(2))
    assert all(answer.is_duplicate for answer in repeated)
    assert [place(answer) for answer in repeated] == [place(answer) for answer in answered]
    assert new.base_offset == answered[1].base_offset + 1
    assert new.lsn > answered[1].lsn
    client.close()


def test_a_broker_that_stops_tells_its_streams(own_broker: Broker, own_client: Client, producer_id):
    own_client.create_topic("orders", 1)
    with own_client.produce() as producing, own_client.fetch("orders", follow=True) as fetching:
        producing.open("orders", producer_id)
        assert producing.write(0, *numbered(0)).base_offset == 0
        own_broker.stop()

        draining = producing.next()
        assert isinstance(draining, Draining) and draining.close_after_ms > 0
        refused = producing.write(1, *numbered(1))
        assert isinstance(refused, Refused) and not refused.is_sequence_spent
        assert problem.of_stream(refused.error).reason == "SHUTTING_DOWN"
        assert producing.close() == []

        fetching.next(Draining)
        ended = refusal(lambda: next(fetching.messages()))
        assert (ended.reason, ended.retry_after_ms) == ("SHUTTING_DOWN", 1000)
    assert own_broker.wait() == 0

    own_broker.start()
    client = Client(own_broker.address)
    assert len(client.read("orders")) == 1
    client.close()


def place(answer) -> tuple[int, int, int]:
    return answer.base_offset, answer.record_count, answer.lsn


def all_batches(client: Client) -> list[bytes]:
    stream = client.fetch("orders", "audit", merge_by_lsn=True)
    return [batch.SerializeToString(deterministic=True) for batch in stream.batches()]
