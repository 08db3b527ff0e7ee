"""A real S3 server for tests: moto's, a process of its own on a loopback port, from an environment of its own.

It can't live in ours: botocore, which it needs, refuses the python-dateutil that we pin. `scripts/env` makes its own.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PYTHON = Path(__file__).parents[1] / ".venv" / "s3" / "bin" / "python"
BUCKET = "sweeps"
# As a user sets them.
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Server:
    """`pause` has it answer nobody, with its data kept, until `go_on`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextlib.contextmanager
def running_server(log: Path) -> Iterator[Server]:
    """A server with an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output
        )
    server = Server(process, port)
    try:
        for _ in range(150):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(f"{server.url}/{BUCKET}", method="PUT"))
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        server.go_on()
        process.kill()
        process.wait()
