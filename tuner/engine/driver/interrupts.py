"""The signals that ask a sweep to end: Ctrl-C, SIGTERM, and a closed terminal."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Handles the signals while it is entered, in the main thread; other threads get none.

    The second signal raises KeyboardInterrupt. A closed terminal may send several, and a sweep started with nohup
    ignores them.

    Attributes:
        is_asked: whether a signal has come.
        is_from_outside: whether it was not Ctrl-C. Other processes may have got it too: a batch system signals all
            processes of a job, and a closed terminal all processes started from it.
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
