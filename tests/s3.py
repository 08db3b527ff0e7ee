"""A real S3 server for tests: moto's, a process of its own on a loopback port, from an environment of its own.

It can't live in ours: botocore, which it needs, refuses the python-dateutil that we pin. `scripts/env` makes its own.
"""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

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


class Busy(ThreadingHTTPServer):
    """Stands in front of a server, and answers 503 in its place where it is told to.

    Attributes:
        refusals: how often each part is yet to be refused: of an upload by its number, as `part 1`, of a download by
            its first byte, as `from 0`.
        sent: how often each was asked for.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_behind = server.url.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refusals: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        busy, body = cast(Busy, self.server), self._body()
        part = re.search(r"partNumber=(\d+)", self.path)
        start = re.match(r"bytes=(\d+)", self.headers.get("Range", ""))
        if key := f"part {part[1]}" if part else f"from {start[1]}" if start else "":
            busy.sent[key] += 1
            if busy.refusals[key]:
                busy.refusals[key] -= 1
                self._answer(
                    503, [], b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
                )
                return
        behind = http.client.HTTPConnection(busy.server_behind)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                behind.putheader(name, value)
        behind.endheaders(body)
        with contextlib.closing(behind), behind.getresponse() as reply:
            data = reply.read()
            length = str(reply.getheader("Content-Length")) if self.command == "HEAD" else str(len(data))
            own = ("transfer-encoding", "connection", "content-length", "server", "date")
            headers = [(name, value) for name, value in reply.getheaders() if name.lower() not in own]
            self._answer(reply.status, headers, data, length)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return

    def _body(self) -> bytes:
        """As it came: a client that sends chunks signs them."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = []
        while size := int((line := self.rfile.readline()).partition(b";")[0], 16):
            lines += [line, self.rfile.read(size + 2)]
        lines.append(line)
        while line.strip():
            line = self.rfile.readline()
            lines.append(line)
        return b"".join(lines)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def busy_in_front_of(server: Server) -> Iterator[Busy]:
    with Busy(server) as busy:
        threading.Thread(target=busy.serve_forever, daemon=True).start()
        yield busy
        busy.shutdown()
