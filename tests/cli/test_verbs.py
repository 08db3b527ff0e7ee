"""What is asked of a sweep while it runs, from other processes than its own: a real driver, a real cluster."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from click.testing import CliRunner

from tests.commands import Command, tuner
from tuner.cli.main import cli
from tuner.errors import ClusterError
from tuner.records import TrialState
from tuner.results.listing import list_runs
from tuner.results.results import Results
from tuner.results.sweep_state import SweepState

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


@pytest.fixture
def sweep(request: pytest.FixtureRequest, tmp_path: Path, cluster_address: str) -> Iterator[tuple[Path, Command]]:
    """A sweep that has begun to train, and would run for minutes; its description is the test's, or `SWEEP`."""
    (tmp_path / "asked.yaml").write_text(getattr(request, "param", SWEEP))
    output = str(tmp_path / "runs")
    process = Command(
        "run", str(tmp_path / "asked.yaml"), "--output", output, "--id", "it", "--address", cluster_address
    )
    folder = tmp_path / "runs" / "it"
    process.until(lambda: len(list(folder.glob("trials/*/metrics.jsonl"))) >= 2)
    yield folder, process
    process.kill()


def states(folder: Path) -> dict[str, int]:
    return Results(folder).counts()


@pytest.mark.slow
def test_pause_resume_and_stop(sweep: tuple[Path, Command], cluster_address: str) -> None:
    folder, process = sweep
    assert tuner("pause", str(folder))[0] == 0
    process.until(lambda: "running" not in states(folder))
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
        process.until(lambda: ray.available_resources().get("CPU") == 2.0)
    finally:
        ray.shutdown()
    assert states(folder) == known, "no new ones start"
    code, told = tuner("resume", str(folder))
    assert (code, told.startswith("resumed")) == (0, True)
    process.until(lambda: "running" in states(folder))
    assert Results(folder).state is SweepState.RUNNING
    running = {trial.number for trial in Results(folder).trials if trial.state is TrialState.RUNNING}
    waiting = Command("wait", str(folder))
    following = Command("logs", "-f", str(folder))
    assert tuner("stop", str(folder))[0] == 0
    code, told = tuner("pause", str(folder))
    assert (code, "is being stopped" in told) == (2, True)
    code, output = process.finish()
    assert code == 0, output
    assert waiting.finish()[0] == 0
    log = following.finish()[1]
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
    sweep: tuple[Path, Command], cluster_address: str, tmp_path: Path
) -> None:
    folder, process = sweep
    assert tuner("pause", str(folder))[0] == 0
    process.kill()
    assert Results(folder).state is SweepState.CRASHED
    code, told = tuner("wait", str(folder))
    assert (code, "crashed" in told) == (130, True)
    before = Results(folder).trials
    arguments = ["run", str(tmp_path / "asked.yaml"), "--output", str(folder.parent), "--address", cluster_address]
    (tmp_path / "asked.yaml").write_text(LONG_TRIALS.replace("run_cap: 500", "run_cap: 501"))
    code, told = tuner(*arguments, "--id", "it")
    assert (code, "differs in run_cap" in told) == (2, True)
    (tmp_path / "asked.yaml").write_text(LONG_TRIALS)
    again = Command(*arguments, "--id", "it")
    try:
        again.until(lambda: len(Results(folder).trials) > len(before))
        assert Results(folder).state is SweepState.RUNNING
        assert tuner("cancel", str(folder))[0] == 0
        code, output = again.finish()
    finally:
        again.kill()
    assert code == 0, output
    results = Results(folder)
    assert results.state is SweepState.CANCELLED
    assert set(results.counts()) == {"completed", "stopped"}
    assert results.counts()["stopped"] in (1, 2)  # one may have ended by itself on a busy machine
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
