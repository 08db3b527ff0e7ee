import math
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from tests.conftest import ACCURACY, LOSS, report
from tuner.errors import OccupiedError, StudyNotFoundError
from tuner.methods.attributes import OUTCOME, VALUES
from tuner.methods.table import METHODS
from tuner.records import FailureReason, Report, TrialState
from tuner.spec.space import SearchSpace
from tuner.study.database import delete_study
from tuner.study.study import Study

SPACE = SearchSpace.from_dict(
    {
        "lr": {"min": 1e-4, "max": 1.0, "distribution": "log_uniform_values"},
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.5, "max": 0.99, "when": {"optimizer": "sgd"}},
        "layers": {"values": [[32], [64, 64]]},
        "width": {"min": 8, "max": 64},
        "epochs": 3,
    }
)


def open_study(
    folder: Path,
    *,
    write: bool = True,
    url: str | None = None,
    space: SearchSpace = SPACE,
    metrics: Any = (ACCURACY,),
) -> Study:
    return Study(folder, "s", url, metrics, space, write=write)


@pytest.fixture(params=["journal", "rdb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"


def test_a_trial_is_read_back_as_it_was(tmp_path: Path, url: str | None) -> None:
    study = open_study(tmp_path, url=url)
    asked = study.ask("random", seed=1)
    assert asked is not None
    assert SPACE.problems_of(asked.params) == []
    assert asked.params["epochs"] == 3
    study.report(asked.number, [report(1, 0.25), report(2, 0.75), report(3, 0.5)])
    study.tell(asked.number, TrialState.COMPLETED, values=[0.75], last_step=3, duration_s=1.5)
    study.close()

    record = open_study(tmp_path, write=False, url=url).record(0)
    assert record.state is TrialState.COMPLETED
    assert record.params == asked.params
    assert record.curve == {1: 0.25, 2: 0.75, 3: 0.5}
    assert record.values == (0.75,)
    assert record.best_step(ACCURACY.goal) == 2
    assert record.duration_s == 1.5


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (TrialState.PRUNED, None, OptunaState.PRUNED),
        (TrialState.STOPPED, None, OptunaState.PRUNED),
        (TrialState.FAILED, FailureReason.NAN, OptunaState.FAIL),
        (TrialState.FAILED, FailureReason.LOST, OptunaState.FAIL),
    ],
)
def test_optuna_is_told_what_happened(
    tmp_path: Path, url: str | None, state: TrialState, reason: FailureReason | None, told: OptunaState
) -> None:
    study = open_study(tmp_path, url=url)
    study.ask("tpe", seed=1)
    study.report(0, [report(1, 0.25), report(2, math.nan if reason else 0.5)])
    study.tell(0, state, reason=reason, message="why", last_step=2)
    record = study.record(0)
    assert (record.state, record.reason, record.message) == (state, reason, "why")
    assert list(record.curve) == [1, 2]
    trial = study._study.trials[0]
    assert trial.state is told
    assert trial.value == (0.5 if told is OptunaState.PRUNED else None)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_interrupted_sweep_asks_the_same_as_one_that_was_not(tmp_path: Path, method: str) -> None:
    space = SearchSpace.from_dict({"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}})
    asked: list[list[Any]] = []
    for name, reopen_at in (("whole", -1), ("cut", 13)):
        folder = tmp_path / name
        folder.mkdir()
        study = open_study(folder, space=space)
        params = []
        for index in range(16):
            if index == reopen_at:
                study.close()
                study = open_study(folder, space=space)
            trial = study.ask(method, seed=5)
            assert trial is not None
            params.append(dict(trial.params))
            value = trial.params["x"] - trial.params["y"]
            study.report(trial.number, [report(1, value)])
            study.tell(trial.number, TrialState.COMPLETED, values=[value], last_step=1)
        asked.append(params)
    assert asked[0] == asked[1]
    assert len({p["x"] for p in asked[0]}) > 10


def test_interrupted_trials_come_first_and_keep_what_they_were(tmp_path: Path, url: str | None) -> None:
    study = open_study(tmp_path, url=url)
    first, second = study.ask("random", seed=1), study.ask("random", seed=1)
    assert first is not None
    assert second is not None
    study.report(1, [report(1, 0.1)])
    study.close()

    study = open_study(tmp_path, url=url)
    assert study.recover() == [0, 1]
    assert study.num_waiting() == 2
    again = [study.ask("random", seed=1), study.ask("random", seed=1), study.ask("random", seed=1)]
    assert [(a.number, a.resumed) for a in again if a] == [(0, True), (1, True), (2, False)]
    assert [a.params for a in again[:2] if a] == [first.params, second.params]
    assert study.record(1).curve == {1: 0.1}


def test_known_good_configurations_come_first_and_the_rest_is_sampled(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    start_with = [{"lr": 0.5, "layers": [64, 64]}, {"optimizer": "adam"}]
    asked = [study.ask("random", 3, start_with) for _ in range(3)]
    assert asked[0] is not None
    assert asked[1] is not None
    assert (asked[0].params["lr"], asked[0].params["layers"]) == (0.5, [64, 64])
    assert asked[1].params["optimizer"] == "adam"
    assert all(a is not None and SPACE.problems_of(a.params) == [] for a in asked)
    # All that is found is measured against the first of them, which is therefore not stopped early.
    assert [study.may_continue("random", 3, number, start_with) for number in range(3)] == [True, False, False]
    assert not study.may_continue("random", 3, 0)


def test_a_grid_is_asked_whole_and_once(tmp_path: Path) -> None:
    space = SearchSpace.from_dict({"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}).as_grid()
    study = open_study(tmp_path, space=space)
    asked = []
    while (trial := study.ask("grid", seed=0)) is not None:
        asked.append((trial.params["a"], trial.params["b"]))
    assert sorted(asked) == [(a, b) for a in (1, 2, 3) for b in ("x", "y")]


@pytest.mark.parametrize("values", [[True, False, "true", None, "null"], [0, 1, "1", 2.5], [[1], "1", {"a": True}]])
def test_values_are_of_their_own_type_when_they_come_back(tmp_path: Path, url: str | None, values: list[Any]) -> None:
    space = SearchSpace.from_dict({"a": {"grid": values}})
    study = open_study(tmp_path, url=url, space=space)
    asked = [study.ask("random", seed=0) for _ in values]
    assert [repr(a.params["a"]) for a in asked if a] == [repr(value) for value in values]
    study.close()
    records = open_study(tmp_path, url=url, space=space).records()
    assert [repr(record.params["a"]) for record in records] == [repr(value) for value in values]


def test_a_grid_is_crossed_with_the_sampled_rest(tmp_path: Path) -> None:
    space = SearchSpace.from_dict({"a": {"grid": [1, 2]}, "x": {"min": 0.0, "max": 1.0}})
    study = open_study(tmp_path, space=space)
    asked = [study.ask("random", seed=0) for _ in range(6)]
    assert [a.params["a"] for a in asked if a] == [1, 2, 1, 2, 1, 2]
    assert len({a.params["x"] for a in asked if a}) == 6


def report_of_both(accuracy: float, loss: float) -> Report:
    return Report(1, {"accuracy": accuracy, "loss": loss}, 0.0, 0.0)


def test_several_metrics(tmp_path: Path, url: str | None) -> None:
    study = open_study(tmp_path, url=url, metrics=(ACCURACY, LOSS))
    for values in ([0.5, 1.0], [0.6, 0.5]):
        asked = study.ask("nsgaii", seed=1)
        assert asked is not None
        study.report(asked.number, [report_of_both(*values)])
        study.tell(asked.number, TrialState.COMPLETED, values=values, last_step=1)
    assert [r.values for r in study.records()] == [(0.5, 1.0), (0.6, 0.5)]
    assert [t.user_attrs[f"{VALUES}1"] for t in study._study.trials] == [[0.5, 1.0], [0.6, 0.5]]
    assert [t.number for t in study._study.best_trials] == [1]


@pytest.mark.parametrize("method", ["bayes", "tpe", "nsgaii"])
def test_stopped_trials_of_several_metrics_are_known_and_no_sampler_fails_at_them(tmp_path: Path, method: str) -> None:
    study = open_study(tmp_path, metrics=(ACCURACY, LOSS))
    for number in range(14):
        asked = study.ask(method, seed=1)
        assert asked is not None
        study.report(asked.number, [report_of_both(0.5, math.nan if number == 3 else number / 10)])
        if number % 3:
            study.tell(asked.number, TrialState.COMPLETED, values=[number, 1.0], last_step=1)
        else:
            study.tell(asked.number, TrialState.PRUNED if number % 2 else TrialState.STOPPED, last_step=1)
    states = [record.state for record in study.records()]
    assert [states[number] for number in (0, 1, 3)] == [TrialState.STOPPED, TrialState.COMPLETED, TrialState.PRUNED]
    assert [trial.state for trial in study._study.trials][:2] == [OptunaState.FAIL, OptunaState.COMPLETE]
    assert [trial.user_attrs[OUTCOME]["state"] for trial in study._study.trials][:2] == ["stopped", "completed"]


def test_any_optuna_sampler_can_take_the_place_of_a_method(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    asked = study.ask(optuna.samplers.RandomSampler(seed=4), seed=1)
    assert asked is not None
    assert SPACE.problems_of(asked.params) == []


def test_reading_where_there_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match=r"study\.journal is missing"):
        open_study(tmp_path, write=False)


def test_the_summary_is_kept(tmp_path: Path, url: str | None) -> None:
    study = open_study(tmp_path, url=url)
    study.set_summary({"ended_by": "run_cap"})
    assert open_study(tmp_path, write=False, url=url).summary() == {"ended_by": "run_cap"}


def test_a_sampler_that_has_been_through_its_space_ends_the_sweep(tmp_path: Path) -> None:
    space = SearchSpace.from_dict({"a": {"values": [1, 2, 3]}})
    study = open_study(tmp_path, space=space)
    sampler = optuna.samplers.GridSampler({"a": [1, 2, 3]})
    asked = []
    while (trial := study.ask(sampler, seed=0)) is not None:
        asked.append(trial.params["a"])
        study.report(trial.number, [report(1, 0.5)])
        study.tell(trial.number, TrialState.COMPLETED, values=[0.5], last_step=1)
    assert sorted(asked) == [1, 2, 3]


def test_a_sampler_that_fails_leaves_no_trial_running(tmp_path: Path) -> None:
    class Failing(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            raise RuntimeError("no idea")

    study = open_study(tmp_path)
    running = study.ask("random", seed=0)
    assert running is not None
    with pytest.raises(RuntimeError, match="no idea"):
        study.ask(Failing(), seed=0)
    # The one that was begun waits; one that runs goes on.
    assert [record.state for record in study.records()] == [TrialState.RUNNING, TrialState.PENDING]
    again = study.ask("random", seed=0)
    assert again is not None
    assert again.number == 1


def test_what_must_outlive_a_power_cut_is_on_the_disk_when_it_is_said_to_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr("tuner.run_folder.journal.os.fsync", fsync)
    study, journal = open_study(tmp_path), tmp_path / "study.journal"

    def is_synced() -> bool:
        return bool(synced) and synced[-1] == journal.stat().st_size

    asked = study.ask("random", seed=0)
    assert asked is not None
    assert is_synced()
    study.report(asked.number, [report(1, 0.5)])
    assert not is_synced(), "a report may be trained again: the disk is not waited for at each step"
    study.tell(asked.number, TrialState.COMPLETED, values=[0.5], last_step=1)
    assert is_synced()
    again = study.ask("random", seed=0)
    assert again is not None
    for keep in (
        lambda: study.set_gpus(again.number, 1.0),
        lambda: study.set_attempts(again.number, {"retries": 1}),
        lambda: study.set_gpu_share(0.5, {"peak": 3}),
        lambda: study.set_usage({"elapsed_s": 7.0}),
        lambda: study.set_summary({"ended_by": "run_cap"}),
        lambda: study.interrupt(again.number),
    ):
        before = journal.stat().st_size
        keep()
        assert journal.stat().st_size > before
        assert is_synced()


def test_what_a_trial_and_a_sweep_have_used_is_kept(tmp_path: Path, url: str | None) -> None:
    study = open_study(tmp_path, url=url)
    assert study.usage() == {}
    asked = study.ask("random", seed=0)
    assert asked is not None
    assert asked.attempts == {}
    study.set_attempts(asked.number, {"retries": 1, "losses": 2})
    study.set_usage({"elapsed_s": 3.0, "gpu_s": {"0": 1.5}})
    study.interrupt(asked.number)
    study.close()
    study = open_study(tmp_path, url=url)
    assert study.usage() == {"elapsed_s": 3.0, "gpu_s": {"0": 1.5}}
    again = study.ask("random", seed=0)
    assert again is not None
    assert (again.number, again.attempts) == (0, {"retries": 1, "losses": 2})


def test_a_study_of_another_run_is_refused_and_only_ones_own_is_deleted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"

    def open_as(identity: str) -> Study:
        return Study(tmp_path, "s", url, (ACCURACY,), SPACE, write=True, identity=identity)

    open_as("mine").close()
    open_as("mine").close()
    with pytest.raises(OccupiedError, match="belongs to another run folder"):
        open_as("another's")
    delete_study(url, "s", "another's")
    open_as("mine").close()
    delete_study(url, "s", "mine")
    open_as("another's").close()


def test_what_only_reads_makes_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ({"write": False}, {"write": True, "must_exist": True}):
        with pytest.raises(StudyNotFoundError, match=r"there is no database studies\.db \(its path is relative to"):
            Study(tmp_path, "s", "sqlite:///studies.db", (ACCURACY,), SPACE, **options)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "studies.db").touch()
    with pytest.raises(StudyNotFoundError, match="holds no studies"):
        Study(tmp_path, "s", "sqlite:///studies.db", (ACCURACY,), SPACE, write=False)
    assert (tmp_path / "studies.db").stat().st_size == 0
