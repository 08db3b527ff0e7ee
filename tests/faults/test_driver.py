"""A driver that is killed or interrupted at any moment loses nothing: real processes, real signals."""

import random
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.commands import Command, tuner
from tests.faults import scenes
from tests.faults.scenes import kill, num_reports, pid_of, write_walk
from tuner.errors import StudyNotFoundError
from tuner.records import TrialState
from tuner.results.listing import list_runs
from tuner.results.results import Results
from tuner.run_folder.trial_files import trial_dir
from tuner.study.study import Study

pytestmark = pytest.mark.slow

SWEEP = """
name: killed
trainable: tests.loops:descent
method: random
metric: {name: loss}
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 9}
  step_s: {value: 0.05}
early_terminate: {type: asha, min_iter: 1, max_iter: 9, eta: 3}
run_cap: 120
seed: 11
"""
KILLS = 10


def start(tmp_path: Path, address: str) -> Command:
    return Command("run", str(tmp_path / "killed.yaml"), "--output", str(tmp_path / "runs"), "--address", address)


def finished(folder: Path) -> dict[int, tuple[object, bytes]]:
    """The record and the reports of each trial that has ended."""
    try:
        trials = Results(folder).trials
    except StudyNotFoundError:
        return {}
    return {
        t.number: (t, (trial_dir(folder, t.number) / "metrics.jsonl").read_bytes()) for t in trials if t.state.is_final
    }


def check(results: Results) -> None:
    for trial in results.trials:
        assert trial.state in (TrialState.COMPLETED, TrialState.PRUNED), trial
        steps = [report.step for report in results.curve(trial.number)]
        assert steps == list(range(1, max(steps) + 1)) == sorted(trial.curve)
        assert max(steps) in (1, 3, 9)


def wait_for_trials(folder: Path, process: Command) -> None:
    """Until the driver has begun to train; killing it while Ray starts would test Ray."""
    before = (folder / "study.journal").stat().st_size if (folder / "study.journal").exists() else 0
    while process.returncode is None:
        if (folder / "study.journal").exists() and (folder / "study.journal").stat().st_size > before + 1000:
            return
        time.sleep(0.02)


def test_ten_kills_in_one_sweep_lose_nothing(tmp_path: Path, cluster_address: str) -> None:
    (tmp_path / "killed.yaml").write_text(SWEEP)
    rng = random.Random(2)
    process = start(tmp_path, cluster_address)
    while not list_runs(tmp_path / "runs"):
        time.sleep(0.02)
    (folder,) = list_runs(tmp_path / "runs")
    kept: dict[int, tuple[object, bytes]] = {}
    kills = 0
    while kills < KILLS:
        wait_for_trials(folder, process)
        time.sleep(rng.uniform(0.0, 1.5))
        if process.returncode is not None:
            break
        process.kill()
        kills += 1
        now = finished(folder)
        assert {number: now.get(number) for number in kept} == kept
        kept = now
        process = Command("resume", str(folder), "--address", cluster_address)
    code, output = process.finish(200)
    assert code == 0, output
    assert kills == KILLS, f"the sweep was over after {kills} kills"
    results = Results(folder)
    assert len(results.trials) == 120
    assert {number: finished(folder)[number] for number in kept} == kept
    check(results)
    best = results.best
    assert best is not None
    assert best.value == min(min(trial.curve.values()) for trial in results.trials)
    assert torch.load(folder / "best" / "state.pt", weights_only=True)["weight"].shape == (4,)
    asked = Study(tmp_path, "again", None, results.spec.metrics, results.spec.parameters, write=True)
    assert [trial.params for trial in results.trials] == [
        getattr(asked.ask("random", 11), "params", None) for _ in range(120)
    ]


def test_a_driver_with_a_cluster_of_its_own_and_a_database_is_killed_and_interrupted(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(SWEEP.replace("run_cap: 120", "run_cap: 60"))
    url = f"sqlite:///{tmp_path / 'study.db'}"
    process = Command("run", str(tmp_path / "killed.yaml"), "--output", str(tmp_path / "runs"), "--storage", url)
    process.until(lambda: bool(list_runs(tmp_path / "runs")))
    (folder,) = list_runs(tmp_path / "runs")
    # Its database is there.
    process.until(lambda: "new best" in process.output())
    process.until(lambda: len(finished(folder)) >= 5)
    process.kill()
    kept = finished(folder)
    process = Command("resume", str(folder))
    process.until(lambda: len(finished(folder)) >= len(kept) + 5)
    # As a batch system does, which tells all processes of a job: the cluster ends with its driver.
    for one in psutil.Process(process.pid).children():
        one.terminate()
    process.signal(signal.SIGTERM)
    code, output = process.finish()
    assert code == 130, output
    assert f"tuner resume {folder}" in output
    now = finished(folder)
    assert {number: now.get(number) for number in kept} == kept
    states = Results(folder).counts()
    assert "running" not in states
    assert states.get("pending", 0) <= 2
    assert sum(states.values()) < 60
    code, output = tuner("resume", str(folder))
    assert code == 0, output
    results = Results(folder)
    assert len(results.trials) == 60
    assert {number: finished(folder)[number] for number in now} == now
    check(results)
    assert "Traceback" not in output
    assert "ray" not in output.lower().replace("array", ""), output


def test_what_a_batch_system_ends_with_its_driver_is_gone_on_with(tmp_path: Path, cluster_address: str) -> None:
    spec = write_walk(tmp_path, epochs=4, step_s=1.5, run_cap=2)
    output, address = tmp_path / "runs", ("--address", cluster_address)
    process = Command("run", str(spec), "--output", str(output), *address)
    process.until(lambda: num_reports(output) >= 2)
    process.signal(signal.SIGINT)
    time.sleep(0.3)
    for number in range(2):
        kill(pid_of(tmp_path / f"{number:04d}-0"))
    code, text = process.finish(60)
    assert code == 130, text
    (folder,) = list_runs(output)
    assert Results(folder).counts() == {"pending": 2}, text
    code, text = tuner("resume", str(folder), *address)
    assert code == 0, text
    scenes.check(Results(folder), tmp_path)


def test_a_second_driver_is_refused_by_name_and_pid(tmp_path: Path, cluster_address: str) -> None:
    (tmp_path / "killed.yaml").write_text(SWEEP)
    process = start(tmp_path, cluster_address)
    while not list_runs(tmp_path / "runs"):
        time.sleep(0.02)
    (folder,) = list_runs(tmp_path / "runs")
    wait_for_trials(folder, process)
    try:
        code, output = tuner("resume", str(folder), "--address", cluster_address)
        assert code == 2
        assert f"is being run by process {process.pid}" in output
        assert Results(folder).is_running
    finally:
        process.kill()
    assert not Results(folder).is_running


def test_a_driver_that_is_stopped_for_longer_than_the_stall_timeout_calls_nobody_stalled(
    tmp_path: Path, cluster_address: str
) -> None:
    spec = write_walk(tmp_path, epochs=70, step_s=0.3, run_cap=2)
    output = tmp_path / "runs"
    process = Command(
        "run", str(spec), "--set", "stall_timeout=15", "--output", str(output), "--address", cluster_address
    )
    process.until(lambda: all(num_reports(output, number) for number in range(2)))
    process.signal(signal.SIGSTOP)
    time.sleep(18)
    process.signal(signal.SIGCONT)
    code, text = process.finish()
    assert code == 0, text
    assert "tried again" not in text
    (folder,) = list_runs(output)
    scenes.check(Results(folder), tmp_path)
