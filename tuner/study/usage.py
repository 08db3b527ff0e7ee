"""The wall time and GPU time that a sweep has used, recorded in its study as they pass.

A killed driver loses only the last few seconds of them.
"""

import time
from collections.abc import Callable, Collection, Mapping

from tuner.study.running_trial import Running
from tuner.study.study import Study

# How often the time is recorded.
BOOK_EVERY_S = 10.0


class Usage:
    """The time that a sweep has used, including earlier runs.

    Args:
        study: the study that records it.
        workers: the number of workers of each trial.
    """

    def __init__(self, study: Study, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._study = study
        self._workers = workers
        self._clock = clock
        self._started_at = self._looked_at = clock()
        booked = study.usage()
        # Folders of versions that did not record the time have a summary, unless their driver was killed.
        self._before_s = max(float(known.get("elapsed_s", 0.0)) for known in (booked, study.summary()))
        self._booked_s = self._before_s
        # GPU time of trials that are neither running nor finished.
        self._waiting: dict[int, float] = {int(number): s for number, s in booked.get("gpu_s", {}).items()}
        self._finished_gpu_s = 0.0

    @property
    def run_s(self) -> float:
        """Seconds since this process took over."""
        return self._clock() - self._started_at

    @property
    def elapsed_s(self) -> float:
        return self._before_s + self.run_s

    def set_elapsed(self, elapsed_s: float) -> None:
        """Set the clock back: a sweep that is paused with nothing running spends no time."""
        self._started_at += self.elapsed_s - elapsed_s

    def gpu_s(self, running: Mapping[int, Running]) -> float:
        """GPU time of all trials."""
        return self._finished_gpu_s + sum(self._waiting.values()) + sum(trial.gpu_s for trial in running.values())

    def finished(self, number: int, gpu_s: float, ended_at_s: float) -> None:
        """Count a trial that has ended, in this run or an earlier one."""
        self._waiting.pop(number, None)
        self._finished_gpu_s += gpu_s
        self._before_s += max(0.0, ended_at_s - self.elapsed_s)

    def left(self, running: Running) -> None:
        """Count a trial that waits to be resumed."""
        self._waiting[running.number] = running.gpu_s

    def taken_up(self, running: Running) -> None:
        """Count a resumed trial's time of earlier runs as its own again."""
        running.lost_gpu_s = max(self._waiting.pop(running.number, 0.0), running.lost_gpu_s)

    def look(self, running: Mapping[int, Running], training: Collection[int]) -> None:
        """Count the time since the last look; call it every second or so.

        Args:
            training: the numbers of trials that have their processes.
        """
        now = self._clock()
        for number in training:
            trial = running.get(number)
            if trial is not None:
                # A report states how long its step took.
                silent_s = min(now - self._looked_at, now - trial.reported_at)
                trial.silent_gpu_s += max(0.0, silent_s) * trial.gpus * self._workers
        self._looked_at = now
        if self.elapsed_s - self._booked_s >= BOOK_EVERY_S:
            self.book(running)

    def book(self, running: Mapping[int, Running]) -> None:
        """Record the time used so far."""
        gpu_s = self._waiting | {number: trial.gpu_s for number, trial in running.items()}
        self._booked_s = self.elapsed_s
        self._study.set_usage(
            {
                "elapsed_s": round(self._booked_s, 3),
                "gpu_s": {str(number): round(seconds, 3) for number, seconds in gpu_s.items() if seconds},
            }
        )
