"""What a process leaves for after its death: its latest reports, how it ended itself, what it printed last.

A dying process loses what it has not delivered yet; so each report is written to a file of its node first, which costs
some microseconds.
"""

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.engine.ray_compat.sentences import CRASHED, LOG_PREFIXES
from tuner.records import Report

# How much of a process's output in its last trial is read, and kept.
TAIL_BYTES = 1 << 15
TAIL_LINES = 30
_EXIT = "tuner: this process ends itself by os._exit"
# Lines that are not the code's own output.
_NOISE = (*LOG_PREFIXES, _EXIT)


@dataclass(frozen=True)
class Death:
    """How a process died.

    Attributes:
        cause: such as `with exit code 3`; empty if it left none, as when it was killed from outside.
        printed: the last lines of its latest trial, stderr after stdout.
        reports: reports of its latest trial that may not have arrived.
    """

    cause: str = ""
    last_line: str = ""
    printed: str = ""
    reports: tuple[Report, ...] = ()

    @property
    def is_by_itself(self) -> bool:
        """Whether its own code ended it, and would do so again."""
        return bool(self.cause)

    def told(self) -> str:
        """`its process died with exit code 3; it last printed: no such file`."""
        cause = self.cause or "without a word: killed from outside, as when memory runs out"
        return f"its process died {cause}" + (f"; it last printed: {self.last_line[:200]}" if self.last_line else "")


class LastWords:
    """The files that a process writes while it trains. Failing storage loses only them.

    Reports go to two files in turn: one has the reports in delivery to the driver, the other the waiting ones.

    Args:
        folder: on this machine; created if missing.
        name: of this process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._start = _start_path(folder, name)
        self._reports: list[int] = []
        self._current = 0
        self._names: tuple[str, ...] = ()
        self._head = "[]"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for path in _report_paths(folder, name):
                self._reports.append(
                    os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                )
        self.begin()

    def begin(self) -> None:
        """Begin a trial: forget the one before."""
        with contextlib.suppress(OSError):
            for descriptor in self._reports:
                os.ftruncate(descriptor, 0)
            self._start.write_text(json.dumps([_position(1), _position(2)]), encoding="utf-8")

    def add(self, report: Report) -> None:
        """Write down a report before it is delivered."""
        if len(self._reports) == 2:
            with contextlib.suppress(OSError):
                os.write(self._reports[self._current], self._line(report))

    def read(self) -> "Death":
        """What would be read of this process now: of one that it has started, which prints where it does."""
        return read_death(self._folder, self._name)

    def close(self) -> None:
        """End normally: leave nothing to read, and ignore later reports."""
        forget(self._folder, self._name)

    def _line(self, report: Report) -> bytes:
        # Takes a third of JSON's time.
        if (names := tuple(report.metrics)) != self._names:
            self._names, self._head = names, json.dumps(names)
        values = " ".join([repr(float(value)) for value in report.metrics.values()])
        fields = f"{report.step}\t{report.time_s!r}\t{report.timestamp!r}\t{report.has_checkpoint:d}"
        return f"{self._head}\t{fields}\t{values}\n".encode()

    def hand_out(self) -> None:
        """Note that all added reports are in delivery, and that the ones before have arrived."""
        if len(self._reports) == 2:
            self._current = 1 - self._current
            with contextlib.suppress(OSError):
                os.ftruncate(self._reports[self._current], 0)


def read_death(folder: Path, name: str) -> Death:
    """Read what a dead process of this machine has left; empty if nothing."""
    reports: dict[tuple[float, int], Report] = {}
    for path in _report_paths(folder, name):
        with contextlib.suppress(OSError, ValueError):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            found = [_report(line) for line in lines if line.endswith("\n")]
            reports |= {(report.timestamp, report.step): report for report in found}
    try:
        starts = json.loads(_start_path(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        starts = []
    out, err = ([*map(_tail, starts), [], []])[:2]
    cause = ""
    told = err
    for index, line in reversed(list(enumerate(err))):
        if line.startswith(_EXIT):
            cause, told = f"with exit code {line.rpartition(' ')[2]}", err[:index]
            break
        if signal := CRASHED.match(line):
            cause, told = f"by {signal[1]}", err[:index]  # the rest says where, which `printed` holds
    err, told, out = [[line for line in lines if not line.startswith(_NOISE)] for lines in (err, told, out)]
    return Death(
        cause=cause,
        last_line=next((line.strip() for lines in (told, out) for line in reversed(lines) if line.strip()), ""),
        printed="\n".join([*out[-TAIL_LINES:], *err[-TAIL_LINES:]]),
        reports=tuple(reports[key] for key in sorted(reports)),
    )


def forget(folder: Path, name: str) -> None:
    """Remove a process's files."""
    for path in (*_report_paths(folder, name), _start_path(folder, name)):
        with contextlib.suppress(OSError):
            path.unlink()


def tell_exits() -> None:
    """Make this process print when its own code ends it by `os._exit`, which leaves no other trace."""
    really_exit, owner = os._exit, os.getpid()

    def leave(code: int) -> Any:
        # Not a child forked by multiprocessing, which always ends this way.
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os.write(2, f"\n{_EXIT} {code}\n".encode())
        really_exit(code)

    os._exit = leave  # type: ignore[assignment]  # it does not return either


def _report(line: str) -> Report:
    names, step, time_s, timestamp, has_checkpoint, values = line.split("\t")
    metrics = dict(zip(json.loads(names), map(float, values.split()), strict=True))
    return Report(int(step), metrics, float(time_s), float(timestamp), has_checkpoint == "1")


def _report_paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.0.tsv", folder / f"{name}.1.tsv"


def _start_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.start.json"


def _position(descriptor: int) -> tuple[str, int]:
    """The file of a stream of this process, and its present length."""
    path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    return path, os.fstat(descriptor).st_size


def _tail(start: tuple[str, int]) -> list[str]:
    """The last lines of a file, from a position on."""
    path, position = start
    try:
        if not Path(path).is_file():
            return []
        with Path(path).open("rb") as file:
            file.seek(max(position, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
