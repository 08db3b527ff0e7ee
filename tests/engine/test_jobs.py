"""Sweeps that are sent to a cluster: a real head with a dashboard, and nothing shared with it but that address."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.clusters import Head, free_port, running_head
from tests.commands import Command, tuner
from tuner.results import Results
from tuner.trial import TrialRecord

pytestmark = pytest.mark.slow

# Of the working directory alone: the cluster has never seen it.
TRAINABLE = """
import time

def train(trial):
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, 7):
        time.sleep(0.3)
        trial.report(step, {"loss": trial.params["x"] / step}, state={"step": step})
"""
SWEEP = """
trainable: mine:train
metric: {name: loss}
early_terminate: none
parameters: {x: {min: 0.0, max: 1.0}}
run_cap: 500
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("head"), 2, free_port()) as head:
        yield head


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder that the cluster is to put run folders in; the working directory is another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("mine.py").write_text(TRAINABLE)
    Path("mine.yaml").write_text(SWEEP)
    return str(tmp_path / "there")


def told(*args: str) -> str:
    code, output = tuner(*args)
    assert code == 0, output
    return output


def finished(folder: Path) -> dict[int, TrialRecord]:
    return {trial.number: trial for trial in Results(folder).trials if trial.state.is_final}


def test_a_sweep_is_sent_asked_killed_sent_again_and_fetched(head: Head, there: str) -> None:
    address = ("--address", head.dashboard)
    submit = ("submit", "mine.yaml", *address, "--id", "sent", "--output", there)
    assert f"sent runs as job sent on {head.dashboard}, in {there}/sent" in told(*submit)
    assert "was sent before, and runs as job sent" in told(*submit)
    following = Command("logs", "-f", "sent", *address)
    following.until(lambda: "trial 0001 completed" in following.output())
    assert told("pause", "sent", *address).startswith("paused")
    status = json.loads(told("status", "sent", *address, "--json"))
    assert (status["state"], status["job_status"], status["attempt"]) == ("paused", "RUNNING", 1)
    assert told("resume", "sent", *address).startswith("resumed")
    # Also while it runs.
    told("fetch", "sent", *address)
    assert Results(Path("runs/sent")).counts()["completed"] >= 2
    (driver,) = [p for p in psutil.process_iter(["cmdline"]) if _is_driver(p.info["cmdline"] or [], "sent")]
    os.kill(driver.pid, signal.SIGKILL)
    assert tuner("wait", "sent", *address)[0] == 130
    following.finish()
    kept = finished(Path(there) / "sent")
    Path("mine.yaml").write_text(SWEEP.replace("500", "12"))
    code, output = tuner(*submit)
    assert (code, "it was sent with another sweep file" in output) == (2, True), output
    Path("mine.yaml").write_text(SWEEP)
    assert "sent goes on as job sent~2" in told(*submit)
    following = Command("logs", "-f", "sent", *address)
    following.until(lambda: len(finished(Path(there) / "sent")) > len(kept))
    assert told("stop", "sent", *address).startswith("stopping")
    assert told("wait", "sent", *address) == "sent: finished\n"
    code, log = following.finish()
    assert (code, "ended: stopped by the user" in log) == (0, True), log
    assert "sent has finished, as job sent~2" in told(*submit)
    told("fetch", "sent", *address)
    results = Results(Path("runs/sent"))
    assert set(results.counts()) == {"completed"}
    assert {number: finished(results.folder)[number] for number in kept} == kept
    assert results.best is not None
    assert (Path("runs/sent") / "best" / "state.pt").exists()
    told("fetch", "sent", *address, "--best", "--output", "best")
    assert (Path("best/sent") / "best" / "state.pt").exists()


def _is_driver(command: list[str], id: str) -> bool:
    return command[1:4] == ["-m", "tuner", "run"] and id in command
