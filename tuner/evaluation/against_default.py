"""`tuner evaluate`: the best configuration of a sweep against the default one, each trained with several seeds.

The trainings are the trials of a small sweep, so that they share the machine and processes as trials do.
"""

import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner.command import command_line
from tuner.console import make_console
from tuner.errors import ControlError, NotFinite, Plateau, SpecError, StopTrial
from tuner.evaluation.statistics import Estimate, Gain, estimate, gain
from tuner.metric import Goal, Metric, Patience
from tuner.records import Report, TrialRecord
from tuner.results.best import Best
from tuner.results.results import Results
from tuner.results.scores import find_evaluate, score
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.owned_files import remove_checkpoint
from tuner.run_folder.trial_files import finite, write_atomic
from tuner.spec.domains import Constant
from tuner.spec.fields import present
from tuner.spec.sweep_spec import SweepSpec
from tuner.spec.trainable import import_trainable, parameters_of
from tuner.sweep import Sweep
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.seeds import seed_everything
from tuner.trial.trial import Trial

EVALUATION_FILE = "evaluation.json"
TUNED, DEFAULT = "tuned", "default"
# Before the name of a test score in the last report of a training.
_SCORE = "test score: "


@dataclass(frozen=True)
class Training:
    """One configuration trained with one seed.

    Attributes:
        step: the evaluated step, the best on the sweep's metric; None if the training failed.
        scores: on the test data, by name; values that are not finite are left out.
        error: why it failed; empty if it did not.
    """

    seed: int
    step: int | None
    scores: Mapping[str, float]
    error: str


@dataclass(frozen=True)
class Candidate:
    """A configuration and its trainings, one for each seed."""

    params: Mapping[str, Any]
    trainings: Sequence[Training]

    @property
    def score_names(self) -> list[str]:
        return list(dict.fromkeys(name for training in self.trainings for name in training.scores))

    def by_seed(self, name: str) -> dict[int, float]:
        return {training.seed: training.scores[name] for training in self.trainings if name in training.scores}

    def estimates(self) -> dict[str, Estimate]:
        return {name: estimate(list(self.by_seed(name).values())) for name in self.score_names}

    def to_json(self) -> dict[str, Any]:
        return {
            "params": dict(self.params),
            "scores": {name: vars(found) for name, found in self.estimates().items()},
            "trainings": [vars(training) for training in self.trainings],
        }


@dataclass(frozen=True)
class Evaluation:
    """The tuned and the default configuration of a sweep on its test data.

    Attributes:
        metric: the score that belongs to the sweep's metric, and decides the verdict; None if there is none.
    """

    trial: int
    step: int
    metric: str | None
    goal: Goal
    tuned: Candidate
    default: Candidate

    def gain(self, name: str) -> Gain | None:
        """The gain in a score; the sweep's goal decides whether it is better."""
        return gain(self.tuned.by_seed(name), self.default.by_seed(name), self.goal)

    def to_json(self) -> dict[str, Any]:
        """What `best/evaluation.json` holds; docs/reference/json.md describes it."""
        found = self.gain(self.metric) if self.metric else None
        return {
            "trial": self.trial,
            "step": self.step,
            "metric": self.metric,
            "goal": self.goal.value,
            "gain": found and found.to_json(),
            "verdict": found and found.verdict,
            TUNED: self.tuned.to_json(),
            DEFAULT: self.default.to_json(),
        }


def evaluate(
    folder: Path, num_seeds: int, chosen: Mapping[str, Any], *, address: str | None = None, verbose: bool = False
) -> Evaluation:
    """Train both configurations with the seeds 0 to `num_seeds` - 1, and write `best/evaluation.json`; blocks.

    Each training is as long as a trial's, and the checkpoint of its best step is evaluated, as in the sweep.

    Args:
        chosen: parameters of the default configuration, in place of the sweep's first `start_with`.
        address: of a Ray cluster; by default a cluster is started on this machine.

    Raises `SpecError` if the trainable has no `evaluate`, `ControlError` if the sweep is running or has no best
    trial, KeyboardInterrupt if it is interrupted.
    """
    results = Results(folder)
    spec, best = results.spec, results.best
    if results.is_running:
        raise ControlError(
            f"{folder} is being run: its best configuration may change. `{command_line('wait', folder)}` waits."
        )
    if best is None:
        raise ControlError(f"{folder}: no trial has reported a finite metric; there is nothing to evaluate.")
    train = import_trainable(spec.trainable, Path.cwd())
    if find_evaluate(train) is None:
        raise SpecError(
            [f"trainable {spec.trainable}: its module has no evaluate(params, state, device), which reads test data."]
        )
    default = default_params(spec, chosen, parameters_of(train))
    # They are the same if nothing better than the default was found.
    candidates = {TUNED: dict(best.params)} if default == best.params else {TUNED: dict(best.params), DEFAULT: default}
    with tempfile.TemporaryDirectory(prefix="tuner-evaluate-") as output:
        found = _sweep(spec, candidates, num_seeds, Path(output)).run(
            console=make_console(sys.stderr), address=address, verbose=verbose
        )
        if found.summary["ended_by"] == "interrupted":
            raise KeyboardInterrupt
        evaluation = _gather(found, spec, best, candidates)
    (folder / "best").mkdir(exist_ok=True)
    write_atomic(folder / "best" / EVALUATION_FILE, json.dumps(evaluation.to_json(), indent=2) + "\n")
    return evaluation


def default_params(spec: SweepSpec, chosen: Mapping[str, Any], taken: Sequence[str] = ()) -> dict[str, Any]:
    """The user's configuration before tuning: `chosen`, else the first of `start_with`, and the constants.

    Other parameters are left out: the trainable fills in its defaults. Raises `SpecError` for parameters that neither
    the sweep has nor the trainable takes (`taken`).
    """
    problems = spec.parameters.problems_of(chosen, taken)
    if problems:
        raise SpecError([f"--set: {problem}" for problem in problems])
    given = chosen or (spec.start_with[0] if spec.start_with else {})
    of_sweep = {parameter.name for parameter in spec.parameters.parameters}
    params = {name: value for name, value in given.items() if name not in of_sweep}
    for parameter in spec.parameters.parameters:
        if not spec.parameters.is_active(parameter, params):
            continue
        if parameter.name in given:
            params[parameter.name] = given[parameter.name]
        elif isinstance(parameter.domain, Constant):
            params[parameter.name] = parameter.domain.value
    return params


def train_and_score(trial: Trial) -> None:
    """Train one configuration with one seed, and report the test scores of its best step after its last one.

    Each step of the training is a step of the trial, so that it can be stopped, and found stalled, as any trial.
    """
    plan = trial.params
    train = import_trainable(plan["trainable"], Path.cwd())
    evaluate = find_evaluate(train)
    assert evaluate is not None
    params = plan["configurations"][plan["configuration"]]
    with tempfile.TemporaryDirectory(prefix="tuner-evaluate-") as folder:
        patience = Patience(**plan["patience"]) if plan["patience"] else None
        metric = Metric(plan["metric"], Goal(plan["goal"]), patience=patience)
        training = _Training(trial, Path(folder), metric, plan["max_iter"])
        training.run(train, params, plan["seed"])
        state, _ = load_checkpoint(checkpoint_path(Path(folder), training.best_step))
        scored = score(evaluate, params, state, trial.device)
    told = {f"{_SCORE}{name}": math.nan if value is None else value for name, value in scored.scores.items()}
    trial.report({plan["metric"]: training.best, "best step": training.best_step, **told}, step=training.last_step + 1)


class _Enough(StopTrial):
    """The step at which a trial of the sweep is complete is reached."""


class _Training:
    """A training inside a trial: passes its steps on, and keeps the checkpoint of the best one."""

    def __init__(self, outer: Trial, folder: Path, metric: Metric, max_iter: int | None) -> None:
        self._outer, self._folder, self._metric, self._max_iter = outer, folder, metric, max_iter
        self.best, self.best_step, self.last_step = metric.goal.worst, 0, 0

    def run(self, train: Any, params: Mapping[str, Any], seed: int) -> None:
        """Train. Raises RuntimeError if no step can be evaluated."""
        seed_everything(seed)
        inner = Trial(
            params,
            number=0,
            seed=seed,
            dir=self._folder,
            metrics=(self._metric,),
            deliver=self._deliver,
            device=self._outer.device,
        )
        try:
            train(inner)
        except (_Enough, NotFinite, Plateau):
            pass  # anything else that stops this trial passes through
        if not self.best_step:
            raise RuntimeError(f"no step had a finite {self._metric.name} and a state (trial.report(..., state=))")

    def _deliver(self, report: Report, stop: StopTrial | None) -> None:
        value = report.metrics[self._metric.name]
        if report.has_checkpoint and math.isfinite(value) and self._metric.goal.better(value, self.best):
            self._drop(self.best_step)
            self.best, self.best_step = value, report.step
        else:
            self._drop(report.step)
        if math.isfinite(value):
            self._outer.report({self._metric.name: value}, step=report.step)
            self.last_step = report.step
        if stop is None and self._max_iter is not None and report.step >= self._max_iter:
            raise _Enough

    def _drop(self, step: int) -> None:
        remove_checkpoint(checkpoint_path(self._folder, step))


def _sweep(spec: SweepSpec, candidates: Mapping[str, Mapping[str, Any]], num_seeds: int, output: Path) -> Sweep:
    """A sweep of trainings in one process each, so that results do not depend on the number of workers."""
    first = spec.metrics[0]
    rule = spec.early_terminate or {}
    of_process = present({"stall_timeout": spec.stall_timeout, "warm": spec.warm})
    return Sweep(
        f"{train_and_score.__module__}:{train_and_score.__name__}",
        name=f"evaluate-{spec.name}",
        method="grid",
        metric={"name": first.name, "goal": first.goal.value},
        parameters={
            "trainable": {"value": spec.trainable},
            "metric": {"value": first.name},
            "goal": {"value": first.goal.value},
            "max_iter": {"value": rule.get("max_iter")},
            "patience": {"value": asdict(first.patience) if first.patience else None},
            "configurations": {"value": {name: dict(params) for name, params in candidates.items()}},
            "seed": {"grid": list(range(num_seeds))},
            "configuration": {"grid": list(candidates)},
        },
        parallel=spec.parallel,
        resources={"cpu": spec.resources.cpu, "gpu": spec.resources.gpu},
        output=output,
        seed=0,
        **of_process,
    )


def _gather(found: Results, spec: SweepSpec, best: Best, candidates: Mapping[str, Mapping[str, Any]]) -> Evaluation:
    by_name: dict[str, list[Training]] = {name: [] for name in candidates}
    for trial in sorted(found.trials, key=lambda trial: trial.params["seed"]):
        by_name[trial.params["configuration"]].append(_training(found, trial))
    both = (TUNED, DEFAULT if DEFAULT in candidates else TUNED)
    tuned, default = (Candidate(candidates[name], by_name[name]) for name in both)
    goal = spec.metrics[0].goal
    names = [*tuned.score_names, *default.score_names]
    # val_accuracy belongs to test_accuracy, as accuracy does.
    wanted = {spec.metrics[0].name, f"test_{spec.metrics[0].name.rpartition('val_')[2]}"}
    metric = next((name for name in names if name in wanted), None)
    return Evaluation(best.trial.number, best.step, metric, goal, tuned, default)


def _training(found: Results, trial: TrialRecord) -> Training:
    last = found.curve(trial.number)[-1].metrics if trial.curve else {}
    seed = trial.params["seed"]
    if "best step" not in last:
        return Training(seed, None, {}, trial.message or trial.state.value)
    scores = {
        name.removeprefix(_SCORE): value
        for name, value in last.items()
        if name.startswith(_SCORE) and finite(value) is not None
    }
    return Training(seed, int(last["best step"]), scores, "")
