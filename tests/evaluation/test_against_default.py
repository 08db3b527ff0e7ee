import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.sweeps import Told
from tuner import Sweep
from tuner.cli.main import cli
from tuner.errors import ControlError, SpecError, StopTrial
from tuner.evaluation.against_default import EVALUATION_FILE, default_params, train_and_score
from tuner.export import EXPORT_FILE
from tuner.metric import Goal, Metric
from tuner.records import Report
from tuner.spec.sweep_spec import SweepSpec
from tuner.trial.trial import Trial

ACCURACY = {"name": "val_accuracy", "goal": "maximize"}


def spec(**keys: Any) -> SweepSpec:
    parameters = {
        "epochs": {"value": 3},
        "model": {"values": ["mlp", "svm"]},
        "C": {"min": 0.1, "max": 10.0, "when": {"model": "svm"}},
        "cache": {"value": 200, "when": {"model": "svm"}},
        "lr": {"min": 0.1, "max": 1.0},
    }
    data = {"trainable": "tests.scored_loops:curve", "metric": ACCURACY, "parameters": parameters, "run_cap": 1}
    return SweepSpec.from_dict({**data, **keys})


def score(
    folder: Path,
    params: dict[str, Any],
    *,
    max_iter: int | None = None,
    stop_after: int = 0,
    seed: int = 2,
    patience: dict[str, Any] | None = None,
) -> list[Report]:
    """The reports of a training of the loop in `tests.scored_loops`, as `evaluate` has it done."""
    reports: list[Report] = []

    def deliver(report: Report, stop: StopTrial | None) -> None:
        reports.append(report)
        if report.step == stop_after:
            raise StopTrial

    plan = {
        "trainable": "tests.scored_loops:curve",
        "metric": "val_accuracy",
        "goal": "maximize",
        "max_iter": max_iter,
        "patience": patience,
        "configurations": {"tuned": params},
        "configuration": "tuned",
        "seed": seed,
    }
    metrics = (Metric("val_accuracy", Goal.MAXIMIZE),)
    train_and_score(Trial(plan, number=0, seed=99, dir=folder, metrics=metrics, deliver=deliver))
    return reports


def test_the_default_is_the_constants_and_the_first_known_good_configuration() -> None:
    assert default_params(spec(), {}) == {"epochs": 3}
    assert default_params(spec(start_with=[{"model": "svm", "C": 1.0}, {"model": "mlp"}]), {}) == {
        "epochs": 3,
        "model": "svm",
        "C": 1.0,
        "cache": 200,
    }


def test_the_default_may_be_chosen_and_is_checked() -> None:
    assert default_params(spec(start_with=[{"model": "svm"}]), {"lr": 0.5}) == {"epochs": 3, "lr": 0.5}
    with pytest.raises(SpecError, match="--set: lr must be") as caught:
        default_params(spec(), {"lr": 5.0, "depth": 2})
    assert any("depth" in problem for problem in caught.value.problems)


def test_the_best_step_is_scored_after_the_last(tmp_path: Path) -> None:
    reports = score(tmp_path, {"curve": "0.5 0.8 0.6"})
    assert [report.step for report in reports] == [1, 2, 3, 4]
    last = dict(reports[-1].metrics)
    assert last.pop("test score: test_nan") != 0
    assert last == pytest.approx(
        {"val_accuracy": 0.82, "best step": 2, "test score: test_accuracy": 0.72, "test score: test_step": 2}
    )
    assert not list(tmp_path.iterdir())  # its checkpoints are elsewhere, and gone


def test_a_training_is_no_longer_than_a_trial(tmp_path: Path) -> None:
    reports = score(tmp_path, {"curve": "0.5 0.6 0.9"}, max_iter=2)
    assert reports[-1].metrics["best step"] == 2


def test_a_training_that_diverges_counts_with_its_best_step(tmp_path: Path) -> None:
    assert score(tmp_path, {"curve": "0.5 nan 0.9"})[-1].metrics["best step"] == 1
    with pytest.raises(RuntimeError, match="no step had a finite val_accuracy and a state"):
        score(tmp_path, {"curve": "nan 0.9"})


def test_a_training_that_saves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="and a state"):
        score(tmp_path, {"curve": "0.5 0.6", "saves": False})


def test_a_training_ends_where_the_patience_of_the_sweep_does(tmp_path: Path) -> None:
    reports = score(tmp_path, {"curve": "0.5 0.7 0.6 0.6 0.9"}, patience={"steps": 2, "min_delta": 0.0})
    assert [report.step for report in reports] == [1, 2, 3, 4, 5]
    assert reports[-1].metrics["best step"] == 2


def test_what_stops_the_trial_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(StopTrial):
        score(tmp_path, {"curve": "0.5 0.6 0.7"}, stop_after=2)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_tables_are_evaluated_over_seeds(tmp_path: Path) -> None:
    sweep = Sweep(
        "trainables.tabular:train",
        parameters={
            "dataset": "wine",
            "model": "mlp",
            "folds": 2,
            "width": 16,
            "epochs": {"grid": [1, 15]},
            "batch_size": 16,
            "lr": 0.005,
        },
        metric=ACCURACY,
        output=tmp_path,
        parallel=1,
    )
    results = sweep.run(console=Told())
    shown = CliRunner().invoke(cli, ["evaluate", str(results.folder), "--seeds", "2", "--set", "epochs=1"])
    assert shown.exit_code == 0, shown.output
    assert "paired t-test over 2 seeds" in shown.stdout
    assert "test_rows" not in shown.stdout
    told = json.loads((results.folder / "best" / EVALUATION_FILE).read_text())
    assert (told["metric"], told["goal"]) == ("test_accuracy", "maximize")
    assert told["tuned"]["params"]["epochs"] == 15
    assert told["default"]["params"] == {**told["tuned"]["params"], "epochs": 1}
    for candidate in ("tuned", "default"):
        assert [training["seed"] for training in told[candidate]["trainings"]] == [0, 1]
        assert told[candidate]["scores"]["test_accuracy"]["num_seeds"] == 2
    assert told["gain"]["mean"] > 0.2
    assert told["gain"]["is_beyond_noise"] == (told["gain"]["mean"] > told["gain"]["half_width"])


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_images_are_evaluated_over_seeds_and_a_default_that_fails_is_told(tmp_path: Path) -> None:
    sweep = Sweep(
        "trainables.image_classification:train",
        parameters={
            "dataset": "digits",
            "train_size": 200,
            "epochs": 3,
            "channels": {"values": [4, 8]},
            "optimizer": {"values": ["adamw", "sdg"]},
        },
        metric=ACCURACY,
        early_terminate={"type": "asha", "max_iter": 2},
        start_with=[{"channels": 8, "optimizer": "adamw"}],
        run_cap=1,
        parallel=1,
        output=tmp_path,
        seed=0,
    )
    results = sweep.run(console=Told())
    assert results.best is not None
    failed = ["evaluate", str(results.folder), "--json", "--seeds", "1", "--set", "optimizer=sdg"]
    done = CliRunner().invoke(cli, failed, catch_exceptions=False)
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told == json.loads((results.folder / "best" / EVALUATION_FILE).read_text())
    assert (told["gain"], told["verdict"]) == (None, None)
    assert "optimizer must be one of" in told["default"]["trainings"][0]["error"]
    assert told["tuned"]["trainings"][0]["step"] <= 2
    # Without another default the best configuration is the default one, and is trained once.
    same = CliRunner().invoke(cli, ["evaluate", str(results.folder), "--seeds", "1"], catch_exceptions=False)
    assert same.exit_code == 0, same.output
    assert "the best configuration is the default one" in same.stdout
    told = json.loads((results.folder / "best" / EVALUATION_FILE).read_text())
    assert told["tuned"] == told["default"]
    assert told["gain"]["mean"] == 0
    # The winner is of use at once, and knows where it comes from.
    shown = CliRunner().invoke(cli, ["export", str(results.folder), str(tmp_path / "model")])
    assert shown.exit_code == 0, shown.output
    assert f"tuner predict {tmp_path / 'model'} INPUT" in shown.output
    about = json.loads((tmp_path / "model" / EXPORT_FILE).read_text())
    best = results.best
    assert (about["trial"], about["step"], about["params"]) == (best.trial.number, best.step, dict(best.params))
    assert about["metrics"]["val_accuracy"] == best.value
    assert about["test"]["test_accuracy"] > 0.3
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    used = CliRunner().invoke(cli, ["predict", str(tmp_path / "model"), str(tmp_path / "black.png"), "--json"])
    assert json.loads(used.output)["class"] in "0123456789"
    again = CliRunner().invoke(cli, ["export", str(results.folder), str(tmp_path / "model")])
    assert isinstance(again.exception, ControlError)
    assert "exists already" in str(again.exception)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_what_can_not_be_evaluated_is_refused(tmp_path: Path) -> None:
    sweep = Sweep(
        "tests.loops:descent",
        parameters={"lr": 0.1, "epochs": 2},
        metric={"name": "loss"},
        output=tmp_path,
        parallel=1,
    )
    folder = sweep.run(console=Told()).folder
    with pytest.raises(SpecError, match=r"its module has no evaluate\(params, state, device\)"):
        CliRunner().invoke(cli, ["evaluate", str(folder)], catch_exceptions=False)
    with pytest.raises(SpecError, match=r"its module has no export\(params, state\) that gives a Portable"):
        CliRunner().invoke(cli, ["export", str(folder), str(tmp_path / "model")], catch_exceptions=False)
    assert not (folder / "best" / EVALUATION_FILE).exists()
