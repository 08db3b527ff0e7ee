"""Run folders at s3://: a real server, real drivers on a real cluster, real signals."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, tuner
from tests.s3 import BUCKET, ENVIRONMENT, Server, running_server
from tuner.object_storage.lease import read_holder
from tuner.object_storage.local_copy import local_folder
from tuner.object_storage.object_store import ObjectStore
from tuner.object_storage.run_at_uri import RunAtUri
from tuner.records import TrialState
from tuner.results.results import Results
from tuner.run_folder.place import Uri

pytestmark = pytest.mark.slow

SWEEP = """
name: stored
trainable: tests.loops:descent
method: random
metric: {name: loss}
parameters:
  lr: {min: 0.01, max: 0.6, distribution: log_uniform_values}
  epochs: {value: 9}
  step_s: {value: 0.2}
early_terminate: {type: asha, min_iter: 1, max_iter: 9, eta: 3}
run_cap: 60
seed: 11
"""
RUNS = Uri(f"s3://{BUCKET}/runs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("s3") / "log.txt") as server:
        yield server


@pytest.fixture(autouse=True)
def _reached(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url, "XDG_CACHE_HOME": str(tmp_path / "a")}).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "stored.yaml").write_text(SWEEP)


def run(tmp_path: Path, cluster_address: str, id: str) -> Command:
    return Command(
        "run", str(tmp_path / "stored.yaml"), "--output", str(RUNS), "--id", id, "--address", cluster_address
    )


def status(uri: Uri) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(tuner("status", str(uri), "--json")[1])
    return told


def finished(uri: Uri) -> dict[int, tuple[object, list[object]]]:
    """The record and the reports of each trial that has ended, as they are at the URI."""
    if ObjectStore(uri).find("study.journal") == [None]:
        return {}
    results = Results.read(uri)
    return {t.number: (t, [*results.curve(t.number)]) for t in results.trials if t.state.is_final}


def check(results: Results) -> None:
    for trial in results.trials:
        assert trial.state in (TrialState.COMPLETED, TrialState.PRUNED), trial
        steps = [report.step for report in results.curve(trial.number)]
        assert steps == list(range(1, max(steps) + 1)) == sorted(trial.curve)


def same(uri: Uri) -> None:
    """What is at the URI and in the local copy is the same."""
    folder, run = local_folder(uri), RunAtUri(uri)
    run.bring("*")
    here = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    there = {p.relative_to(run.folder).as_posix(): p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    unlike = {name for name in {**here, **there} if here.get(name) != there.get(name)}
    assert {name for name in unlike if name != "driver.lock" and not name.rpartition("/")[2].startswith(".")} == set()


def test_another_machine_goes_on_after_the_driver_and_its_disk_are_gone(
    tmp_path: Path, cluster_address: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = RUNS / "moved"
    process = run(tmp_path, cluster_address, "moved")
    # Readers need nothing but the URI.
    process.until(lambda: len(finished(uri)) >= 5)
    assert status(uri)["state"] == "running"
    process.kill()
    assert status(uri)["state"] == "crashed"
    assert "stored" in tuner("logs", str(uri))[1]
    kept = finished(uri)
    shutil.rmtree(tmp_path / "a")
    process = Command("resume", str(uri), "--address", cluster_address)
    process.until(lambda: len(finished(uri)) > len(kept) + 3)
    # Once more, and this time the local copy is there, and newer than what is at the URI.
    process.kill()
    newer = Results(local_folder(uri)).trials
    code, output = tuner("resume", str(uri), "--address", cluster_address)
    assert code == 0, output
    assert "downloading" not in output
    assert f"tuner show {uri}" in output
    now = finished(uri)
    assert {number: now[number] for number in kept} == kept
    assert [now[t.number][0] for t in newer if t.state.is_final] == [t for t in newer if t.state.is_final]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    results = Results.read(uri)
    assert len(results.trials) == 60
    check(results)
    best = results.best
    assert best is not None
    assert isinstance(best.checkpoint, Uri)
    assert (results.bring(best.checkpoint) / "state.pt").exists()
    shown = json.loads(tuner("best", str(uri), "--json")[1])
    assert shown["checkpoint"] == f"{uri}/trials/{best.trial.number:04d}/checkpoints/step-{best.step:04d}"
    assert str(uri) in tuner("list", "--output", str(RUNS))[1]
    assert "60 trials" in tuner("show", str(uri))[1]
    assert tuner("wait", str(uri)) == (0, f"{uri}: finished\n")
    assert not (tmp_path / "b").exists(), "reading leaves nothing behind"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    same(uri)
    # The server may also be named in the URI.
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    named = Uri(f"{uri}?endpoint_override={server.url.removeprefix('http://')}&scheme=http")
    assert len(Results.read(named).trials) == 60


def test_storage_that_is_gone_for_a_while_holds_nothing_up_and_a_second_driver_is_refused(
    tmp_path: Path, cluster_address: str, server: Server
) -> None:
    uri = RUNS / "gone"
    (tmp_path / "stored.yaml").write_text(SWEEP.replace("run_cap: 60", "run_cap: 1000"))
    process = run(tmp_path, cluster_address, "gone")
    process.until(lambda: len(finished(uri)) >= 2)
    code, told = tuner("resume", str(uri), "--address", cluster_address)
    assert code == 2
    assert f"{uri} is being run by process {process.pid} on " in told
    journal = local_folder(uri) / "study.journal"
    server.pause()
    try:
        before = journal.stat().st_size
        time.sleep(30.0)
        # It goes on, and tells so.
        assert journal.stat().st_size > before
    finally:
        server.go_on()
    code, told = tuner("pause", str(uri))
    assert (code, told.startswith("paused")) == (0, True), told
    process.until(lambda: "running" not in Results.read(uri).counts())
    assert tuner("resume", str(uri))[1].startswith("resumed")
    process.until(lambda: "running" in Results.read(uri).counts())
    assert tuner("stop", str(uri))[0] == 0
    code, output = process.finish()
    assert code == 0, output
    assert output.count("can't be") == 1, output
    assert output.count(f"{uri} is back after ") == 1
    assert "paused: " in output
    check(Results.read(uri))
    same(uri)
    holder = read_holder(ObjectStore(uri))
    assert holder is not None
    assert holder.is_released


def test_what_can_not_be_used_is_refused_and_leaves_nothing(tmp_path: Path, cluster_address: str) -> None:
    spec = str(tmp_path / "stored.yaml")
    for output, told in (
        ("s3://nobody-made-this/runs", "The specified bucket does not exist"),
        ("zz://somewhere/runs", "Unrecognized filesystem type"),
    ):
        code, output_ = tuner("run", spec, "--output", output)
        assert (code, told in output_) == (2, True), output_
    code, told_ = tuner("run", spec, "--output", str(RUNS), "--storage", "sqlite:///study.db")
    assert (code, "no other could go on" in told_) == (2, True)
    (tmp_path / "stored.yaml").write_text(SWEEP.replace("name: loss", "name: lost"))
    code, told_ = tuner("run", spec, "--output", str(RUNS / "refused"), "--id", "it", "--address", cluster_address)
    assert (code, "loss" in told_) == (2, True), told_
    assert ObjectStore(RUNS / "refused").entries() == {}
    assert tuner("show", str(RUNS / "nothing"))[0] == 2
    assert tuner("resume", str(RUNS / "nothing"))[0] == 2
    assert ObjectStore(RUNS / "nothing").entries() == {}


def all_of(uri: Uri) -> dict[str, bytes | None]:
    store = ObjectStore(uri)
    return {name: store.read(name) for name in store.entries()}


def test_what_lies_in_a_bucket_is_left_by_runs_that_are_refused_and_by_those_that_are_not(
    tmp_path: Path, cluster_address: str
) -> None:
    theirs = ObjectStore(RUNS / "datasets")
    theirs.write("train/a.bin", b"theirs")
    (tmp_path / "gpu.yaml").write_text(SWEEP + "resources: {gpu: 1}\n")
    options = ("--output", str(RUNS), "--address", cluster_address)
    code, told = tuner("run", str(tmp_path / "stored.yaml"), "--id", "datasets", *options)
    assert code == 2
    assert f"{RUNS / 'datasets'} is not empty" in told
    code, told = tuner("run", str(tmp_path / "gpu.yaml"), "--id", "refused", *options)
    assert code == 2
    assert "1 GPU" in told
    assert all_of(RUNS / "refused") == {}
    quick = ("--set", "run_cap=1", "--set", "step_s=0")
    code, _ = tuner("run", str(tmp_path / "stored.yaml"), *quick, "--id", "mine", *options)
    assert code == 0
    place = ObjectStore(RUNS / "mine")
    place.write("trials/0000/somebodys.gz", b"theirs")
    code, _ = tuner("resume", str(RUNS / "mine"), "--run-cap", "+1", "--address", cluster_address)
    assert code == 0
    assert place.read("trials/0000/somebodys.gz") == b"theirs"
    assert all_of(RUNS / "datasets") == {"train/a.bin": b"theirs"}
