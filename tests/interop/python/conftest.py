"""What the tests are given: a broker, a client, and topics of their own."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker import Broker
from client import Client


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker that most tests share."""
    yield from run_broker(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may kill and start again."""
    yield from run_broker(tmp_path)


def run_broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        if broker.is_running():
            broker.kill()


@pytest.fixture(scope="session")
def client(broker: Broker) -> Iterator[Client]:
    client = Client(broker.address)
    yield client
    client.close()


@pytest.fixture
def own_client(own_broker: Broker) -> Iterator[Client]:
    """A client of the test's own broker, as long as that is not started again."""
    client = Client(own_broker.address)
    yield client
    client.close()


@pytest.fixture(scope="session")
def topic_names() -> Iterator[str]:
    return (f"topic-{number}" for number in itertools.count())


@pytest.fixture
def new_topic(client: Client, topic_names: Iterator[str]) -> Callable[..., str]:
    """Makes topics that no other test uses; with one partition unless told otherwise."""

    def create(partition_count: int = 1, **fields) -> str:
        return client.create_topic(next(topic_names), partition_count, **fields).name

    return create


@pytest.fixture
def topic(new_topic: Callable[..., str]) -> str:
    """A topic with one partition."""
    return new_topic()


@pytest.fixture
def producer_id() -> bytes:
    return os.urandom(16)


def pytest_terminal_summary(terminalreporter):
    """Tells the counts to `run`."""
    passed, failed, errors = (
        len(terminalreporter.getreports(kind)) for kind in ("passed", "failed", "error")
    )
    Path(os.environ["INTEROP_COUNTS"]).write_text(f"{passed} {failed + errors}\n")
