"""Optuna's journal in a file that one driver writes and anyone may read, even while it runs.

The lines are those of `optuna.storages.journal.JournalFileBackend`, which can read the file as well. Unlike that
backend, this one takes no lock file (the driver holds the run folder's lock, which the operating system frees when it
dies), writes a batch of entries with one call, repairs a line that a killed driver left half written, and returns an
entry just written to Optuna from memory.
"""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from optuna.storages.journal import BaseJournalBackend

from tuner.errors import SpecError
from tuner.run_folder.outage import append_whole

JOURNAL_FILE = "study.journal"
# Part of the line that begins a trial; within a text its quotes would be escaped.
_BEGINS_TRIAL = b'"op_code":4,'


class Journal(BaseJournalBackend):
    """An append-only file of JSON lines.

    With `write=False` the file must exist and is only read, up to its last whole line.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self._path = path
        self._file = _open_for_append(path) if write else None
        # Entries that Optuna has not read back yet; the first one has number `_first`.
        self._unread: list[dict[str, Any]] = []
        self._first = _count_lines(path) if write else 0
        self._offset = 0
        self._batch: list[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        self._unread += logs
        if self._batch is not None:
            self._batch += lines
        else:
            self._write(lines)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        if self._file is None:
            yield from self._read_new(log_number_from)
            return
        if log_number_from < self._first:
            with self._path.open("rb") as file:
                for number, line in enumerate(
                    itertools.islice(file, log_number_from, self._first), log_number_from + 1
                ):
                    yield self._parsed(number, line)
        unread, self._unread = self._unread[max(0, log_number_from - self._first) :], []
        self._first = max(self._first, log_number_from) + len(unread)
        yield from unread

    def _read_new(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Read the whole lines that a writer has appended since the last call."""
        assert log_number_from == self._first
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                self._first += 1
                yield self._parsed(self._first, line)

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            raise SpecError(
                [
                    f"{self._path}: line {number} can't be read, and later lines build on it: restore the file "
                    "from a copy of the run folder, or cut it before that line to resume from what was recorded until "
                    "then."
                ]
            ) from None
        return entry

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write everything appended inside with one call at the end, also after an error."""
        if self._batch is not None:
            yield
            return
        self._batch = []
        try:
            yield
        finally:
            lines, self._batch = self._batch, None
            self._write(lines)

    def sync(self) -> None:
        """Block until everything written would survive a power failure; a killed process loses nothing anyway."""
        assert self._file is not None
        os.fsync(self._file)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._file is None:
            raise PermissionError(f"{self._path} is open for reading only")
        try:
            append_whole(self._file, b"".join(lines))
        except BaseException:
            self._unread.clear()
            raise


def _open_for_append(path: Path) -> int:
    """Open a journal and cut off the half line of a killed writer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    end = os.fstat(descriptor).st_size
    tail = b""
    while end and b"\n" not in tail:
        start = max(0, end - (1 << 16))
        tail = os.pread(descriptor, end - start, start)
        end = start + tail.rindex(b"\n") + 1 if b"\n" in tail else start
    os.ftruncate(descriptor, end)
    return descriptor


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def count_trials(journal: Path, start: int, stop: int) -> tuple[int, int]:
    """Count the trials that begin in the whole lines between two offsets; also return the end of the last line."""
    with journal.open("rb") as file:
        file.seek(start)
        lines, newline, _ = file.read(stop - start).rpartition(b"\n")
    return lines.count(_BEGINS_TRIAL), start + len(lines) + len(newline)
