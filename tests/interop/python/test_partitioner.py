"""The partition of a key: the same for the example in Python and for the broker."""

import pytest

from client import Client
from partitioner import VECTORS, WORD, murmur2, partition_of
from records import record

KEYS = [*VECTORS, b"\x00", b"\xff\xfe\xfd", "straße".encode(), b"k" * 65_536]


@pytest.mark.parametrize("key", VECTORS)
def test_murmur2_gives_the_published_values(key: bytes):
    assert murmur2(key) == VECTORS[key] & WORD


@pytest.mark.parametrize("partition_count", [1, 8, 12])
def test_the_broker_places_keys_alike(client: Client, new_topic, partition_count: int):
    topic = new_topic(partition_count)
    published = client.publish(topic, *[record(key, b"value") for key in KEYS])
    places = [position.partition for position in published.positions]
    assert places == [partition_of(key, partition_count) for key in KEYS]
