"""What the benchmarks share: a silent console, the machine's description, where results go."""

import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tuner.console import SweepView

RESULTS = Path(__file__).parent / "results"


class Silent:
    """A console that tells nothing."""

    def start(self, title: str, subtitle: str) -> None: ...

    def update(self, view: SweepView) -> None: ...

    def event(self, text: str, *, is_detail: bool = False) -> None: ...

    def stop(self) -> None: ...


def commit(*paths: str) -> str:
    """The last one that has changed any of these paths in the repository, shortened; `+` where they differ from it."""

    def git(*args: str) -> str:
        root = Path(__file__).parents[1]
        done = subprocess.run(["git", *args, "--", *paths], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("log", "-1", "--format=%h") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))


def machine() -> dict[str, Any]:
    names = ("ray", "optuna", "torch", "tensorboard")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def save(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and write them to `benchmarks/results/NAME.json`."""
    text = json.dumps({"benchmark": name, "machine": machine(), **figures}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
