"""The study as Ray Tune's search algorithm."""

from collections.abc import Callable

from ray.tune.search import SearchAlgorithm

from tuner.engine.driver.ray_trial import RayTrial
from tuner.engine.driver.slots import Slots
from tuner.records import FailureReason, TrialState
from tuner.study.recorder import Recorder
from tuner.study.running_trial import Running


class PauseListener:
    """Receives the trials that Ray Tune's HyperBandForBOHB pauses; their states already say so."""

    def on_pause(self, trial_id: str) -> None:
        pass

    def on_unpause(self, trial_id: str) -> None:
        pass


class StudySearch(SearchAlgorithm):  # type: ignore[misc]  # Ray's classes are untyped
    """Asks the study for trials while a slot is free, and reports their ends to it.

    Args:
        run_cap: the number of trials that the study may hold; None for no limit.
        make_trial: makes Ray Tune's trial for one of the study's.
        max_iter: the step at which a trial stopped by the scheduler has run its full length.
    """

    def __init__(
        self,
        recorder: Recorder,
        make_trial: Callable[[Running], RayTrial],
        slots: Slots,
        run_cap: int | None,
        max_iter: int | None,
    ) -> None:
        self.live: dict[str, RayTrial] = {}
        self.searcher = PauseListener()
        self.is_paused = False
        self.ended_by = ""
        self.error: Exception | None = None
        self._recorder = recorder
        self._make_trial = make_trial
        self._slots = slots
        self._run_cap = run_cap
        self._max_iter = max_iter
        self._num_waiting = recorder.study.num_waiting()

    def next_trial(self) -> RayTrial | None:
        if self.is_finished() or self.is_paused or self._num_busy() >= self._slots.count:
            return None
        if not self._num_waiting and self._run_cap is not None and self._recorder.num_asked >= self._run_cap:
            self.finish("run_cap")
            return None
        running = self._recorder.ask()
        if running is None:
            self.finish("space")
            return None
        self._num_waiting = max(0, self._num_waiting - 1)
        trial = self._make_trial(running)
        self.live[trial.trial_id] = trial
        return trial

    def finish(self, ended_by: str) -> None:
        """Ask for no more trials."""
        self.ended_by = self.ended_by or ended_by
        self.set_finished()

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """Record the end of a trial: by itself, by the scheduler's decision, or by an error.

        Ray Tune swallows errors raised here; they are kept in `error`.
        """
        trial = self.live.pop(trial_id, None)
        if trial is None:
            return
        try:
            self._finish(trial, error)
        except Exception as raised:
            self.error = raised
            raise

    def _finish(self, trial: RayTrial, error: bool) -> None:
        ending = trial.ending
        if ending is not None:
            self._recorder.finish(trial.number, ending.state, ending.reason, ending.message, ending.error)
        elif error:
            self._recorder.finish(trial.number, TrialState.FAILED, FailureReason.ERROR, "Ray Tune failed")
        else:
            last = self._recorder.running[trial.number].last_step
            ran_out = self._max_iter is not None and last >= self._max_iter
            state = TrialState.COMPLETED if ran_out else TrialState.PRUNED
            self._recorder.finish(trial.number, state, message="" if ran_out else f"pruned at step {last}")

    def _num_busy(self) -> int:
        return sum(trial.status in (trial.PENDING, trial.RUNNING) for trial in self.live.values())
