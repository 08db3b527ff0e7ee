"""A run folder as a task, and the command that compares methods on it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.recorded import NUM_WHOLE, quality, ran, whole_sweep
from tuner.cli.main import cli
from tuner.errors import SimulationError
from tuner.results.results import Results
from tuner.simulation.recorded import RecordedSweep


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_sweep(tmp_path_factory.mktemp("runs") / "whole")


def test_whole_curves_are_rows(recorded: Path) -> None:
    results = Results.read(recorded)
    task = RecordedSweep(results)
    assert task.max_step == 3
    assert len(task.rows) == NUM_WHOLE + 1
    row = task.rows[0]
    assert task.values(row, range(2, 4)) == pytest.approx([0.9 * quality(row), quality(row)])
    assert task.best == pytest.approx(max(quality(row) for row in task.rows))
    assert results.best is not None
    assert results.best.value == task.best
    assert min(map(quality, task.rows)) < task.middle < task.best


def test_too_few_whole_curves_are_refused(tmp_path: Path) -> None:
    params = {"optimizer": "adam", "lr": 0.1}
    folder = ran(tmp_path / "few", [(params, [0.1, 0.2, 0.3]), (params, [0.1])])
    with pytest.raises(SimulationError, match="1 of its 2 trials ran to their full length of 3 reports"):
        RecordedSweep(Results.read(folder))


def test_the_command_compares_methods_and_trains_nothing(recorded: Path) -> None:
    runner = CliRunner()
    before = sorted(path.name for path in recorded.rglob("*"))
    options = ["--method", "random", "--method", "random+auto", "--seeds", "3", "--trainings", "20"]
    told = runner.invoke(cli, ["simulate", str(recorded), *options, "--json"], catch_exceptions=False)
    found = json.loads(told.output)
    assert found["trainings"] == 20
    plain, stopping = found["methods"]
    assert [plain["method"], stopping["method"]] == ["random", "random+auto"]
    # Four at a time: as the last of 20 end, four more are begun.
    assert (plain["whole"], plain["trials"]) == (20, 24)
    assert stopping["whole"] < plain["whole"] < plain["trials"] < stopping["trials"]
    best = RecordedSweep(Results.read(recorded)).best
    values = [*plain["best"].values()]
    assert [*plain["best"]] == ["0.1", "0.25", "0.5", "1"]
    assert values == sorted(values)
    assert values[-1] <= best + 1e-12
    assert sorted(path.name for path in recorded.rglob("*")) == before
    shown = runner.invoke(cli, ["simulate", str(recorded), *options], catch_exceptions=False).output
    assert f"{NUM_WHOLE + 1} configurations were recorded; their best accuracy is {best:.6g}" in shown
    tried = f"random+auto has tried {stopping['trials']:.0f} of the {NUM_WHOLE + 1} configurations, each once"
    assert tried in shown
    few = runner.invoke(cli, ["simulate", str(recorded), *options[:-1], "5"], catch_exceptions=False).output
    assert "random+auto" in few
    assert "configurations, each once" not in few


def test_it_finds_the_same_again_also_where_a_rule_draws(recorded: Path) -> None:
    def told() -> str:
        options = ["--method", "random+hyperband", "--seeds", "2", "--trainings", "10", "--json"]
        return CliRunner().invoke(cli, ["simulate", str(recorded), *options], catch_exceptions=False).output

    assert told() == told()


def test_unknown_methods_are_named_all_at_once(recorded: Path) -> None:
    given = ["--method", "bayse", "--method", "random+pbt", "--method", "grid"]
    told = CliRunner().invoke(cli, ["simulate", str(recorded), *given])
    assert "'bayse' is not a method" in str(told.exception)
    assert "'pbt' can't be simulated" in str(told.exception)
    assert "'grid' is not a method" in str(told.exception)
