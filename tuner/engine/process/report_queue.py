"""Passes a trial's reports to the driver: queued by its loop, delivered in batches.

The loop does not wait for the driver: it queues a report and continues. Only at steps where an early stopping rule is
asked does it wait for the driver's answer; asking for the next batch means "continue".
"""

import math
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.engine.process.last_words import LastWords
from tuner.errors import MissingMetricError, NodeStorageError, StopTrial, StorageError
from tuner.records import FailureReason, Report, TrialState
from tuner.stopping.asking import Asking
from tuner.trial.devices import is_out_of_memory

# A batch is delivered this long after the one before it, unless the loop waits for the driver's answer: at most
# twenty exchanges a second for a trial, and a stop decided in between is this much late.
LINGER_S = 0.05
# A loop that is this many reports ahead of the driver waits for it.
MAX_QUEUED = 10_000


@dataclass(frozen=True)
class Ending:
    """How a training loop ended: the final state, and the traceback of an exception.

    `lacks_metric`: it did not report the sweep's metric. `lacks_storage`: it could not write a checkpoint.
    `lacks_node_storage`: it could not write to its own machine, `node_id`. `lost_node`: this machine is gone. None of
    these is its own fault. `lacks_gpu_memory`: it ran out of a GPU's memory. `ended_itself`: its own code ended its
    process. `left` are the latest reports of a dead process, some of which may have arrived.
    """

    state: TrialState
    reason: FailureReason | None = None
    message: str = ""
    error: str = ""
    lacks_metric: bool = False
    lacks_storage: bool = False
    lost_node: bool = False
    lacks_gpu_memory: bool = False
    lacks_node_storage: bool = False
    node_id: str = ""
    ended_itself: bool = False
    left: tuple[Report, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Reports in order, and the ending if the loop ended after the last of them."""

    reports: list[Report]
    ending: Ending | None


class Stopped(StopTrial):
    """The driver has decided to end the trial."""


class ReportQueue:
    """Connects the loop, which reports in its thread, to the driver, which takes batches in another.

    Args:
        metrics: the sweep's; if one is not finite the trial ends without asking a rule.
        words: keeps reports until the driver has them.
    """

    def __init__(self, asking: Asking, metrics: Sequence[str], words: LastWords | None = None) -> None:
        self._words = words
        if words is not None:
            words.begin()
        self._asking = asking
        self._metrics = metrics
        self._changed = threading.Condition()
        self._reports: list[Report] = []
        self._ending: Ending | None = None
        self._stopping = False
        # The last delivered step, and the last that the driver has answered.
        self._handed_out = 0
        self._answered = 0
        self._waits_at = 0
        self._put_at = 0
        self._last_batch = 0.0
        # The last delivered step that was saved, 0 for none.
        self.saved_step = 0

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def put(self, report: Report) -> None:
        """Queue a report, from the loop's thread; raises `Stopped` once the trial has to end."""
        with self._changed:
            if self._stopping:
                raise Stopped
            if self._words is not None:
                self._words.add(report)
            self._reports.append(report)
            if (
                all(math.isfinite(report.metrics[name]) for name in self._metrics)
                and self._asking.waits
                and self._asking(report.step, self._put_at)
            ):
                self._waits_at = report.step
            self._put_at = report.step
            if len(self._reports) == 1 or self._waits_at == report.step:
                self._changed.notify_all()
            if self._waits_at == report.step:
                self._changed.wait_for(lambda: self._stopping or self._answered >= report.step)
            elif len(self._reports) >= MAX_QUEUED:
                self._changed.wait_for(lambda: self._stopping or not self._reports)
            if self._stopping:
                raise Stopped

    def next_batch(self) -> Batch:
        """Answer "go on" to the batch before and block until there is another."""
        with self._changed:
            self._answered = self._handed_out
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._reports or self._ending)
            self._changed.wait_for(self._is_urgent, timeout=self._last_batch + LINGER_S - time.monotonic())
            reports, self._reports = self._reports, []
            if reports:
                self._handed_out = reports[-1].step
            self.saved_step = max((r.step for r in reports if r.has_checkpoint), default=self.saved_step)
            if self._words is not None:
                self._words.hand_out()
            self._last_batch = time.monotonic()
            self._changed.notify_all()
            return Batch(reports, self._ending)

    def stop(self) -> None:
        """Make the waiting or next `put` raise `Stopped`; does not block."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def end(self, ending: Ending) -> None:
        """Note that the loop has ended: the next batch is the last."""
        with self._changed:
            self._ending = ending
            self._changed.notify_all()

    def _is_urgent(self) -> bool:
        # A checkpoint is usable once its report is recorded: a dying process loses its queue.
        is_saved = any(report.has_checkpoint for report in self._reports)
        return self._ending is not None or self._waits_at > self._answered or is_saved


def failure(error: BaseException) -> Ending:
    """The ending of a trial that raised an error."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "(its text can't be made)"
    lines = f"{kind}: {text}".splitlines() or [kind]
    lacks_gpu_memory = is_out_of_memory(error)
    is_oom = lacks_gpu_memory or isinstance(error, MemoryError) or kind == "OutOfMemoryError"
    return Ending(
        TrialState.FAILED,
        FailureReason.OOM if is_oom else FailureReason.ERROR,
        # Undecodable file names contain lone surrogates, which can't be printed or stored.
        lines[0][:300].encode("utf-8", "backslashreplace").decode(),
        "".join(traceback.format_exception(error)),
        lacks_metric=isinstance(error, MissingMetricError),
        lacks_storage=isinstance(error, StorageError) and not isinstance(error, NodeStorageError),
        lacks_node_storage=isinstance(error, NodeStorageError),
        lacks_gpu_memory=lacks_gpu_memory,
    )
