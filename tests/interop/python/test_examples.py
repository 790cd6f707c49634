"""The example client, by the commands of its README and over a network that breaks."""

import json
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest

from broker import PROGRAM, Broker
from client import Client
from program import FOLDER, SECONDS_MAX, Program
from proxy import Proxy

SEED = int(os.environ.get("SEED", random.randrange(2**32)))


@pytest.fixture
def proxy(own_broker: Broker) -> Iterator[Proxy]:
    """A network between the example and the test's own broker."""
    print(f"SEED={SEED}")
    proxy = Proxy(lambda: own_broker.address)
    yield proxy
    proxy.close()


def test_the_readme_prints_what_it_says(own_broker: Broker):
    _, how_to_run = (FOLDER / "README.md").read_text().split("\n## Run\n")
    blocks = "".join(re.findall(r"^```console\n(.*?)^```", how_to_run, re.MULTILINE | re.DOTALL))
    serve, *others = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", blocks, re.MULTILINE)
    assert serve == ("cargo run --release -- serve", "")
    for command, expected in others:
        command = command.replace("cargo run --release --", PROGRAM)
        ended = run(own_broker, "bash", "-c", command)
        # Between partitions there is no order.
        assert sorted(ended.stdout.splitlines()) == sorted(expected.splitlines())
    assert len(others) == 3


def test_the_partitioner_checks_itself(broker: Broker):
    assert run(broker, sys.executable, "partitioner.py").stdout == "7 vectors agree\n"


@pytest.mark.parametrize("script", ["produce.py", "fetch.py"])
def test_a_wrong_name_ends_with_a_hint(own_broker: Broker, own_client: Client, script: str):
    own_client.create_topic("orders")
    ended = run(own_broker, sys.executable, script, "odrers")
    assert ended.returncode == 1
    assert ended.stderr == (
        'error: topic "odrers" not found (TOPIC_NOT_FOUND); did you mean "orders"?\n'
    )


def test_lost_answers_make_no_duplicates(own_client: Client, proxy: Proxy):
    own_client.create_topic("orders", 4)
    lines = numbered_lines(0, 30_000)
    proxy.cut_often(SEED, 8)
    with Program(proxy.url, "produce.py", "orders") as program:
        program.write(lines)
        printed = program.read(len(lines))
        assert program.end() == 0
    assert proxy.cut_count > 3, "answers were lost"
    check_stored(own_client, lines)
    assert len(set(printed)) == len(lines)


def test_a_producer_outlives_its_broker(own_broker: Broker, own_client: Client, proxy: Proxy):
    own_client.create_topic("orders", 4)
    lines = numbered_lines(0, 3_000)
    with Program(proxy.url, "produce.py", "orders") as program:
        program.write(lines[:1_000])
        program.read(1)
        own_broker.kill()
        program.write(lines[1_000:2_000])
        own_broker.start()
        program.write(lines[2_000:])
        program.read(len(lines) - 1)
        assert program.end() == 0
    client = Client(own_broker.address)
    check_stored(client, lines)
    client.close()


def test_a_reader_goes_on_where_it_was(own_broker: Broker, proxy: Proxy):
    lines = numbered_lines(0, 3_000)
    url = f"http://{own_broker.address}"
    client = Client(own_broker.address)
    client.create_topic("orders", 4)
    with Program(url, "produce.py", "orders") as producer:
        producer.write(lines[:2_000])
        assert len(producer.read(2_000)) == 2_000
    client.close()
    proxy.cut_often(SEED, 4)
    with Program(proxy.url, "fetch.py", "orders", "--follow") as reader:
        seen = reader.read(2_000)
        own_broker.kill()
        own_broker.start()
        with Program(proxy.url, "produce.py", "orders") as producer:
            producer.write(lines[2_000:])
            seen += reader.read(1_000)
    seen = [json.loads(line) for line in seen]
    assert len({(it["partition"], it["offset"]) for it in seen}) == len(lines)
    assert by_key((it["key"], it["value"]) for it in seen) == by_key(map(parse, lines))


def run(broker: Broker, *command: str) -> subprocess.CompletedProcess:
    """Runs a command in the folder of the example, to its end."""
    return subprocess.run(
        command,
        cwd=FOLDER,
        env={**os.environ, "TOWPATH_URL": f"http://{broker.address}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS_MAX,
        text=True,
    )


def numbered_lines(start: int, end: int) -> list[str]:
    """Lines of 50 keys whose values rise."""
    return [f"key-{number % 50}\t{number}" for number in range(start, end)]


def parse(line: str) -> list[str]:
    return line.split("\t")


def by_key(records) -> dict[str, list[str]]:
    """The values of each key, in their order."""
    found = defaultdict(list)
    for key, value in records:
        found[key].append(value)
    return found


def check_stored(client: Client, lines: list[str]):
    """Everything is there, once, with the records of each key in their order."""
    stored = client.read("orders").values()
    stored = by_key((it.key.decode(), it.value.decode()) for it in stored)
    assert stored == by_key(map(parse, lines))
