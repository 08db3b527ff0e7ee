"""Sweeps that are sent to a cluster: a real head with a dashboard, and nothing shared with it but that address."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from packaging.version import Version

from tests.clusters import Head, free_port, running_head
from tests.commands import Command, tuner
from tuner.records import TrialRecord
from tuner.results.results import Results
from tuner.run_folder.lock import LOCK_FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(Version(ray.__version__) < Version("2.55"), reason="needs Ray 2.55 or newer"),
]

# Of the working directory alone: the cluster has never seen it.
TRAINABLE = """
import os
import time

def train(trial):
    (trial.dir / "env.txt").write_text(f"{os.environ['API_TOKEN']} {os.environ['OMP_PLACES']}")
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, 7):
        time.sleep(0.3)
        trial.report({"loss": trial.params["x"] / step}, step=step, state={"step": step})
"""
SWEEP = """
trainable: mine:train
metric: {name: loss}
early_terminate: none
parameters: {x: {min: 0.0, max: 1.0}}
run_cap: 500
"""


# In a process of its own, since Ray shows tokens to a cluster from then on: what Ray tells of the job, and where it
# would go on: where its run folder is; where that node is gone, only where a folder is found, and at a URI anywhere.
LOOK = """
import sys
from dataclasses import replace
from tuner.remote.jobs import Cluster

cluster = Cluster(sys.argv[1])
jobs, job = str(cluster._client.list_jobs()), cluster.find("sent")
print(f"shown: {'cores' in jobs}, hidden: {'hush-hush' not in jobs}")
node, is_moved = cluster._node_of([job], job.folder)
print((node == job.node is not None, is_moved))
gone = replace(job, node="0" * 56)
print(cluster._node_of([job, gone, replace(job, node=None)], job.folder))
print(cluster._node_of([gone], "s3://bucket/runs/sent"))
"""
ROOT = Path(__file__).parents[2]


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


def test_a_sweep_is_sent_asked_killed_sent_again_and_fetched(
    head: Head, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = ("--address", head.dashboard)
    monkeypatch.setenv("API_TOKEN", "hush-hush")
    env = ("--env", "API_TOKEN", "--env", "OMP_PLACES=cores", "--env", "INNOCENT=hush-hush")
    submit = ("submit", "mine.yaml", *address, "--id", "sent", "--output", there, *env)
    assert f"sent runs as job sent on {head.dashboard}, in {there}/sent" in told(*submit)
    assert "was submitted before, and runs as job sent" in told(*submit)
    following = Command("logs", "-f", "sent", *address)
    following.until(lambda: "trial 0001 completed" in following.output())
    assert (Path(there) / "sent" / "trials" / "0001" / "env.txt").read_text() == "hush-hush cores"
    assert told("pause", "sent", *address).startswith("paused")
    status = json.loads(told("status", "sent", *address, "--json"))
    assert (status["state"], status["job_status"], status["attempt"]) == ("paused", "RUNNING", 1)
    assert told("resume", "sent", *address).startswith("resumed")
    # Also while it runs.
    told("fetch", "sent", *address)
    assert Results(Path("runs/sent")).counts()["completed"] >= 2
    # Ray was started by its interpreter's path, which is not on the PATH: the driver runs with the same.
    driver = psutil.Process(int((Path(there) / "sent" / LOCK_FILE).read_text().split()[1]))
    assert driver.cmdline()[0] == sys.executable
    assert stat.S_IMODE((Path(driver.cwd()) / ".tuner" / "environment.json").stat().st_mode) == 0o600
    driver.kill()
    assert tuner("wait", "sent", *address)[0] == 130
    following.finish()
    kept = finished(Path(there) / "sent")
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, head.dashboard], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert looked.stdout == "shown: True, hidden: True\n(True, False)\n(None, True)\n(None, False)\n"
    Path("mine.yaml").write_text(SWEEP.replace("500", "12"))
    code, output = tuner(*submit)
    assert (code, "it was submitted with another sweep file" in output) == (2, True), output
    Path("mine.yaml").write_text(SWEEP)
    assert "sent resumes as job sent~2" in told(*submit)
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
