"""What the fault tests share: something that happens while a sweep runs, and what must hold after it."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
import torch

from tests.faults import loops
from tests.sweeps import check_whole
from tuner import Results
from tuner.errors import StopTrial
from tuner.metric import Metric
from tuner.records import Report
from tuner.spec.file import read_spec
from tuner.trial.seeds import derive_seed, seed_everything
from tuner.trial.trial import Trial

PATIENCE_S = 120.0


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread while the body runs; its errors are the test's, and interrupt the body."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)
            _thread.interrupt_main()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        try:
            yield
        finally:
            thread.join()
    except KeyboardInterrupt:
        if not errors:
            raise
    if errors:
        raise errors[0]


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def num_reports(output: Path, trial: int | None = None) -> int:
    """How many reports the runs below a folder have recorded, of all trials or of one."""
    number = "*" if trial is None else f"{trial:04d}"
    return sum(path.read_bytes().count(b"\n") for path in output.glob(f"*/trials/{number}/metrics.jsonl"))


def write_walk(folder: Path, *, epochs: int, step_s: float, run_cap: int) -> Path:
    """The file of a sweep over `loops.walk`, which leaves its marks beside it."""
    path = folder / "walk.yaml"
    path.write_text(
        f"""
name: walk
trainable: tests.faults.loops:walk
metric: {{name: loss}}
early_terminate: none
parameters: {{epochs: {epochs}, step_s: {step_s}, marks: "{folder}", x: {{min: 0.0, max: 1.0}}}}
run_cap: {run_cap}
seed: 3
"""
    )
    return path


def wait_for_reports(output: Path, more: int) -> None:
    """Until that many more are recorded than there are now."""
    before = num_reports(output)
    wait_for(lambda: num_reports(output) >= before + more, f"{more} more reports than {before}")


def pid_of(mark: Path) -> int:
    """Of the process that runs a trial, or had run it, by the mark that `loops.walk` leaves."""
    wait_for(lambda: mark.exists() and mark.read_text() != "", f"{mark}")
    return int(mark.read_text())


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended by itself


class Node:
    """A node that has joined the cluster, with all its processes."""

    def __init__(self, address: str, num_cpus: int) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        command = [ray, "start", "--block", f"--address={address}", f"--num-cpus={num_cpus}"]
        before = alive_nodes()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Two that start at once on one machine get into each other's way.
        wait_for(lambda: bool(alive_nodes() - before), "a node to join")

    def pids(self) -> list[int]:
        """Of all its processes."""
        process = psutil.Process(self._process.pid)
        return [one.pid for one in [process, *process.children(recursive=True)]]

    def kill(self) -> None:
        """As a machine that loses its power."""
        for pid in self.pids():
            kill(pid)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def alive_nodes() -> set[str]:
    """Their ids; Ray takes some ten seconds to notice that one is dead."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def undisturbed(results: Results, number: int, tmp_path: Path) -> list[float]:
    """The losses of a trial of `loops.walk` that nothing happens to."""
    losses: list[float] = []

    def deliver(report: Report, stop: StopTrial | None) -> None:
        losses.append(report.metrics["loss"])

    params = {**results.trials[number].params, "step_s": 0.0, "how": "", "size": -1, "marks": str(tmp_path)}
    seed = derive_seed(read_spec(results.folder)[1]["seed"], number)
    seed_everything(seed)
    metrics = (Metric("loss"),)
    loops.walk(Trial(params, number=number, seed=seed, dir=tmp_path, metrics=metrics, deliver=deliver))
    return losses


def check(results: Results, tmp_path: Path, events: list[str] | None = None) -> None:
    """Every trial of `loops.walk` has run to its end, once, with the values of one that nothing happened to."""
    check_whole(results)
    failed = {trial.number: results.error(trial.number) for trial in results.trials if trial.reason}
    assert set(results.counts()) == {"completed"}, failed
    scratch = tmp_path / "undisturbed"
    scratch.mkdir(exist_ok=True)
    best = None
    for trial in results.trials:
        losses = [report.metrics["loss"] for report in results.curve(trial.number)]
        assert losses == undisturbed(results, trial.number, scratch)[: len(losses)]
        assert len(losses) == trial.params["epochs"]
        best = min(losses[0], best if best is not None else losses[0])
        if events is not None:
            assert sum(event.startswith(f"trial {trial.number:04d} completed") for event in events) == 1
    assert results.best is not None
    assert results.best.value == best
    saved = results.folder / "best" / "state.pt"
    if results.trials[0].params.get("size", 0) >= 0:
        assert torch.load(saved, weights_only=True)["place"].item() == best
