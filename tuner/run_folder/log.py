"""`log.txt` in the run folder: what the terminal of a sweep was told, one line an event, with the time of day."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.console import LineConsole
from tuner.errors import StudyNotFoundError
from tuner.run_folder.place import Place
from tuner.texts import Screen, one_line

LOG_FILE = "log.txt"
POLL_S = 0.5


class RunLog(LineConsole):
    """A console that appends to `log.txt`. A disk that is full must not end a sweep over its log."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / LOG_FILE).open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        super().__init__(Screen(self._log))

    def event(self, text: str, *, is_detail: bool = False) -> None:
        with contextlib.suppress(OSError):
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {one_line(text)}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._log.close()


def read_log(folder: Path, *, place: Place, look: Callable[[], bool], follow: bool) -> Iterator[str]:
    """The log's text, in pieces; with `follow` on to the end of the driver that runs. Blocks between pieces.

    Args:
        place: what the user calls the folder.
        look: whether a driver runs; called before each reading, and may bring what is to be read.

    Raises `StudyNotFoundError` where there is none.
    """
    read = 0
    while True:
        # Asked before reading: what a driver wrote before it ended is then read still.
        goes_on = look() and follow
        try:
            with (folder / LOG_FILE).open("rb") as file:
                file.seek(read)
                new = file.read()
        except FileNotFoundError:
            raise StudyNotFoundError(
                f"{place} holds no {LOG_FILE}: it is no run folder, or nothing has run yet."
            ) from None
        # Whole lines: a letter may be written in two halves.
        new = new[: new.rfind(b"\n") + 1] if goes_on else new
        read += len(new)
        yield new.decode(errors="replace")
        if not goes_on:
            return
        time.sleep(POLL_S)
