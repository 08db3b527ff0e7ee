"""Does slow work on files in a background thread, in order."""

import threading
from collections import deque
from collections.abc import Callable

from tuner.errors import StorageError
from tuner.run_folder.outage import storing


class Beside:
    """A thread that does one piece of work after another; a failure to write is raised by the next call.

    Call its methods from one thread only.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_busy = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Queue work; does not block. Raises `StorageError` if earlier work could not be written."""
        with self._changed:
            self._check()
            self._waiting.append(work)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tuner-files", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Block until all work is done. Raises `StorageError` if something could not be written."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not (self._waiting or self._is_busy))
            self._check()

    def abandon(self) -> None:
        """Drop the work that has not begun; block for the rest."""
        with self._changed:
            self._waiting.clear()
            self._changed.wait_for(lambda: not self._is_busy)

    def close(self) -> None:
        """End the thread and drop unfinished work. May be called twice; the next `do` starts a new thread."""
        self.abandon()
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self._waiting.clear()
            if isinstance(error, StorageError):
                raise StorageError(*error.args) from error
            raise error

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._thread is not me or (self._waiting and not self._error))
                if self._thread is not me:
                    return
                work, self._is_busy = self._waiting.popleft(), True
            try:
                with storing():
                    work()
            except BaseException as error:
                self._error = error
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
