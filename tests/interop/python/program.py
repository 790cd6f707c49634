"""A program of the example, as a person runs it."""

import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import partitioner

FOLDER = Path(partitioner.__file__).parent
SECONDS_MAX = 60


class Program:
    """Runs with a pipe at its input and at its output."""

    def __init__(self, url: str, script: str, *arguments: str):
        self.process = subprocess.Popen(
            [sys.executable, FOLDER / script, *arguments],
            env={**os.environ, "TOWPATH_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.input = queue.SimpleQueue()
        self.printed = b""
        self.writer = threading.Thread(target=self._write_all)
        self.writer.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self.input.put(None)
        self.writer.join()
        self.process.stdout.close()

    def write(self, lines: list[str]):
        """Gives it lines to read, as fast as it takes them. Does not wait."""
        self.input.put("".join(f"{line}\n" for line in lines).encode())

    def read(self, count: int) -> list[str]:
        """The next lines that it prints."""
        deadline = time.monotonic() + SECONDS_MAX
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while self.printed.count(b"\n") < count:
                is_ready = selector.select(max(deadline - time.monotonic(), 0))
                some = os.read(self.process.stdout.fileno(), 65_536) if is_ready else b""
                assert some, f"{count} lines expected, printed: {self.printed[-1_000:]}"
                self.printed += some
        *lines, self.printed = self.printed.split(b"\n", count)
        return [line.decode() for line in lines]

    def end(self) -> int:
        """Ends its input and waits until it is done. Returns its exit code."""
        self.input.put(None)
        return self.process.wait(SECONDS_MAX)

    def _write_all(self):
        # What a program does not read when it ends is of no use.
        with suppress(BrokenPipeError), self.process.stdin as stdin:
            while (some := self.input.get()) is not None:
                stdin.write(some)
                stdin.flush()
