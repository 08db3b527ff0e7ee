"""Earlier sweeps that a new one starts from. Their trials are copied to its run folder, so it does not need theirs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from tuner.errors import ObjectStoreError, SpecError, StudyNotFoundError
from tuner.methods.optuna_space import distributions, stored
from tuner.metric import Metric
from tuner.records import FailureReason, TrialRecord, TrialState
from tuner.results.results import Results
from tuner.run_folder.trial_files import HISTORY_FILE, finite, read_json
from tuner.spec.domains import Constant, same
from tuner.spec.space import SearchSpace
from tuner.spec.sweep_spec import SweepSpec

# How many of the best configurations of earlier sweeps are tried first: of each sweep, and of all together.
_BEST_OF_EACH = 3
_BEST_OF_ALL = 6


@dataclass(frozen=True)
class History:
    """The findings of earlier sweeps in a sweep's space.

    Attributes:
        told: a sentence about each sweep.
        start_with: their best configurations, in turn; parameters they leave out are sampled.
        trials: of each sweep, as its sampler takes them.
    """

    told: tuple[str, ...] = ()
    start_with: tuple[dict[str, Any], ...] = ()
    trials: tuple[tuple[FrozenTrial, ...], ...] = ()

    @classmethod
    def read(cls, folder: Path, space: SearchSpace) -> "History":
        """Read the history in a run folder; empty if its sweep started from none."""
        path = folder / HISTORY_FILE
        kept = read_json(path)
        if not kept and path.exists():
            raise SpecError(
                [
                    f"{path}, which holds the trials of `start_from`, can't be read: restore it from a copy, or "
                    "delete it to resume without."
                ]
            )
        return cls._of(kept, space)

    @classmethod
    def of(cls, sweeps: Sequence[Sequence[TrialRecord]], metric: Metric, space: SearchSpace) -> "History":
        """The history of given trials, sweep by sweep."""
        found = [_Found(f"starts from {len(trials)} trials", _fitting(trials, space)) for trials in sweeps]
        return cls._of(_gathered(found, metric), space)

    @classmethod
    def _of(cls, kept: Mapping[str, Any], space: SearchSpace) -> "History":
        sweeps = kept.get("sweeps", [])
        return cls(
            told=tuple(sweep["told"] for sweep in sweeps),
            start_with=tuple(kept.get("start_with", [])),
            trials=tuple(
                tuple(_frozen(number, trial, space) for number, trial in enumerate(sweep["trials"])) for sweep in sweeps
            ),
        )


class _Found(NamedTuple):
    """A sentence about an earlier sweep, and its trials with their configurations in the new space."""

    told: str
    fitting: list[tuple[TrialRecord, dict[str, Any]]]


def gather_history(spec: SweepSpec) -> str:
    """Collect the trials of the run folders in `start_from`, as JSON for the sweep's own run folder.

    Raises `SpecError`, with all problems at once, for a folder without a sweep, with another metric, or without a trial
    that has useful reports and lies in the sweep's space.
    """
    problems: list[str] = []
    found: list[_Found] = []
    for index, place in enumerate(spec.start_from):
        try:
            results = Results.read(place)
        except (StudyNotFoundError, ObjectStoreError, SpecError) as error:
            told = str(error).splitlines()[0]
            problems.append(f"start_from[{index}]: {told} Give the folder of a run, such as runs/digits-7f3a.")
            continue
        ours, theirs = spec.metrics[0], results.spec.metrics[0]
        if (theirs.name, theirs.goal) != (ours.name, ours.goal):
            problems.append(
                f"start_from[{index}]: {place} was to {theirs.goal.value} {theirs.name}, "
                f"but this sweep is to {ours.goal.value} {ours.name}: leave it out, or name runs of the same metric."
            )
            continue
        fitting, of_all = _fitting(results.trials, spec.parameters), len(results.trials)
        if not any(map(_is_telling, results.trials)):
            problems.append(
                f"start_from[{index}]: none of the {of_all} trials of {place} has a useful result: leave it out."
            )
        elif not fitting:
            problems.append(
                f"start_from[{index}]: none of the {of_all} trials of {place} lies within `parameters`: "
                "widen the ranges, or leave it out."
            )
        told = f"starts from {place}, with {len(fitting)} of its {of_all} trials"
        found.append(_Found(told, fitting))
    if problems:
        raise SpecError(problems)
    return json.dumps(_gathered(found, spec.metrics[0]))


def _gathered(found: Sequence[_Found], metric: Metric) -> dict[str, Any]:
    start_with: list[dict[str, Any]] = []
    for turn in zip_longest(*(_best(one.fitting, metric) for one in found)):
        start_with += [params for params in turn if params is not None and params not in start_with]
    sweeps = [{"told": one.told, "trials": [_kept(trial, params) for trial, params in one.fitting]} for one in found]
    return {"start_with": start_with[:_BEST_OF_ALL], "sweeps": sweeps}


def _fitting(trials: Sequence[TrialRecord], space: SearchSpace) -> list[tuple[TrialRecord, dict[str, Any]]]:
    """The useful trials, with their configurations in the space."""
    names = {parameter.name for parameter in space.parameters}
    # Parameters that neither sweep varies, such as the data or length, may differ. One that only the earlier sweep
    # varied must have the value that is fixed now.
    settled = {
        parameter.name: parameter.domain.value
        for parameter in space.parameters
        if isinstance(parameter.domain, Constant) and _is_varied(parameter.name, trials)
    }
    found = []
    for trial in trials:
        params = space.varied({name: value for name, value in trial.params.items() if name in names})
        is_other = any(name in trial.params and not same(trial.params[name], settled[name]) for name in settled)
        if params and _is_telling(trial) and not is_other and not space.problems_of(params):
            found.append((trial, params))
    return found


def _is_varied(name: str, trials: Sequence[TrialRecord]) -> bool:
    values = [trial.params[name] for trial in trials if name in trial.params]
    return any(not same(value, values[0]) for value in values[1:])


def _is_telling(trial: TrialRecord) -> bool:
    """Whether a trial says anything about its configuration; not if that changed during training."""
    return (bool(trial.curve) or _is_at_fault(trial)) and not trial.changes


def _is_at_fault(trial: TrialRecord) -> bool:
    """Whether a trial probably failed because of its configuration, and not the code or the machine."""
    return trial.reason in (FailureReason.NAN, FailureReason.OOM, FailureReason.TIMEOUT)


def _best(fitting: Sequence[tuple[TrialRecord, dict[str, Any]]], metric: Metric) -> list[dict[str, Any]]:
    ended = [
        (trial.curve[step], params) for trial, params in fitting if (step := trial.best_step(metric.goal)) is not None
    ]
    sign = -1.0 if metric.goal.value == "maximize" else 1.0
    found: list[dict[str, Any]] = []
    for _, params in sorted(ended, key=lambda one: sign * one[0]):
        if params not in found:
            found.append(params)
    return found[:_BEST_OF_EACH]


def _kept(trial: TrialRecord, params: Mapping[str, Any]) -> dict[str, Any]:
    curve = {step: finite(value) for step, value in trial.curve.items()}
    is_cut_off = trial.state is TrialState.FAILED and not _is_at_fault(trial)
    state = TrialState.STOPPED if is_cut_off else trial.state
    value = finite(trial.values[0]) if trial.values else None
    return {"params": dict(params), "curve": curve, "state": state.value, "value": value}


def _frozen(number: int, kept: Mapping[str, Any], space: SearchSpace) -> FrozenTrial:
    params = stored(space, kept["params"])
    curve = {int(step): value for step, value in kept["curve"].items() if value is not None}
    state = TrialState(kept["state"])
    told = OptunaState.FAIL if state is TrialState.FAILED or not curve else OptunaState.PRUNED
    value = kept.get("value")
    if state is TrialState.COMPLETED and curve and value is not None:
        told = OptunaState.COMPLETE
    trial = optuna.trial.create_trial(
        state=told,
        params=params,
        distributions={name: one for name, one in distributions(space).items() if name in params},
        intermediate_values=curve,
        value=value if told is OptunaState.COMPLETE else None,
    )
    trial.number = number
    return trial
