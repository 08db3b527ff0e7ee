"""`log.txt` in the run folder: what the terminal of a sweep was told, one line an event, with the time of day."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from tuner.console import LineConsole
from tuner.errors import StudyNotFoundError
from tuner.lock import is_locked

LOG_FILE = "log.txt"
POLL_S = 0.5


class RunLog(LineConsole):
    """A console that appends to `log.txt`. A disk that is full must not end a sweep over its log."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / LOG_FILE).open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        super().__init__(self._log)

    def event(self, text: str, *, is_detail: bool = False) -> None:
        with contextlib.suppress(OSError):
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._log.close()


def read_log(folder: Path, *, follow: bool) -> Iterator[str]:
    """The log's text, in pieces; with `follow` on to the end of the driver that runs. Blocks between pieces.

    Raises `StudyNotFoundError` where there is none.
    """
    try:
        file = (folder / LOG_FILE).open(encoding="utf-8")
    except FileNotFoundError:
        raise StudyNotFoundError(
            f"{folder} holds no {LOG_FILE}: it is no run folder, or nothing has run yet."
        ) from None
    with file:
        while True:
            # Asked before reading: what a driver wrote before it ended is then read still.
            goes_on = follow and is_locked(folder)
            yield file.read()
            if not goes_on:
                return
            time.sleep(POLL_S)
