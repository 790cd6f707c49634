"""A network between client and broker that breaks when it is told to."""

import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Passes bytes between whoever connects and a broker that may move."""

    def __init__(self, broker_address: Callable[[], str]):
        self.broker_address = broker_address
        # Bytes of answers after which each of the next connections is cut.
        self.answer_bytes: list[int] = []
        self.cut_count = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        start(self._accept)

    def cut_often(self, seed: int, count: int):
        """Cuts so many connections in the midst of their answers, the first one not at once."""
        numbers = random.Random(seed)
        self.answer_bytes = [1_000, *(numbers.randrange(100, 500) for _ in range(count - 1))]

    def close(self):
        self.listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                answer_bytes = self.answer_bytes.pop(0) if self.answer_bytes else None
                start(self._connect, client, answer_bytes)

    def _connect(self, client: socket.socket, answer_bytes: int | None):
        host, port = self.broker_address().split(":")
        try:
            broker = socket.create_connection((host, int(port)), timeout=5)
        except OSError:
            client.close()
            return
        broker.settimeout(None)
        start(pass_on, client, broker, None)
        pass_on(broker, client, answer_bytes)
        self.cut_count += answer_bytes is not None


def start(work: Callable, *arguments):
    """Begins work that nobody waits for: it ends with its sockets."""
    threading.Thread(target=work, args=arguments, daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket, bytes_max: int | None):
    """Passes bytes on, up to a number, then shuts both sockets."""
    passed = 0
    with suppress(OSError):
        while some := source.recv(65_536):
            room = len(some) if bytes_max is None else bytes_max - passed
            sink.sendall(some[:room])
            passed += len(some)
            if room < len(some):
                break
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
