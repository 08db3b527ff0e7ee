"""Training loops whose every value is known beforehand, so that a fault that changes one is seen."""

import os
import time
from pathlib import Path

import numpy as np
import torch

from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.trial_files import read_reports
from tuner.trial.trial import Trial


def walk(trial: Trial) -> None:
    """A random walk, saved at each step: goes on bit for bit, or reports other values.

    Parameters: `epochs`, `step_s`, `size` of the state in bytes, none where it is negative, and `marks`, a folder that
    each process writes its id to.
    """
    params = trial.params
    (Path(params["marks"]) / f"{trial.number:04d}-{trial.rank}").write_text(str(os.getpid()))
    place = torch.zeros(())
    state = trial.restore()
    if state:
        place = state["place"]
    for step in range(state.step + 1 if state else 1, params["epochs"] + 1):
        before_step(trial, step)
        time.sleep(params["step_s"])
        place = place + torch.rand(())
        mean = trial.mean({"place": place})["place"]
        size = params.get("size", 0)
        saved = {"place": place, "ballast": torch.ones(size, dtype=torch.uint8)} if size >= 0 else None
        trial.report({"loss": mean, "rank": trial.rank}, step=step, state=saved)


def before_step(trial: Trial, step: int) -> None:
    """What goes wrong once, before the step that `at` names, in the way that `how` names."""
    how, mark = trial.params.get("how", ""), Path(trial.params["marks"]) / f"{trial.number:04d}-done"
    if not how or step != trial.params.get("at", 5) or mark.exists():
        return
    mark.touch()
    if how == "leaks":
        leak(Path(trial.params["cgroup"]))
    elif how == "jumps":
        jump()
        return
    else:
        while max((report.step for report in read_reports(trial.dir)), default=0) < step - 1:
            time.sleep(0.01)  # of a checkpoint that was not reported yet nobody would tell
        damage(checkpoint_path(trial.dir, step - 1), how)
    os._exit(9)


def swells(trial: Trial) -> None:
    """Takes more memory at each step."""
    held = []
    for step in range(1, 31):
        held.append(bytearray(b"x") * trial.params["step_bytes"])
        time.sleep(0.1)
        trial.report({"loss": 1.0 / step}, step=step)


def damage(checkpoint: Path, how: str) -> None:
    """Do to a checkpoint what a power failure or a disk may do to it."""
    path = checkpoint / "state.pt"
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data if how == "flipped" else data[: len(data) // 2] if how == "cut" else b"")
    if how == "gone":
        path.unlink()


def leak(cgroup: Path) -> None:
    """Take memory until the operating system ends this process."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    held = []
    while True:
        held.append(np.ones(1 << 20))


def jump() -> None:
    """Have the wall clock of this process jump to and fro by a day."""
    real = time.time
    time.time = lambda: real() + 86400 * (int(real() * 4) % 3 - 1)  # type: ignore[assignment]


def reports(trial: Trial) -> None:
    """Reports one good step, then what its parameter `what` names."""
    trial.report({"loss": 1.0}, step=1)
    bad = {
        "nan": {"loss": float("nan")},
        "infinite": {"loss": float("inf")},
        "text": {"loss": "low"},
        "array": {"loss": np.zeros(50_000_000)},
        "missing": {"accuracy": 1.0},
        "none": {"loss": None},
    }
    trial.report(bad[trial.params["what"]], step=2)
