"""Whole sweeps through the real Ray Tune, all on one cluster."""

import json
import math
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
import torch
from optuna.samplers import QMCSampler
from ray.tune.schedulers import HyperBandScheduler

from tests import loops
from tests.conftest import folder_of
from tests.sweeps import LOSS, LR, Told, check_whole, sweep
from tuner import Results, Sweep, resume
from tuner.engine.driver import run
from tuner.engine.files.trial_folder import MARKER
from tuner.engine.process.deaths import death_of
from tuner.engine.process.last_words import Death
from tuner.engine.ray_compat.runtime import node_of
from tuner.errors import ResourceError, SpecError
from tuner.records import FailureReason, TrialState
from tuner.trial.checkpoint import load_checkpoint
from tuner.trial.trial import Trial

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]


def checkpoints(results: Results) -> set[tuple[int, int]]:
    found = results.folder.glob("trials/*/checkpoints/step-*")
    return {(int(path.parts[-3]), int(path.name[5:])) for path in found}


def test_asha_prunes_truthfully_and_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    results = sweep(
        loops.descent,
        tmp_path,
        parameters={"lr": LR},
        method="bayes",
        early_terminate={"type": "asha", "min_iter": 1, "max_iter": 9, "eta": 3},
        run_cap=20,
    )
    states = results.counts()
    assert set(states) == {"completed", "pruned"}
    assert sum(states.values()) == 20
    for trial in results.trials:
        last = max(trial.curve)
        assert last == 9 if trial.state is TrialState.COMPLETED else last in (1, 3)
    best = results.best
    assert best is not None
    assert best.value == min(min(trial.curve.values()) for trial in results.trials)
    assert best.checkpoint is not None
    assert (best.trial.number, best.step) in checkpoints(results)
    assert len(checkpoints(results)) == 1
    state, _ = load_checkpoint(results.folder / "best")
    assert state.step == best.step
    assert torch.isfinite(state["weight"]).all()
    pids = {report.metrics["pid"] for trial in results.trials for report in results.curve(trial.number)}
    assert len(pids) == 2
    assert {r.metrics["threads"] for r in results.curve(0)} == {1.0}
    assert json.loads((results.folder / "best" / "params.json").read_text()) == best.trial.params


def test_every_way_a_trial_can_end(tmp_path: Path) -> None:
    hows = [
        "well",
        "silent",
        "nan",
        "inf",
        "error",
        "memory",
        "dies",
        "hangs",
        "text",
        "unpicklable",
        "exits",
        "nameless",
    ]
    told = Told()
    results = sweep(
        loops.ends,
        tmp_path,
        told,
        parameters={"how": {"values": hows}},
        method="grid",
        stall_timeout=3.0,
    )
    ended = {trial.params["how"]: trial for trial in results.trials}
    reasons = {how: trial.reason for how, trial in ended.items() if trial.state is TrialState.FAILED}
    assert set(ended) == set(hows)
    assert reasons == {
        "silent": FailureReason.ERROR,
        "nan": FailureReason.NAN,
        "inf": FailureReason.NAN,
        "error": FailureReason.ERROR,
        "memory": FailureReason.OOM,
        "dies": FailureReason.LOST,
        "hangs": FailureReason.TIMEOUT,
        "text": FailureReason.ERROR,
        "unpicklable": FailureReason.ERROR,
        "exits": FailureReason.ERROR,
        "nameless": FailureReason.ERROR,
    }
    assert ended["well"].state is TrialState.COMPLETED
    assert ended["nan"].message == "loss is nan at step 3"
    assert math.isnan(ended["nan"].curve[3])
    assert "no report for" in ended["hangs"].message
    # What it reported just before is kept, and it is not tried again: it would end itself again.
    assert ended["dies"].message == "its process died with exit code 3"
    assert list(ended["dies"].curve) == [1, 2]
    # Others have reported the metric: this is no mistake of the sweep.
    assert "did you mean lost" in ended["nameless"].message
    assert "KeyError: 'no such thing'" in results.error(ended["error"].number)
    assert "in ends" in results.error(ended["error"].number)
    assert any("trial" in event and "failed (timeout)" in event for event in told.events)


def test_a_trial_that_is_tried_again_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    retries = {"failures": {"retries": 1}}
    told = Told()
    results = sweep(loops.fails_once, tmp_path, told, parameters={"lr": LR}, run_cap=2, **retries)
    again = [event for event in told.events if "is tried again, from its checkpoint of step 2: its process" in event]
    assert len(again) == 2
    assert results.counts() == {"completed": 2}
    assert all(list(trial.curve) == [1, 2, 3, 4, 5] for trial in results.trials)
    assert "died" in results.error(0)
    told = Told()
    ways = {"how": {"values": ["error", "nan"]}}
    results = sweep(loops.ends, tmp_path, told, parameters=ways, method="grid", **retries)
    trials = {trial.params["how"]: trial for trial in results.trials}
    assert {how: trial.reason for how, trial in trials.items()} == {
        "error": FailureReason.ERROR,
        "nan": FailureReason.NAN,
    }
    # Both attempts are told; NaN, a result, is not tried again.
    assert results.error(trials["error"].number).count("Traceback") == 2
    again = [event for event in told.events if "is tried again" in event]
    assert len(again) == 1
    assert f"trial {trials['error'].number:04d}" in again[0]
    assert results.summary["ended_by"] == "space"


def test_nothing_is_left_to_the_next_trial_of_a_process(tmp_path: Path) -> None:
    results = sweep(
        loops.dirty, tmp_path, parameters={"leave_thread": {"value": False}, "x": LR}, run_cap=8, parallel=1
    )
    rows = [results.curve(number)[0].metrics for number in range(8)]
    assert len({row["pid"] for row in rows}) == 1
    assert all(row["grad_enabled"] == 1 and row["hooks"] == 0 and row["in_cwd"] == 1 for row in rows)
    assert [row["cached"] for row in rows] == list(range(8))
    assert len({row["loss"] for row in rows}) == 8


def test_processes_share_what_one_has_loaded_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    marks, up = folder_of(tmp_path / "marks"), folder_of(tmp_path / "up")
    results = sweep(loops.shares, tmp_path, parameters={"marks": str(marks), "up": str(up), "x": LR}, run_cap=8)
    rows = [dict(results.curve(number)[0].metrics) for number in range(8)]
    assert [row["loss"] for row in rows] == [1.0] * 8
    assert len({row["pid"] for row in rows}) == 2
    assert len(list(marks.iterdir())) == 1
    token = (results.folder / MARKER).read_text()
    end = time.monotonic() + 20
    while list(Path(tempfile.gettempdir()).glob(f"tuner-*/shared-{token}")):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_of_an_actor_that_never_ran_nothing_is_known() -> None:
    actor = ray.remote(num_cpus=99)(Nothing).remote()
    number = actor._actor_id.hex()
    assert node_of(number) == ""
    assert death_of(number, node_of(number)) == Death()


class Nothing:
    """An actor."""


def test_an_actor_with_a_thread_left_in_it_is_replaced(tmp_path: Path) -> None:
    results = sweep(loops.dirty, tmp_path, parameters={"leave_thread": {"value": True}, "x": LR}, run_cap=2, parallel=1)
    assert results.counts() == {"completed": 2}
    assert len({results.curve(number)[0].metrics["pid"] for number in range(2)}) == 2


def test_an_actor_whose_memory_stays_high_is_replaced(tmp_path: Path) -> None:
    results = sweep(loops.leaks, tmp_path, parameters={"x": LR}, run_cap=5, parallel=1)
    pids = [results.curve(number)[0].metrics["pid"] for number in range(5)]
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4]


@pytest.mark.parametrize(
    ("keys", "ended_by", "is_failure", "message"),
    [
        ({"metric": {**LOSS, "target": 100.0}}, "target", False, "has reached the target 100"),
        ({"budget": {"hours": 1e-6}}, "hours", False, "hours is spent"),
    ],
)
def test_budgets_end_the_sweep_and_stop_what_runs(
    tmp_path: Path, keys: dict[str, Any], ended_by: str, is_failure: bool, message: str
) -> None:
    parameters = {"lr": LR, "epochs": 10_000, "step_s": 0.01}
    results = sweep(loops.descent, tmp_path, parameters=parameters, run_cap=50, **keys)
    assert results.summary["ended_by"] == ended_by
    assert results.summary["is_failure"] is is_failure
    assert message in results.summary["message"]
    # With hours that are spent before the first trial there is none; what ran when the target was reached was stopped.
    assert set(results.counts()) == ({"stopped"} if ended_by == "target" else set())


@pytest.mark.parametrize(
    ("train", "keys", "ended_by", "trials"),
    [
        (loops.always_fails, {}, "alike", 4),
        (loops.always_fails, {"budget": {"failed": 2}}, "failed", 3),
    ],
)
def test_a_sweep_that_cannot_work_ends_early_and_says_why(
    tmp_path: Path, train: Any, keys: dict[str, Any], ended_by: str, trials: int
) -> None:
    told = Told()
    results = sweep(train, tmp_path, told, parameters={"lr": LR}, run_cap=64, parallel=1, **keys)
    assert results.summary["ended_by"] == ended_by
    assert results.summary["is_failure"] is True
    assert len(results.trials) <= trials
    assert any("the sweep ends:" in event for event in told.events)


def test_median_and_pbt_and_hyperband_run_to_the_end(tmp_path: Path) -> None:
    parameters = {"lr": LR, "epochs": 12}
    median = sweep(
        loops.descent,
        tmp_path,
        parameters={**parameters, "step_s": 0.02},
        method="random",
        early_terminate={"type": "median", "min_iter": 2, "min_samples": 2},
        run_cap=12,
    )
    assert {"completed", "pruned"} == set(median.counts())
    hyperband = sweep(
        loops.descent,
        tmp_path,
        parameters=parameters,
        method="random",
        early_terminate={"type": "hyperband", "max_iter": 9, "eta": 3},
        run_cap=12,
    )
    assert sum(hyperband.counts().values()) == 12
    assert set(hyperband.counts()) <= {"completed", "pruned"}
    for trial in hyperband.trials:
        assert max(trial.curve) in ((9,) if trial.state is TrialState.COMPLETED else (1, 3))
    pbt = sweep(
        loops.descent,
        tmp_path,
        parameters=parameters,
        method="random",
        early_terminate={"type": "pbt", "interval": 3, "quantile": 0.5},
        run_cap=4,
    )
    assert pbt.counts() == {"completed": 4}
    # One that takes over another's state at its last step has nothing left to report.
    lasts = [max(trial.curve) for trial in pbt.trials]
    assert max(lasts) == 12
    assert all(last % 3 == 0 for last in lasts)


def test_a_scheduler_that_pauses_trials_gets_them_back(tmp_path: Path) -> None:
    results = sweep(
        loops.descent,
        tmp_path,
        parameters={"lr": LR},
        method="random",
        early_terminate=HyperBandScheduler(max_t=9, reduction_factor=3),
        run_cap=9,
    )
    assert sum(results.counts().values()) == 9
    assert any(max(trial.curve) == 9 for trial in results.trials)
    for trial in results.trials:
        assert list(trial.curve) == list(range(1, max(trial.curve) + 1))


def test_several_metrics_end_in_a_pareto_front(tmp_path: Path) -> None:
    results = sweep(
        loops.two_metrics,
        tmp_path,
        parameters={"x": {"min": -1.0, "max": 2.0}},
        metric=[LOSS, {"name": "cost"}],
        method="nsgaii",
        early_terminate={"type": "auto", "min_iter": 1, "max_iter": 4, "eta": 2},
        run_cap=30,
        parallel=1,
    )
    states = {state: [trial for trial in results.trials if trial.state is state] for state in TrialState}
    assert states[TrialState.PRUNED]
    assert all(max(trial.curve) < 4 for trial in states[TrialState.PRUNED])
    front = results.pareto_front
    assert 1 < len(front) < 20
    done = {trial.number: trial for trial in states[TrialState.COMPLETED]}
    for trial in done.values():
        x = trial.params["x"]
        assert trial.values == pytest.approx((x**2 + 1 / 4, (x - 1) ** 2))
    beaten = {
        one.number
        for one in done.values()
        for other in done.values()
        if other.values != one.values and all(a <= b for a, b in zip(other.values, one.values, strict=True))
    }
    assert {trial.number for trial in front} == done.keys() - beaten


@pytest.mark.parametrize(
    "keys", [{"method": "gp", "early_terminate": "median"}, {"metric": [LOSS, {"name": "cost"}], "method": "tpe"}]
)
def test_values_near_the_ends_of_what_floats_can_be_are_values(
    tmp_path: Path, keys: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        results = sweep(loops.huge, tmp_path, parameters={"x": {"min": -1.0, "max": 1.0}}, run_cap=14, **keys)
    assert [str(one.message) for one in warned if one.category is RuntimeWarning] == []
    assert "RuntimeWarning" not in capfd.readouterr().err
    assert set(results.counts()) <= {"completed", "pruned"}
    assert results.best is not None
    assert results.best.value == min(min(trial.curve.values()) for trial in results.trials) < -1e307


def test_an_optuna_sampler_and_known_good_configurations(tmp_path: Path) -> None:
    results = sweep(
        loops.descent,
        tmp_path,
        parameters={"lr": LR},
        method=QMCSampler(seed=1),
        start_with=[{"lr": 0.5}],
        run_cap=3,
        parallel=1,
    )
    assert results.trials[0].params == {"lr": 0.5}
    with pytest.raises(SpecError, match="was run from Python with QMCSampler"):
        resume(results.folder)
    assert results.counts() == {"completed": 3}


def test_patience_completes_a_trial_that_stands_still(tmp_path: Path) -> None:
    results = sweep(
        loops.descent,
        tmp_path,
        parameters={"lr": LR, "epochs": 500},
        metric={**LOSS, "patience": 5, "min_delta": 0.5},
        run_cap=2,
        parallel=1,
    )
    assert results.counts() == {"completed": 2}
    assert all("has not improved" in trial.message and max(trial.curve) < 500 for trial in results.trials)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"resources": {"gpu": 1}}, "a trial asks for 1 CPU and 1 GPU, but this machine has 2 CPU and 0 GPU"),
        ({"parallel": 3}, "parallel: 3 trials of 1 CPU each were asked for"),
        ({"resources": {"cpu": 16}}, "a trial asks for 16 CPU"),
    ],
)
def test_what_the_cluster_cannot_hold_is_refused(tmp_path: Path, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ResourceError, match=sentence):
        sweep(loops.descent, tmp_path, parameters={"lr": LR}, run_cap=1, **keys)
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_no_trial_reports_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    database = tmp_path / "study.db"
    for storage in (None, f"sqlite:///{database}"):
        keys: dict[str, Any] = {
            "parameters": {"lr": LR},
            "metric": LOSS,
            "output": tmp_path / "runs",
            "run_cap": 64,
            "parallel": 1,
        }
        with pytest.raises(SpecError) as caught:
            Sweep(loops.wrong_metric, **keys, storage=storage).run(console=Told())
        assert caught.value.problems == (
            "trial.report: the sweep's metric 'loss' is not among the reported ones, did you mean lost. Report it each "
            "time; if it is measured only at some steps, report only at those steps. Or change `metric` in the sweep "
            "file. Reported: 'lost', 'size'.",
        )
        assert not (tmp_path / "runs").exists()
    assert optuna.get_all_study_names(f"sqlite:///{database}") == []
    with pytest.raises(ResourceError):
        Sweep(loops.descent, **keys, resources={"gpu": 1}, storage=f"sqlite:///{database}").run(console=Told())
    assert optuna.get_all_study_names(f"sqlite:///{database}") == []


def test_a_resumed_sweep_that_is_refused_loses_nothing(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"parameters": {"lr": LR}, "metric": LOSS, "output": tmp_path, "run_cap": 4, "parallel": 1}
    keys |= {"early_terminate": "none"}
    made = Sweep(loops.wrong_metric, **keys)
    folder = tmp_path / "refused"
    made._create(folder, folder, folder.name)
    with pytest.raises(SpecError, match="Reported: "):
        made.resume(folder, console=Told())
    assert (folder / "sweep.yaml").exists()
    results = Sweep(loops.descent, **keys).resume(folder, console=Told())
    assert results.counts() == {"completed": 4}


def test_by_default_poor_trials_are_stopped_and_none_at_its_end(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"metric": LOSS, "seed": 0, "output": tmp_path}
    results = Sweep(loops.descent, parameters={"lr": LR, "epochs": 9}, run_cap=24, **keys).run(console=Told())
    assert set(results.counts()) == {"completed", "pruned"}
    for trial in results.trials:
        assert max(trial.curve) == 9 if trial.state is TrialState.COMPLETED else max(trial.curve) in (1, 3)
    once = Sweep(loops.descent, parameters={"lr": LR, "epochs": 1}, run_cap=12, **keys).run(console=Told())
    assert once.counts() == {"completed": 12}, "whoever reports once has come to its end"


@pytest.mark.parametrize("keep", ["last", "all", 2])
def test_checkpoints_are_kept_as_asked(tmp_path: Path, keep: Any) -> None:
    results = sweep(
        loops.descent, tmp_path, parameters={"lr": LR, "epochs": 4}, run_cap=3, parallel=1, checkpoints={"keep": keep}
    )
    best = results.best
    assert best is not None
    kept = checkpoints(results)
    assert (best.trial.number, best.step) in kept
    expected = {"last": {(n, 4) for n in range(3)}, "all": {(n, s) for n in range(3) for s in range(1, 5)}}
    assert kept == expected[keep] | {(best.trial.number, best.step)} if keep in expected else len(kept) == 2


def test_a_finished_sweep_is_extended_and_its_study_may_lie_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    keys: dict[str, Any] = {
        "parameters": {"lr": LR},
        "metric": LOSS,
        "early_terminate": {"type": "asha", "max_iter": 9},
        "output": tmp_path,
        "seed": 3,
        "run_cap": 4,
        "parallel": 1,
    }
    whole = Sweep(loops.descent, **{**keys, "run_cap": 8}).run(console=Told())
    first = Sweep(loops.descent, **keys, storage=url)
    results = first.run(console=Told())
    before = {trial.number: trial for trial in results.trials}
    results = first.resume(results.folder, run_cap="+4", console=Told())
    check_whole(results)
    assert len(results.trials) == 8
    assert all(results.trials[number] == record for number, record in before.items())
    assert results.trials[0].params == whole.trials[0].params
    assert not (results.folder / "study.journal").exists()
    # A new one begins with its best, but for what it is told to begin with anyway, and knows nothing of it later but
    # what it has kept.
    told = Told()
    best, second, third = (trial.params for trial in sorted(whole.trials, key=lambda one: min(one.curve.values()))[:3])
    keys |= {"method": "bayes", "start_with": [second], "start_from": [str(whole.folder)], "run_cap": 5}
    begun = sweep(loops.descent, tmp_path, told, **keys)
    assert whole.best is not None
    assert whole.best.trial.params == best
    assert [trial.params for trial in begun.trials[:3]] == [second, best, third]
    assert f"starts from {whole.folder}, with 8 of its 8 trials" in told.events


def test_a_trainable_that_holds_its_data_is_told_where_to_load_them(tmp_path: Path) -> None:
    data = bytes(run.MAX_TRAINABLE_BYTES + 1)

    def train(trial: Trial) -> None:
        trial.report({"loss": data[0]}, step=1)

    with pytest.raises(SpecError, match=r"holds 90 MiB of data.* trial\.shared"):
        sweep(train, tmp_path, parameters={"lr": LR}, run_cap=1)
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_others_use_is_waited_for_and_that_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_TELL_WAITING_AFTER_S", 1.0)
    other = ray.remote(num_cpus=2)(Other).remote()
    ray.get(other.is_there.remote())

    class Frees(Told):
        def event(self, text: str, *, is_detail: bool = False) -> None:
            super().event(text, is_detail=is_detail)
            if "waiting for the cluster" in text:
                ray.kill(other)

    told = Frees()
    results = sweep(loops.descent, tmp_path, told, parameters={"lr": LR, "epochs": 2}, run_cap=2)
    assert results.counts() == {"completed": 2}
    assert sum(event.startswith("waiting for the cluster: ") for event in told.events) == 1


class Other:
    """Somebody else's, that holds what it has asked for."""

    def is_there(self) -> bool:
        return True
