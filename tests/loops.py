"""Training loops for tests; each does for real what its name says."""

import contextlib
import functools
import math
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from tests import fake_gpu
from tuner.stopping.names import RAYS_OWN
from tuner.trial.trial import Trial


def descent(trial: Trial) -> None:
    """Gradient descent on a parabola; saves its state at each step, goes on from it bit for bit.

    With no optimizer of torch's: the first one of a process imports torch._dynamo, which takes more than a second.
    """
    state = trial.restore() or {"weight": torch.full((4,), 5.0), "velocity": torch.zeros(4)}
    weight, velocity = state["weight"].requires_grad_(), state["velocity"]
    for step in range(getattr(state, "step", 0) + 1, trial.params.get("epochs", 9) + 1):
        loss = ((weight + 0.1 * torch.randn(4)) ** 2).mean()
        velocity = 0.5 * velocity + torch.autograd.grad(loss, weight)[0]
        weight = (weight - trial.params["lr"] * velocity).detach().requires_grad_()
        time.sleep(trial.params.get("step_s", 0.0))
        trial.report(
            {"loss": loss, "pid": os.getpid(), "threads": torch.get_num_threads()},
            step=step,
            state={"weight": weight.detach().clone(), "velocity": velocity},
        )


def ends(trial: Trial) -> None:
    """Ends in the way that its parameter `how` names, after two good steps."""
    how = trial.params["how"]
    if how == "silent":
        return
    if how == "nameless":
        trial.report({"lost": 1.0}, step=1)
    for step in (1, 2):
        trial.report({"loss": 1.0 / step}, step=step, state={"step": step})
    if how == "nan":
        trial.report({"loss": float("nan")}, step=3)
    elif how == "inf":
        trial.report({"loss": float("inf")}, step=3)
    elif how == "error":
        raise KeyError("no such thing")
    elif how == "memory":
        raise MemoryError("too large")
    elif how == "dies":
        os._exit(3)
    elif how == "hangs":
        time.sleep(600)
    elif how == "text":
        trial.report({"loss": "low"}, step=3)
    elif how == "unpicklable":
        raise Unpicklable
    elif how == "exits":
        raise SystemExit(4)


class Haunting:
    """Can't be collected: whoever tries is held for ever."""

    def __init__(self) -> None:
        self.myself = self

    def __del__(self) -> None:
        time.sleep(600)


def haunts(trial: Trial) -> None:
    """What the first one leaves can't be cleaned up."""
    trial.report({"loss": 1.0, "pid": os.getpid()}, step=1)
    if trial.number == 0:
        Haunting()


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def fails_once(trial: Trial) -> None:
    """Dies at step 3 the first time, whatever runs it; goes on from step 2."""
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, 6):
        mark = Path(trial.dir) / "died"
        if step == 3 and not mark.exists():
            mark.touch()
            os._exit(9)
        trial.report({"loss": 1.0 / step}, step=step, state={"step": step} if step % 2 == 0 else None)


def dirty(trial: Trial) -> None:
    """Leaves behind what it can; reports what it finds at its start."""
    found = {
        "loss": random.random() + torch.rand(1).item(),
        "pid": os.getpid(),
        "grad_enabled": torch.is_grad_enabled(),
        "hooks": len(torch.nn.modules.module._global_forward_hooks),
        "cached": len(trial.cached("list", list)),
        "in_cwd": Path("pyproject.toml").exists(),
    }
    os.chdir("/")
    trial.cached("list", list).append(1)
    torch.set_grad_enabled(False)
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    random.seed(1)
    if trial.params["leave_thread"]:
        threading.Thread(target=time.sleep, args=(600,), name="left behind").start()
    trial.report(found, step=1)


def wrong_metric(trial: Trial) -> None:
    trial.report({"lost": 1.0, "size": 2}, step=1)


def two_metrics(trial: Trial) -> None:
    x = trial.params["x"]
    for step in range(1, 5):
        trial.report({"loss": x**2 + 1 / step, "cost": (x - 1) ** 2}, step=step)


def talks(trial: Trial) -> None:
    """Prints, and leaves a thread behind, for which its process is replaced."""
    print("this is what it says", flush=True)
    threading.Thread(target=time.sleep, args=(600,), name="left behind", daemon=False).start()
    trial.report({"loss": trial.params["x"]}, step=1)


def huge(trial: Trial) -> None:
    """Reports what a loss may come to that is about to diverge."""
    for step in range(1, 5):
        trial.report({"loss": trial.params["x"] * 1.7e308 / step, "cost": trial.params["x"] ** 2 * 1.7e308}, step=step)


def reports_rays_names(trial: Trial) -> None:
    """What Ray Tune would take for its own, each of which would end or steer the trial in some way."""
    for step in range(1, 5):
        values = dict.fromkeys(sorted(RAYS_OWN), -1.0 * step)
        trial.report({**values, "loss": 1 / step, "done": 1 + trial.params["lr"] / step}, step=step)


def reports_umlauts(trial: Trial) -> None:
    print("größe", trial.params)
    trial.report({"größe": 0.5}, step=1)


def scaled(trial: Trial, scale: float = 1.0) -> None:
    trial.report({"loss": scale * trial.params["lr"]}, step=1)


cached = functools.lru_cache(scaled)


class Scaled:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def fit(self, trial: Trial) -> None:
        scaled(trial, self.scale)


def wants_config(config: Any) -> None:
    config["lr"]


def hands_back(trial: Trial) -> dict[str, float]:
    return {"loss": 1.0}


def always_fails(trial: Trial) -> None:
    raise ImportError("No module named 'nothing'")


def leaks(trial: Trial) -> None:
    """From its process's second trial on holds two gigabytes that no other trial needs."""
    seen = trial.cached("seen", list)
    if len(seen) == 1:
        trial.cached("leak", lambda: bytearray(b"x") * (2 << 30))
    seen.append(1)
    trial.report({"loss": 1.0, "pid": os.getpid()}, step=1)


def data_parallel(trial: Trial) -> None:
    """Fits a line with all workers of the trial; ends in the way that its parameter `how` names, at step 3.

    Reports what each worker has seen; those of rank 0 but for what is a mean.
    """
    how = trial.params.get("how", "well")
    inputs = torch.arange(32.0).reshape(-1, 1) / 32
    loader = trial.prepare(DataLoader(TensorDataset(inputs, 2 * inputs), batch_size=4, shuffle=True))
    model = trial.prepare(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"])
    state = trial.restore()
    if state:
        model.load_state_dict(state["model"])
    for step in range(state.step + 1 if state else 1, trial.params.get("epochs", 5) + 1):
        if step == 3 and trial.rank == 1 and how == "error":
            raise KeyError("no such thing")  # while the others go on into a collective
        time.sleep(trial.params.get("step_s", 0.0))
        order = []
        for batch, wanted in loader:
            optimizer.zero_grad()
            loss = ((model(batch) - wanted) ** 2).mean()
            loss.backward()
            optimizer.step()
            order += batch.flatten().tolist()
        found = {
            "rank": trial.rank,
            "weight": next(model.parameters()).detach().sum(),
            "first": order[0],
            "examples": len(order),
            "is_cuda": next(model.parameters()).is_cuda,
        }
        means = {f"mean_{name}": value for name, value in trial.mean(found).items()}
        value = math.nan if how == "nan" and step == 3 and trial.rank == 0 else loss.item() + trial.rank
        trial.report(
            {"loss": value, "world": trial.world_size, "pid": os.getpid(), **found, **means},
            step=step,
            state={"model": model.state_dict()},
        )
    if trial.rank == 1:
        # The other has cleaned up by then.
        time.sleep(trial.params.get("lingers_s", 0.0))


def wait_for_two(up: Path) -> None:
    """Returns once two processes have called it with this folder."""
    (up / f"{os.getpid()}").touch()
    while len(list(up.iterdir())) < 2:
        time.sleep(0.05)


def shares(trial: Trial) -> None:
    """Reads what all processes share, once there are two of them; each that loads it leaves a mark."""
    wait_for_two(Path(trial.params["up"]))

    def load() -> dict[str, torch.Tensor]:
        (Path(trial.params["marks"]) / f"{os.getpid()}").touch()
        return {"x": torch.ones(1 << 20)}

    mean = trial.prepare(trial.shared("ones", load))["x"].mean()
    trial.report({"loss": mean, "pid": os.getpid()}, step=1)
    time.sleep(0.1)


def on_gpu(trial: Trial) -> None:
    """Fills some of its GPU; reports what it found there and what it holds."""
    at_start = torch.cuda.memory_allocated()
    block = trial.prepare(torch.ones(1 << 20))
    trial.report({"loss": block.mean(), "at_start": at_start, "allocated": torch.cuda.memory_allocated()}, step=1)


def exceeds_gpu_once(trial: Trial) -> None:
    """Asks for more than any GPU has at step 2 the first time; goes on from step 1."""
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, 4):
        mark = trial.dir / "exceeded"
        size = 1 << 10 if step != 2 or mark.exists() else 1 << 50
        if step == 2:
            mark.touch()
        block = torch.ones(size, dtype=torch.uint8, device=trial.device)
        trial.report({"loss": 1.0 / step + 0.0 * block.sum(), "pid": os.getpid()}, step=step, state={"step": step})


def descent_away(trial: Trial) -> None:
    """`descent`, once two processes are there, which also tells whether it does not see what the driver sees."""
    wait_for_two(Path(trial.params["up"]))
    report, away = trial.report, not Path(trial.params["seen"]).exists()
    trial.report = lambda metrics, **given: report({**metrics, "away": away}, **given)  # type: ignore
    descent(trial)


def travels(trial: Trial) -> None:
    """Where it does not see what the driver sees it dies once at step 3; keeps notes in `trial.dir`."""
    away = not Path(trial.params["seen"]).exists()
    mark = Path(trial.params["marks"]) / f"{trial.number}"
    state = trial.restore()
    weight = state["weight"] if state else torch.zeros(trial.params["size"])
    for step in range(state.step + 1 if state else 1, 6):
        if step == 3 and away and not mark.exists():
            mark.touch()
            os._exit(9)
        weight = weight + trial.number
        with (trial.dir / "notes.txt").open("a") as file:
            file.write(f"{step}\n")
        time.sleep(trial.params["step_s"])
        trial.report({"loss": abs(trial.number - 3) + 1 / step, "away": away}, step=step, state={"weight": weight})


def on_fake_gpu(trial: Trial) -> None:
    """Three steps, from the second on with `gb` of its fake GPU; reports its share, and from when to when it had it."""
    gpu, began = fake_gpu.of_process(), time.time()
    state = trial.restore()
    for step in range(state.step + 1 if state else 1, 4):
        blocks = [gpu.allocate(int(trial.params["gb"] * fake_gpu.GB))] if step > 1 else []
        time.sleep(trial.params["step_s"])
        metrics = {"loss": 1.0 / step, "share": gpu.share, "pid": os.getpid(), "began": began, "ended": time.time()}
        trial.report(metrics, step=step, state={"step": step})
        blocks.clear()


def fills_its_disk(trial: Trial) -> None:
    """Where it does not see what the driver sees it leaves no room on that machine; saves at each of three steps."""
    away = not Path(trial.params["seen"]).exists()
    wait_for_two(Path(trial.params["up"]))
    with tempfile.NamedTemporaryFile(buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while away:
                ballast.write(bytes(1 << 20))
        for step in range(1, 4):
            trial.report({"loss": 1.0 / step, "away": away}, step=step, state={"weight": torch.zeros(1 << 20)})
