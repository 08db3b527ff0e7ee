"""The durable study on Optuna storage: each trial's configuration, reports and end.

It is the source of truth of a sweep: everything else can be restored from it. Does not depend on Ray.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from tuner.methods.attributes import OUTCOME, VALUES
from tuner.methods.optuna_compat import study_id, trial_id
from tuner.methods.optuna_space import stored, suggest
from tuner.metric import Goal, Metric
from tuner.records import FailureReason, Report, TrialRecord, TrialState
from tuner.spec.space import SearchSpace
from tuner.study.optuna_records import CHANGES, TO_OPTUNA, read_params, read_record
from tuner.study.optuna_study import open_study

_SUMMARY = "tuner:summary"
_GPUS = "tuner:gpus"
_ATTEMPTS = "tuner:attempts"
_USAGE = "tuner:usage"
_GPU_SHARE = "tuner:gpu_share"
_SPACE = "tuner:space"
_IS_REVISED = "tuner:is_revised"
# The length that any database's text can hold.
_MAX_SPACE_BYTES = 60_000


@dataclass(frozen=True)
class Asked:
    """A trial to run.

    Attributes:
        resumed: whether it ran before and was interrupted.
        gpus: as set by `Study.set_gpus`.
        attempts: as set by `Study.set_attempts`.
    """

    number: int
    params: Mapping[str, Any]
    resumed: bool
    gpus: float | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)


class Study:
    """The study of one sweep.

    Args:
        folder: the run folder; holds the journal if `url` is None.
        name: of the study in its storage.
        url: an Optuna RDB URL, or None for the journal.
        metrics: in the order of the study's directions.
        space: the space of configurations.
        write: False opens an existing study for reading, even while a driver writes it.
        earlier: the trials of earlier sweeps, for methods that learn from them.
        identity: of the study's run; another run's study is refused with `OccupiedError`.
        must_exist: whether to refuse to create a new one.

    Raises `StudyNotFoundError` if there is none, for reading or because it `must_exist`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        url: str | None,
        metrics: Sequence[Metric],
        space: SearchSpace,
        *,
        write: bool,
        earlier: Sequence[Sequence[FrozenTrial]] = (),
        identity: str | None = None,
        must_exist: bool = False,
    ) -> None:
        directions = [_direction(metric.goal) for metric in metrics]
        self._storage, self._journal, self._study = open_study(
            folder, name, url, directions, write=write, identity=identity, must_exist=must_exist
        )
        # A sampler that has exhausted its space stops Optuna's loop, which is not running here.
        self._is_exhausted = False
        self._study.stop = self._exhaust  # type: ignore[method-assign]
        # Searching all trials for a waiting one takes longer with each trial, and usually none waits.
        self._may_have_waiting = True
        self._metrics = tuple(metrics)
        self._space = space
        self._before = self._kept_space()
        self._earlier = earlier
        # Optuna's ids of running trials, by number.
        self._ids: dict[int, int] = {}
        self._next = len(self._frozen())

    @property
    def num_trials(self) -> int:
        """The number of all trials so far."""
        return self._next

    def num_waiting(self) -> int:
        """The number of interrupted trials that are to be resumed."""
        return len(self._frozen(OptunaState.WAITING))

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [read_record(trial, self._before or self._space) for trial in self._frozen()]

    def record(self, number: int) -> TrialRecord:
        return read_record(self._storage.get_trial(self._id(number)), self._before or self._space)

    def ask(self, method: str | BaseSampler, seed: int, start_with: Sequence[Mapping[str, Any]] = ()) -> Asked | None:
        """Start the next trial: an interrupted one, a known good configuration, or a new one by the method.

        Returns None if a finite space is exhausted.
        """
        waiting = self._frozen(OptunaState.WAITING) if self._may_have_waiting else []
        self._may_have_waiting = True
        if not waiting:
            if self._is_exhausted:
                return None
            fixed = self._fixed(start_with)
            if fixed is None:
                return None
            if fixed:
                self._study.enqueue_trial(stored(self._space, fixed))
        number = waiting[0].number if waiting else self._next
        self._study.sampler = method if isinstance(method, BaseSampler) else self._sampler(method, seed, number)
        try:
            with self._batch():
                trial = self._study.ask()
                params = suggest(self._space, trial)
        except BaseException:
            for begun in self._frozen(OptunaState.RUNNING):
                if begun.number not in self._ids:
                    self.interrupt(begun.number)
            raise
        self._ids[trial.number] = trial_id(trial)
        self._next = max(self._next, trial.number + 1)
        self._commit()
        self._may_have_waiting = len(waiting) > 1
        known = trial.user_attrs
        return Asked(trial.number, params, bool(waiting), known.get(_GPUS), known.get(_ATTEMPTS, {}))

    def may_continue(
        self, method: str | BaseSampler, seed: int, number: int, start_with: Sequence[Mapping[str, Any]] = ()
    ) -> bool:
        """Whether a running trial continues however poor it is so far.

        The first known good configuration does: a search must not find less than you would use without one. So does a
        trial of which the method still expects as much as when it chose it, if the method can say.
        """
        from tuner.methods.bayes import MultiFidelitySampler

        if start_with and number == 0:
            return True
        sampler = method if isinstance(method, BaseSampler) else self._sampler(method, seed, number)
        return isinstance(sampler, MultiFidelitySampler) and sampler.keeps_promise(self._study, number)

    def report(self, number: int, reports: Sequence[Report]) -> None:
        """Append to a running trial's curve."""
        trial_id, names = self._id(number), [metric.name for metric in self._metrics]
        with self._batch():
            for report in reports:
                self._storage.set_trial_intermediate_value(trial_id, report.step, report.metrics[names[0]])
                if len(names) > 1:
                    values = [report.metrics[name] for name in names]
                    self._storage.set_trial_user_attr(trial_id, f"{VALUES}{report.step}", values)

    def change_params(self, number: int, after_step: int, params: Mapping[str, Any]) -> None:
        """Record another configuration that a rule has given a running trial, in effect after a step."""
        trial = self._storage.get_trial(self._id(number))
        changes = trial.user_attrs.get(CHANGES) or [[0, read_params(trial, self._space)]]
        kept = [change for change in changes if change[0] < max(after_step, 1)]
        self._storage.set_trial_user_attr(self._id(number), CHANGES, [*kept, [after_step, dict(params)]])

    def cut_changes(self, number: int, after_step: int) -> None:
        """Undo changes of a running trial's configuration that were to apply after a later step."""
        changes = self._storage.get_trial(self._id(number)).user_attrs.get(CHANGES, [])
        kept = [change for change in changes if change[0] <= after_step]
        if len(kept) < len(changes):
            self._storage.set_trial_user_attr(self._id(number), CHANGES, kept if len(kept) > 1 else [])

    def tell(
        self,
        number: int,
        state: TrialState,
        *,
        values: Sequence[float] | None = None,
        reason: FailureReason | None = None,
        message: str = "",
        last_step: int = 0,
        duration_s: float = 0.0,
        gpu_s: float = 0.0,
        ended_at_s: float = 0.0,
    ) -> None:
        """End a trial in a final state; `values`, one for each metric, are for COMPLETED only."""
        outcome = {
            "state": state.value,
            "reason": reason.value if reason else None,
            "message": message,
            "last_step": last_step,
            "duration_s": round(duration_s, 3),
            "gpu_s": round(gpu_s, 3),
            "ended_at_s": round(ended_at_s, 3),
        }
        with self._batch():
            self._storage.set_trial_user_attr(self._id(number), OUTCOME, outcome)
            # Optuna's samplers can't handle pruned trials with several objectives; they leave out failed ones.
            told = TO_OPTUNA[state] if len(self._metrics) == 1 or values else OptunaState.FAIL
            self._study.tell(number, list(values) if values else None, told)
        self._ids.pop(number, None)
        self._commit()

    def interrupt(self, number: int) -> None:
        """Put a running trial back into the queue; it comes before any new one."""
        self._storage.set_trial_state_values(self._id(number), OptunaState.WAITING)
        self._ids.pop(number, None)
        self._may_have_waiting = True
        self._commit()

    def recover(self) -> list[int]:
        """Put the trials that a killed driver left running back into the queue; return their numbers."""
        running = [trial.number for trial in self._frozen(OptunaState.RUNNING)]
        with self._batch():
            for number in running:
                self.interrupt(number)
        return running

    def set_gpus(self, number: int, gpus: float) -> None:
        """Set a running trial's GPUs per worker, also for when it is resumed after an interruption."""
        self._storage.set_trial_user_attr(self._id(number), _GPUS, gpus)
        self._commit()

    def set_attempts(self, number: int, attempts: Mapping[str, int]) -> None:
        """Record losses of a running trial's attempts, also for when it is resumed after an interruption."""
        self._storage.set_trial_user_attr(self._id(number), _ATTEMPTS, dict(attempts))
        self._commit()

    def set_gpu_share(self, share: float, measured: Mapping[str, int]) -> None:
        """Record the share of a GPU chosen for the sweep's trials, and the measurements behind it, in bytes."""
        self._study.set_user_attr(_GPU_SHARE, {"share": share, **measured})
        self._commit()

    def gpu_share(self) -> float | None:
        """The chosen share of a GPU; None if none was chosen yet."""
        share: float | None = self._study.user_attrs.get(_GPU_SHARE, {}).get("share")
        return share

    def set_usage(self, usage: Mapping[str, Any]) -> None:
        """Record the time that the sweep has used so far."""
        self._study.set_user_attr(_USAGE, dict(usage))
        self._commit()

    def usage(self) -> dict[str, Any]:
        """The recorded time; empty if none was recorded yet."""
        return dict(self._study.user_attrs.get(_USAGE, {}))

    def set_summary(self, summary: Mapping[str, Any]) -> None:
        """Record facts of the sweep as a whole: what ended it, times."""
        self._study.set_user_attr(_SUMMARY, dict(summary))
        self._commit()

    def summary(self) -> dict[str, Any]:
        return dict(self._study.user_attrs.get(_SUMMARY, {}))

    def space_before(self) -> SearchSpace | None:
        """The space of all trials so far; None if it was not recorded."""
        return self._before

    def keep_space(self) -> None:
        """Record the space of the trials."""
        kept = self._space.to_dict()
        if self._before != self._space and len(json.dumps(kept)) <= _MAX_SPACE_BYTES:
            self._study.set_user_attr(_SPACE, kept)
            self._before = self._space

    def frozen(self) -> list[FrozenTrial]:
        """All trials, as Optuna's objects."""
        return self._frozen()

    def copy_to(self, name: str, trials: Sequence[FrozenTrial]) -> None:
        """Create a study of another name in the same storage, with these trials."""
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=name, storage=self._storage)  # a killed driver's partial copy
        with self._batch():
            other = optuna.create_study(storage=self._storage, study_name=name, directions=self._study.directions)
            for key, value in self._study.user_attrs.items():
                if key != _SPACE:
                    other.set_user_attr(key, value)
            other.set_user_attr(_IS_REVISED, True)
            other.add_trials(trials)
        self._commit()

    def close(self) -> None:
        if self._journal:
            self._journal.close()
        else:
            self._storage.remove_session()

    def _kept_space(self) -> SearchSpace | None:
        kept = self._study.user_attrs.get(_SPACE)
        return SearchSpace.from_dict(kept) if kept else None

    def _exhaust(self) -> None:
        self._is_exhausted = True

    def _fixed(self, start_with: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Values that are fixed for the next trial: a known good configuration, or its cell of the grid."""
        if self._next < len(start_with):
            return start_with[self._next]
        if self._study.user_attrs.get(_IS_REVISED):
            # Its cells are placed differently from the tried ones.
            return self._space.next_cell([record.params for record in self.records()[len(start_with) :]])
        cells = self._space.grid_cells()
        index = self._next - len(start_with)
        if self._space.is_finite and index >= len(cells):
            return None
        return cells[index % len(cells)]

    def _sampler(self, method: str, seed: int, number: int) -> BaseSampler:
        # Readers of a study need not import the samplers.
        from tuner.methods.table import make_sampler

        return make_sampler(method, seed, number, self._earlier)

    def _frozen(self, *states: OptunaState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(study_id(self._study), number)
        return self._ids[number]

    @contextlib.contextmanager
    def _batch(self) -> Iterator[None]:
        with self._journal.batch() if self._journal else contextlib.nullcontext():
            yield

    def _commit(self) -> None:
        if self._journal:
            self._journal.sync()


def _direction(goal: Goal) -> StudyDirection:
    return StudyDirection.MAXIMIZE if goal is Goal.MAXIMIZE else StudyDirection.MINIMIZE
