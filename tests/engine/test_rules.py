"""What holds with every early stopping rule, by name and as an instance of Ray Tune's: a sweep is cut off, resumed
and extended.

A copy of the run folder that is made while the sweep runs, by the driver's own thread, is what a driver that is killed
there leaves. Whatever is asserted holds in whichever order the trials report.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    TrialScheduler,
)
from ray.tune.schedulers.pb2 import PB2

from tests.engine.rule_loops import BAD, BEST, ERROR, NAN, STEPS, WORTH, graded, writes_policy
from tests.sweeps import LOSS, Told, check_whole
from tuner import Results, Sweep
from tuner.records import FailureReason, TrialRecord, TrialState
from tuner.stopping.table import STEP

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

RULES: dict[str, Any] = {
    "asha": {"type": "asha", "min_iter": 1, "max_iter": STEPS, "eta": 3},
    "auto": {"type": "auto", "min_iter": 1, "max_iter": STEPS, "eta": 3},
    "hyperband": {"type": "hyperband", "min_iter": 1, "max_iter": STEPS, "eta": 3, "s": 2},
    "median": {"type": "median", "min_iter": 2, "min_samples": 2},
    "pbt": {"type": "pbt", "interval": 3, "quantile": 0.5},
    "none": "none",
}
# The steps at which these stop trials that are worse than all others before their end.
STOPS = {"asha": {1}, "auto": {1}, "hyperband": {1, 3}, "median": {2, 3}}
MUTATIONS = {"params": {"x": [0.25, 0.5, 0.75]}}
SCHEDULERS: dict[str, Callable[[], TrialScheduler]] = {
    "FIFO": FIFOScheduler,
    "ASHA": lambda: ASHAScheduler(max_t=STEPS, grace_period=1, reduction_factor=3),
    "ASHA brackets": lambda: ASHAScheduler(max_t=STEPS, grace_period=1, reduction_factor=3, brackets=2),
    "median": lambda: MedianStoppingRule(time_attr=STEP, grace_period=2, min_samples_required=2),
    "median by time": lambda: MedianStoppingRule(grace_period=0.0, min_samples_required=2),
    "median that pauses": lambda: MedianStoppingRule(
        time_attr=STEP, grace_period=2, min_samples_required=2, hard_stop=False
    ),
    "HyperBand": lambda: HyperBandScheduler(max_t=STEPS, reduction_factor=3),
    "HyperBandForBOHB": lambda: HyperBandForBOHB(max_t=STEPS, reduction_factor=3),
    "PBT": lambda: PopulationBasedTraining(
        time_attr=STEP, perturbation_interval=3, quantile_fraction=0.5, hyperparam_mutations=MUTATIONS
    ),
    "PBT in step": lambda: PopulationBasedTraining(
        time_attr=STEP, perturbation_interval=3, quantile_fraction=0.5, hyperparam_mutations=MUTATIONS, synch=True
    ),
    "PB2": lambda: PB2(
        time_attr=STEP, perturbation_interval=3, quantile_fraction=0.5, hyperparam_bounds={"params": {"x": [0.0, 1.0]}}
    ),
}


class CutOff(Told):
    """Copies the run folder to `copy` as the second trial ends, and ends the driver."""

    def __init__(self, output: Path, copy: Path) -> None:
        super().__init__()
        self._output, self._copy = output, copy

    def event(self, text: str, *, is_detail: bool = False) -> None:
        super().event(text, is_detail=is_detail)
        if sum(event.startswith("trial ") for event in self.events) == 2 and not self._copy.exists():
            (folder,) = self._output.iterdir()
            copy_running(folder, self._copy)
            raise KeyboardInterrupt


def copy_running(folder: Path, copy: Path) -> None:
    """Copy a run folder whose trials save, and whose driver removes checkpoints: what is seen may be gone when read."""
    for _ in range(100):
        try:
            shutil.copytree(folder, copy, ignore=lambda path, names: [n for n in names if n.endswith(".tmp")])
        except (shutil.Error, FileNotFoundError):
            shutil.rmtree(copy, ignore_errors=True)
        else:
            return
    raise AssertionError(f"{folder} does not stand still")


def cut_off_resumed_and_extended(tmp_path: Path, rule: Any, late: int = -1, late_s: float = 0.0) -> Results:
    """Of a sweep that is cut off as its second trial ends: its results at the end of all."""
    output, copy = tmp_path / "output", tmp_path / "cut-off"
    sweep = Sweep(
        graded,
        parameters={"x": {"min": 0.0, "max": 1.0}, "late": late, "late_s": late_s},
        start_with=[{"x": 0.5}],
        method="random",
        early_terminate=rule,
        metric=LOSS,
        run_cap=len(WORTH) - len(BAD),
        parallel=2,
        output=output,
        name="s",
        seed=0,
        failures={"retries": 0},
    )
    with pytest.raises(KeyboardInterrupt):
        sweep.run(console=CutOff(output, copy))
    ended = ended_of(Results(copy))
    assert len(ended) == 2
    told = Told()
    results = sweep.resume(copy, console=told)
    check_contract(results, len(WORTH) - len(BAD))
    whole = ended_of(results)
    assert {number: whole[number] for number in ended} == ended
    results = sweep.resume(copy, run_cap="+2", console=told)
    check_contract(results, len(WORTH))
    assert {number: record for number, record in ended_of(results).items() if number in whole} == whole
    return results


def ended_of(results: Results) -> dict[int, TrialRecord]:
    return {trial.number: trial for trial in results.trials if trial.state.is_final}


def check_contract(results: Results, num_trials: int) -> None:
    check_whole(results)
    assert [trial.number for trial in results.trials] == list(range(num_trials))
    failed = {trial.number: trial.reason for trial in results.trials if trial.state is TrialState.FAILED}
    assert set(failed) <= {NAN, ERROR}, [results.error(number) for number in failed]
    assert failed.get(NAN, FailureReason.NAN) is FailureReason.NAN
    assert failed.get(ERROR, FailureReason.ERROR) is FailureReason.ERROR
    for trial in results.trials:
        for report in results.curve(trial.number):
            # Whoever goes on has the state that belongs to the step, its own or the one that it has taken over.
            assert report.metrics["count"] == report.step


@pytest.mark.parametrize("name", RULES)
def test_a_rule_by_name(tmp_path: Path, name: str) -> None:
    check_rule(name, cut_off_resumed_and_extended(tmp_path, RULES[name]))


def check_rule(name: str, results: Results) -> None:
    for trial in results.trials:
        if name != "pbt":
            assert list(trial.curve) == list(range(1, max(trial.curve) + 1))
        if trial.number == BEST or (name in ("pbt", "none") and trial.number not in (NAN, ERROR)):
            assert trial.state is TrialState.COMPLETED
            # One that takes over another's state at its last step has nothing left to report.
            assert max(trial.curve) == STEPS or (name == "pbt" and max(trial.curve) % 3 == 0)
        elif trial.number in BAD:
            assert trial.state is TrialState.PRUNED
            # Those of before are remembered. The median rule is not waited for: its trial may be a few steps further.
            assert max(trial.curve) in STOPS[name] or (name == "median" and max(trial.curve) > 1)


@pytest.mark.long
@pytest.mark.parametrize("late", range(len(WORTH)))
@pytest.mark.parametrize("name", RULES)
def test_a_rule_by_name_whichever_trial_is_late(tmp_path: Path, name: str, late: int) -> None:
    check_rule(name, cut_off_resumed_and_extended(tmp_path, RULES[name], late, late_s=3.0))


@pytest.mark.long
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_of_ray_tune(tmp_path: Path, name: str) -> None:
    results = cut_off_resumed_and_extended(tmp_path, SCHEDULERS[name]())
    if name == "FIFO":
        check_rule("none", results)


@pytest.mark.long
def test_a_replayed_population(tmp_path: Path) -> None:
    """Of one trial: what it was given when is what the file says."""
    results = Sweep(
        graded,
        parameters={"x": {"min": 0.0, "max": 1.0}, "late": -1, "late_s": 0.0},
        early_terminate=PopulationBasedTrainingReplay(str(writes_policy(tmp_path))),
        method="random",
        metric=LOSS,
        run_cap=1,
        output=tmp_path / "output",
        seed=0,
    ).run(console=Told())
    check_contract(results, 1)
    (trial,) = results.trials
    assert trial.state is TrialState.COMPLETED
    assert [params["x"] for _, params in trial.changes][1:] == [0.25, 0.75]
