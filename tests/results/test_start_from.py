"""What a new sweep takes from earlier ones; that it does so while it runs is in `engine/test_run`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ACCURACY, report
from tests.recorded import ran, spec
from tuner.cli.main import cli
from tuner.errors import SpecError
from tuner.methods.table import make_sampler
from tuner.records import FailureReason, TrialRecord, TrialState
from tuner.results.start_from import History, gather_history
from tuner.run_folder.trial_files import HISTORY_FILE
from tuner.study.study import Study

SGD = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1}
ADAM = {"optimizer": "adam", "lr": 0.001}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return ran(tmp_path / "a", [(SGD, [0.5, 0.9, 0.7]), (ADAM, [0.8]), ({**ADAM, "lr": 1.0}, []), (SGD, [0.6, 0.6])])


def test_the_best_come_first_and_the_curves_go_to_the_model(tmp_path: Path, earlier: Path) -> None:
    other = ran(tmp_path / "b", [({**ADAM, "lr": 0.01}, [0.2])])
    new = spec([earlier, other])
    (tmp_path / HISTORY_FILE).write_text(gather_history(new))
    history = History.read(tmp_path, new.parameters)
    assert history.start_with == (SGD, {**ADAM, "lr": 0.01}, ADAM)
    assert history.told[0] == f"starts from {earlier}, with 4 of its 4 trials"
    first, second, failed, again = history.trials[0]
    assert first.params == SGD
    assert [one.state.name for one in history.trials[0]] == ["COMPLETE", "PRUNED", "FAIL", "PRUNED"]
    assert (first.intermediate_values, second.intermediate_values) == ({1: 0.5, 2: 0.9, 3: 0.7}, {1: 0.8})
    assert (failed.intermediate_values, again.number) == ({}, 3)
    # It is there whatever becomes of the folders that it came from, and a sweep that has none has none.
    assert History.read(earlier, new.parameters) == History()


def test_of_another_space_is_taken_what_fits(tmp_path: Path, earlier: Path) -> None:
    narrow = {"lr": {"min": 1e-3, "max": 0.5}, "width": {"min": 1, "max": 9}}
    new = spec([earlier], parameters=narrow)
    (tmp_path / HISTORY_FILE).write_text(gather_history(new))
    history = History.read(tmp_path, new.parameters)
    assert [trial.params["lr"] for trial in history.trials[0]] == [0.1, 0.001, 0.1]
    assert history.start_with == ({"lr": 0.1}, {"lr": 0.001})


def test_of_what_the_earlier_sweep_has_varied_the_value_counts_that_is_fixed_now(tmp_path: Path, earlier: Path) -> None:
    fixed = {"optimizer": {"value": "sgd"}, "lr": {"min": 1e-4, "max": 1.0}, "epochs": {"value": 9}}
    found = json.loads(gather_history(spec([earlier], parameters=fixed)))
    assert [trial["params"] for trial in found["sweeps"][0]["trials"]] == [{"lr": 0.1}, {"lr": 0.1}]
    assert found["start_with"] == [{"lr": 0.1}]


def test_what_failed_by_no_fault_of_its_configuration_is_not_the_worst() -> None:
    space = spec().parameters

    def trial(number: int, reason: FailureReason, curve: Mapping[int, float]) -> TrialRecord:
        return TrialRecord(number, TrialState.FAILED, ADAM, curve, reason=reason)

    trials = [
        trial(0, FailureReason.NAN, {}),
        trial(1, FailureReason.ERROR, {}),
        trial(2, FailureReason.LOST, {1: 0.5}),
        trial(3, FailureReason.OOM, {1: 0.5}),
    ]
    history = History.of([trials], ACCURACY, space)
    assert [one.state.name for one in history.trials[0]] == ["FAIL", "PRUNED", "FAIL"]


def test_what_can_not_be_started_from_is_told_at_once(tmp_path: Path, earlier: Path) -> None:
    empty, other = tmp_path / "empty", ran(tmp_path / "b", [(ADAM, [0.2])])
    empty.mkdir()
    with pytest.raises(SpecError) as caught:
        gather_history(spec([empty, earlier, other], parameters={"lr": {"min": 0.01, "max": 0.05}}))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [f"start_from[{i}]" for i in (0, 1, 2)]
    assert "none of the 4 trials of" in caught.value.problems[1]
    with pytest.raises(
        SpecError, match=r"start_from\[0\]: none of the 0 trials of .* has a useful result: leave it out"
    ):
        gather_history(spec([ran(tmp_path / "c", []), earlier]))
    with pytest.raises(SpecError, match="was to maximize accuracy, but this sweep is to minimize accuracy"):
        gather_history(spec([earlier], metric={"name": "accuracy"}))
    path = tmp_path / "new.yaml"
    path.write_text(json.dumps(spec([empty]).to_dict()))
    with pytest.raises(SpecError, match="Give the folder of a run"):
        cli(["check", str(path)], standalone_mode=False)


def test_the_method_asks_where_an_earlier_sweep_was_good(tmp_path: Path) -> None:
    """From its first trial on; once the two are seen not to agree it turns away."""

    def value(params: Mapping[str, Any], best_at: float) -> list[float]:
        return [1.0 - abs(math.log10(params["lr"]) - best_at) / 4] * 3

    places = [10 ** (-4 + 4 * index / 29) for index in range(30)]
    path = ran(tmp_path / "a", [({**ADAM, "lr": lr}, value({"lr": lr}, -1.0)) for lr in places])
    new = spec([path])
    (tmp_path / HISTORY_FILE).write_text(gather_history(new))
    history = History.read(tmp_path, new.parameters)

    def asked(best_at: float) -> list[float]:
        folder = tmp_path / f"{best_at}"
        folder.mkdir()
        study = Study(folder, "s", None, (ACCURACY,), new.parameters, write=True, earlier=history.trials)
        found = []
        for number in range(24):
            one = study.ask("bayes", 3, history.start_with)
            assert one is not None
            found.append(math.log10(one.params["lr"]))
            curve = value(one.params, best_at)
            study.report(number, [report(step, v) for step, v in enumerate(curve, start=1)])
            study.tell(number, TrialState.COMPLETED, values=[max(curve)], last_step=3)
        study.close()
        return found

    alike, unlike = asked(-1.0), asked(-3.5)
    assert alike[:3] == unlike[:3]
    assert sum(abs(lr + 1.0) < 0.5 for lr in alike[:8]) >= 7
    assert sum(abs(lr + 3.5) < 0.5 for lr in unlike[12:]) >= 6


def test_other_methods_start_with_the_best(earlier: Path) -> None:
    assert make_sampler("random", 0, 0, [[]])
    assert json.loads(gather_history(spec([earlier], method="grid", parameters={"lr": {"values": [0.1, 0.3]}})))[
        "start_with"
    ] == [{"lr": 0.1}]
