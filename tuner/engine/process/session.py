"""Runs one trial's training loop in a thread. Does not depend on Ray."""

import threading
from collections.abc import Callable, Sequence

from tuner.engine.process.last_words import LastWords
from tuner.engine.process.report_queue import Batch, Ending, ReportQueue, failure
from tuner.errors import NotFinite, Plateau, StopTrial
from tuner.records import FailureReason, Report, TrialState
from tuner.stopping.asking import Asking
from tuner.trial.group import Deliver
from tuner.trial.trial import Trial


class QueuedSession:
    """One trial that is trained elsewhere, its reports in a queue.

    Attributes:
        thread: follows the trial, and ends the queue with its ending.
    """

    _queue: ReportQueue
    thread: threading.Thread

    @property
    def saved_step(self) -> int:
        """The last delivered step with a checkpoint, 0 if there is none."""
        return self._queue.saved_step

    def next_batch(self) -> Batch:
        """Let the loop continue after the batch before, and block until there is another."""
        return self._queue.next_batch()

    def stop(self, timeout_s: float | None = None) -> bool:
        """End the loop at its next report and wait for it; return False if it still runs after the timeout."""
        self._queue.stop()
        self.thread.join(timeout_s)
        return not self.thread.is_alive()


class Session(QueuedSession):
    """Runs `train(trial)` in a thread that starts at once, with its reports in a queue.

    Args:
        metrics: the sweep's; if one is not finite the trial ends without asking a rule.
        words: keeps reports until the driver has them.
        make_trial: makes the trial from the callable that takes its reports; called in the new thread.
    """

    def __init__(
        self,
        train: Callable[[Trial], None],
        make_trial: Callable[[Deliver], Trial],
        asking: Asking,
        metrics: Sequence[str],
        words: LastWords | None = None,
    ) -> None:
        self._queue = ReportQueue(asking, metrics, words)
        self.thread = run_in_thread(train, lambda: make_trial(self._deliver), self._queue.end)

    def _deliver(self, report: Report, stop: StopTrial | None) -> None:
        self._queue.put(report)


def run_in_thread(
    train: Callable[[Trial], None], make_trial: Callable[[], Trial], end: Callable[[Ending], None]
) -> threading.Thread:
    """Start `train(make_trial())` in a thread; `end` is called there with its ending, whatever happens."""

    def run() -> None:
        ending = Ending(TrialState.FAILED, FailureReason.ERROR, "its exception can't be shown")
        try:
            ending = outcome(train, make_trial)
        finally:
            end(ending)

    # Not a daemon: threads that a trial starts would inherit it, and could not be distinguished from the daemons of
    # libraries.
    thread = threading.Thread(target=run, name="trial", daemon=False)
    thread.start()
    return thread


def outcome(train: Callable[[Trial], None], make_trial: Callable[[], Trial]) -> Ending:
    """Run a loop in this thread, and how it ended."""
    try:
        trial = make_trial()
        train(trial)
        if trial.stop is not None:
            raise trial.stop
    except NotFinite as error:
        return Ending(TrialState.FAILED, FailureReason.NAN, str(error))
    except Plateau as error:
        return Ending(TrialState.COMPLETED, message=str(error))
    except StopTrial:
        return Ending(TrialState.STOPPED)
    except BaseException as error:
        return failure(error)
    return Ending(TrialState.COMPLETED)
