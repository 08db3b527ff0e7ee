"""`log.txt` in the run folder: the terminal's events, one a line, with the time of day."""

import contextlib
import time
from pathlib import Path

from tuner.console import LineConsole
from tuner.texts import Screen, one_line

LOG_FILE = "log.txt"


class RunLog(LineConsole):
    """A console that appends to `log.txt`. A full disk must not end a sweep because of its log."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / LOG_FILE).open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        super().__init__(Screen(self._log))

    def event(self, text: str, *, is_detail: bool = False) -> None:
        with contextlib.suppress(OSError):
            self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {one_line(text)}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._log.close()
