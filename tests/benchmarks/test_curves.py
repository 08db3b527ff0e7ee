"""The simulator runs the real objects as asynchronous workers would, the same each time; its figures are right."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.curves.methods import METHODS, make_method
from benchmarks.curves.references import Reference, reference
from benchmarks.curves.statistics import interval, mean_ranks, regrets
from benchmarks.curves.tasks import data_folder, load_task, task_names
from tests.recorded import whole_sweep
from tests.simulation.tasks import Slopes, Table
from tuner.metric import Goal
from tuner.simulation.simulator import Run, simulate


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_sweep(tmp_path_factory.mktemp("runs") / "whole")


def run(name: str, task: Slopes, seed: int = 3, budget: int = 180) -> Run:
    method = make_method(name, task, seed)
    try:
        return simulate(task, method, workers=4, budget=budget)
    finally:
        method.close()


def test_without_early_stopping_the_budget_is_full_trainings_but_for_the_last_ones() -> None:
    done = run("random, no early stopping", Slopes(), budget=9 * 10)
    assert sum(done.lengths) == 90
    # Four workers have trained 2.5 configurations each.
    assert sorted(done.lengths) == [4, 4, 5, 5, *[9] * 8]
    values = [value for _, value in done.incumbents(Goal.MAXIMIZE)]
    assert values == sorted(values)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "task", [pytest.param(Slopes(), id="surrogate", marks=pytest.mark.slow), pytest.param(Table(), id="table")]
)
def test_every_method_runs_the_same_again_and_stays_within_its_budget(name: str, task: Slopes) -> None:
    if name.startswith("SMAC"):
        pytest.importorskip("smac")
    if name.startswith("Syne Tune"):
        pytest.importorskip("syne_tune")
    first, again = run(name, task), run(name, task)
    assert repr((first.reports, first.lengths)) == repr((again.reports, again.lengths))  # NaN is none of NaN
    assert sum(first.lengths) <= 180
    if task.rows is not None:
        assert len(first.lengths) <= len(task.rows)
        assert sum(first.lengths) == 180 or len(first.lengths) == len(task.rows)
    assert first.reports != run(name, task, seed=4).reports


def test_regret_is_that_of_the_incumbent_at_a_share_of_the_budget() -> None:
    reference = Reference(best=1.0, random=0.5)
    found = regrets([(5, 0.5), (50, 0.9), (100, 1.1)], reference, 100, (0.01, 0.1, 0.5, 1.0))
    assert found == pytest.approx([1.0, 1.0, 0.2, 0.0])
    assert Reference(best=0.1, random=0.3).regret(0.2) == pytest.approx(0.5)


def test_ranks_are_means_over_tasks_and_equals_share_theirs() -> None:
    ranks = mean_ranks({"a": np.array([0.1, 0.2]), "b": np.array([0.1, 0.1]), "c": np.array([0.3, 0.3])})
    assert ranks == {"a": 1.75, "b": 1.25, "c": 3.0}
    low, high = interval(np.array([0.1, 0.2, 0.3]))
    assert 0.1 <= low < 0.2 < high <= 0.3


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_on_a_recorded_sweep_with_conditions(name: str, recorded: Path) -> None:
    if name.startswith("SMAC"):
        pytest.importorskip("smac")
    if name.startswith("Syne Tune"):
        pytest.importorskip("syne_tune")
    task = load_task(str(recorded))
    method = make_method(name, task, 0)
    try:
        done = simulate(task, method, workers=2, budget=10 * task.max_step)
    finally:
        method.close()
    assert sum(done.lengths) == len(done.reports) == 10 * task.max_step
    known = {value for row in task.rows or () for value in task.values(row, range(1, task.max_step + 1))}
    assert set(done.reports) <= known
    middle = reference(str(recorded)).random
    assert done.incumbents(Goal.MAXIMIZE)[-1][1] > middle


@pytest.mark.skipif(not data_folder().exists(), reason="needs the curves that TUNER_DATA names")
def test_the_recorded_tasks_are_read_without_their_untrained_first_point() -> None:
    pytest.importorskip("onnxruntime")
    development, test = task_names("development"), task_names("test")
    assert len(development) <= len(test)
    assert sorted([*development, *test]) == sorted(task_names("all"))
    assert len(task_names("all")) == 40
    table = load_task("imdb_patch32_GRU128_bs128")
    assert table.rows is not None
    assert len(table.rows) == 1000
    assert len(table.values(table.rows[0], range(1, 51))) == 50
    surrogate = load_task("3945")
    middle = {"batch_size": 64, "learning_rate": 1e-2, "momentum": 0.9, "weight_decay": 1e-3}
    curve = surrogate.values({**middle, "num_layers": 3, "max_units": 256, "max_dropout": 0.2}, range(1, 52))
    assert len(curve) == 51
    assert len(set(curve)) > 40
    assert 50 < curve[0] < curve[-1] < 100
