"""A broker process on a data folder of its own."""

import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

PROGRAM = os.environ["TOWPATH_BIN"]
START_SECONDS_MAX = 20
END_SECONDS_MAX = 20


class Broker:
    """Listens on a free port, another one after each start."""

    def __init__(self, folder: Path):
        self.data = folder / "data"
        self.log = folder / "log"
        self.process = None
        self.address = ""

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data-dir", self.data],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.address = self._read_address()
        except BaseException:
            self.kill()
            raise

    def kill(self):
        """Ends it with SIGKILL: it writes nothing more."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Asks it to stop; it tells its streams and ends. Does not wait."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Waits for its end and returns its exit code."""
        code = self.process.wait(END_SECONDS_MAX)
        self.process.stdout.close()
        return code

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _end(self, number: signal.Signals):
        if self.is_running():
            self.process.send_signal(number)
        self.wait()

    def _read_address(self) -> str:
        """It prints its address among other things once it serves."""
        printed, deadline = b"", time.monotonic() + START_SECONDS_MAX
        while not (found := re.search(rb"(127\.0\.0\.1:\d+)\s", printed)):
            seconds = max(deadline - time.monotonic(), 0)
            is_ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            some = os.read(self.process.stdout.fileno(), 4096) if is_ready else b""
            assert some, f"the broker does not serve: {self.log.read_text()}"
            printed += some
        return found[1].decode()
