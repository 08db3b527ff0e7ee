"""What people hand over that means something to others than them, through the real Ray Tune."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import loops
from tests.sweeps import LR, sweep
from tuner.results.results import Results

ROOT = Path(__file__).parents[2]
SWEEP = r"""
trainable: tests.loops:reports_umlauts
metric: {name: größe}
parameters: {"ä \U0001f389": {value: "[/ö]\n"}}
run_cap: 1
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]


def test_metrics_that_bear_ray_tunes_names_are_metrics_and_nothing_else(tmp_path: Path) -> None:
    results = sweep(
        loops.reports_rays_names,
        tmp_path,
        parameters={"lr": LR, "done": {"values": ["a", "b"]}, "config": {"value": {"a": 1}}},
        metric={"name": "done"},
        method="random",
        early_terminate={"type": "median", "min_iter": 1, "min_samples": 2},
        run_cap=8,
    )
    assert set(results.counts()) <= {"completed", "pruned"}
    assert max(max(trial.curve) for trial in results.trials) == 4
    for trial in results.trials:
        reported = results.curve(trial.number)[-1]
        assert reported.metrics["should_checkpoint"] == reported.metrics["training_iteration"] == -1.0 * reported.step
        assert trial.curve[reported.step] == reported.metrics["done"]
    assert results.best is not None
    assert results.best.value == min(min(trial.curve.values()) for trial in results.trials)


def test_partials_and_objects_run_and_a_loop_of_a_configuration_is_told_what_it_is_given(tmp_path: Path) -> None:
    for number, train in enumerate((functools.partial(loops.scaled, scale=2.0), loops.Scaled(2.0).fit, loops.cached)):
        results = sweep(train, tmp_path / str(number), parameters={"lr": LR}, run_cap=1)
        assert results.counts() == {"completed": 1}
    for train, told in ((loops.wants_config, "write trial.params['lr']"), (loops.hands_back, "returned {'loss': 1.0}")):
        results = sweep(train, tmp_path, parameters={"lr": LR}, run_cap=1, name=train.__name__)
        assert told in results.trials[0].message
        assert "tuner.from_ray_train(loop)" in results.trials[0].message


def test_a_sweep_runs_without_home_locale_terminal_and_a_temporary_folder_that_fits(tmp_path: Path) -> None:
    """As cron, a container and a batch system would start it, all at once."""
    temporary = tmp_path / ("x" * 100)
    temporary.mkdir()
    folder = tmp_path / "läufe"
    folder.mkdir()
    (folder / "größe.yaml").write_text(SWEEP, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": "/proc",
        "TMPDIR": str(temporary),
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    command = f'exec {sys.executable} -m tuner run "$1" --output "$2" --id "$3" <&-'
    given = [folder / "größe.yaml", folder / "runs [x]", "größe"]
    done = subprocess.run(
        ["bash", "-c", command, "tuner", *map(str, given)], capture_output=True, env=environment, cwd=ROOT, timeout=300
    )
    told = (done.stdout + done.stderr).decode("ascii")  # raises where it is anything else
    assert done.returncode == 0, told
    assert "Traceback" not in told
    assert r"best: gr\xf6\xdfe=0.5 (trial 0000, step 1)" in told
    results = Results(folder / "runs [x]" / "größe")
    assert results.counts() == {"completed": 1}
    assert dict(results.trials[0].params) == {"ä \U0001f389": "[/ö]\n"}
    assert r"tuner show '" in told
