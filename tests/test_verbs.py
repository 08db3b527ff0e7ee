"""What is asked of a sweep while it runs, from other processes than its own: a real driver, a real cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner

from tuner.cli import cli
from tuner.errors import ClusterError
from tuner.results import Results, SweepState, list_runs
from tuner.trial import TrialState

SWEEP = """
name: asked
trainable: tests.loops:descent
method: random
metric: {name: loss}
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 6}
  step_s: {value: 0.2}
run_cap: 500
seed: 3
"""


def tuner(*args: str) -> tuple[int, str]:
    """Run a command in another process than the sweep's: its exit code, and all that it printed."""
    done = subprocess.run([sys.executable, "-m", "tuner", *args], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tuner", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(is_true: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 90.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def sweep(
    request: pytest.FixtureRequest, tmp_path: Path, cluster_address: str
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A sweep that has begun to train, and would run for minutes; its description is the test's, or `SWEEP`."""
    (tmp_path / "asked.yaml").write_text(getattr(request, "param", SWEEP))
    output = str(tmp_path / "runs")
    process = start("run", str(tmp_path / "asked.yaml"), "--output", output, "--id", "it", "--address", cluster_address)
    folder = tmp_path / "runs" / "it"
    until(lambda: len(list(folder.glob("trials/*/metrics.jsonl"))) >= 2, process)
    yield folder, process
    process.kill()
    process.communicate()


def states(folder: Path) -> dict[str, int]:
    return Results(folder).counts()


@pytest.mark.slow
def test_pause_resume_and_stop(sweep: tuple[Path, subprocess.Popen[str]], cluster_address: str) -> None:
    folder, process = sweep
    assert tuner("pause", str(folder))[0] == 0
    until(lambda: "running" not in states(folder), process)
    known = states(folder)
    assert set(known) == {"completed"}, "running trials finish"
    shown = json.loads(tuner("status", str(folder), "--json")[1])
    assert (shown["state"], shown["running"], shown["trials"]) == ("paused", True, sum(known.values()))
    assert "state: paused" in tuner("status", str(folder))[1]
    listed = CliRunner().invoke(cli, ["list", "--output", str(folder.parent)]).output
    assert "paused" in listed
    # What a paused sweep holds is free for others.
    ray.init(cluster_address, log_to_driver=False)
    try:
        until(lambda: ray.available_resources().get("CPU") == 2.0, process)
    finally:
        ray.shutdown()
    assert states(folder) == known, "no new ones start"
    code, told = tuner("resume", str(folder))
    assert (code, told.startswith("resumed")) == (0, True)
    until(lambda: "running" in states(folder), process)
    assert Results(folder).state is SweepState.RUNNING
    running = {trial.number for trial in Results(folder).trials if trial.state is TrialState.RUNNING}
    waiting = start("wait", str(folder))
    following = start("logs", "-f", str(folder))
    assert tuner("stop", str(folder))[0] == 0
    code, told = tuner("pause", str(folder))
    assert (code, "is being stopped" in told) == (2, True)
    output = process.communicate(timeout=90)[0]
    assert process.returncode == 0, output
    assert waiting.wait(timeout=60) == 0
    log = following.communicate(timeout=60)[0]
    for event in ("paused: ", "resumed: ", "stopping: ", "ended: stopped by the user"):
        assert event in log
    results = Results(folder)
    assert results.state is SweepState.STOPPED
    assert set(results.counts()) == {"completed"}
    assert all(max(results.trials[number].curve) == 6 for number in running)
    assert not (folder / "control.json").exists()
    # The clock stood still while it was paused and nothing ran.
    assert results.summary["elapsed_s"] < results.summary["last_run_s"]
    code, told = tuner("stop", str(folder))
    assert (code, "not running" in told) == (2, True)


# Of 6 s each: what is asked a second after two have begun finds both of them in their midst.
LONG_TRIALS = SWEEP.replace("epochs: {value: 6}", "epochs: {value: 30}")


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [LONG_TRIALS], indirect=True, ids=["long trials"])
def test_a_paused_sweep_that_is_killed_runs_when_it_is_resumed_and_is_cancelled(
    sweep: tuple[Path, subprocess.Popen[str]], cluster_address: str, tmp_path: Path
) -> None:
    folder, process = sweep
    assert tuner("pause", str(folder))[0] == 0
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert Results(folder).state is SweepState.CRASHED
    code, told = tuner("wait", str(folder))
    assert (code, "crashed" in told) == (1, True)
    before = Results(folder).trials
    arguments = ["run", str(tmp_path / "asked.yaml"), "--output", str(folder.parent), "--address", cluster_address]
    (tmp_path / "asked.yaml").write_text(LONG_TRIALS.replace("run_cap: 500", "run_cap: 501"))
    code, told = tuner(*arguments, "--id", "it")
    assert (code, "differs in run_cap" in told) == (2, True)
    (tmp_path / "asked.yaml").write_text(LONG_TRIALS)
    again = start(*arguments, "--id", "it")
    try:
        until(lambda: len(Results(folder).trials) > len(before), again)
        assert Results(folder).state is SweepState.RUNNING
        assert tuner("cancel", str(folder))[0] == 0
        output = again.communicate(timeout=60)[0]
    finally:
        again.kill()
    assert again.returncode == 0, output
    results = Results(folder)
    assert results.state is SweepState.CANCELLED
    assert set(results.counts()) == {"completed", "stopped"}
    assert results.counts()["stopped"] == 2
    assert list_runs(folder.parent) == [folder]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "{}", "--address", "http://127.0.0.1:9"], "no Ray dashboard answers at http://127.0.0.1:9"),
        (["status", "it", "--address", "http://127.0.0.1:9"], "no Ray dashboard answers"),
        (["pause", "it", "--address", "127.0.0.1:8265"], "write it as http://HEAD:8265"),
        (["run", "{}", "--address", "http://127.0.0.1:8265"], "that is a dashboard's address"),
        (["run", "{}", "--address", "127.0.0.1:9"], "no Ray cluster could be reached there"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, arguments: list[str], told: str) -> None:
    path = tmp_path / "asked.yaml"
    path.write_text(SWEEP)
    output = ["--output", str(tmp_path / "runs")] if arguments[0] == "run" else []
    result = CliRunner().invoke(cli, [text.format(path) for text in arguments] + output)
    assert isinstance(result.exception, ClusterError)
    assert told in str(result.exception)
    assert not list((tmp_path / "runs").glob("*"))
