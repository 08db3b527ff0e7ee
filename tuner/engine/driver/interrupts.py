"""The signals that ask a sweep to end: Ctrl-C, SIGTERM, and that its terminal was closed."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Takes the signals while it is entered, in the main thread; elsewhere none come.

    The second one raises KeyboardInterrupt. A closed terminal may tell so several times, and a sweep that was started
    with nohup is not to hear of it.

    Attributes:
        is_asked: whether one has come.
        is_from_outside: whether it was another than Ctrl-C, which others may have got as well: a batch system tells all
            processes of a job to end, and a terminal that is closed all that were started from it.
    """

    def __init__(self) -> None:
        self.is_asked = self.is_from_outside = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked and number != signal.SIGHUP:
            raise KeyboardInterrupt
        self.is_asked = True
        self.is_from_outside = self.is_from_outside or number != signal.SIGINT
