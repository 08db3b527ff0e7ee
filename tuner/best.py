"""`best/` of a run folder: the best step's checkpoint, its parameters and metrics, how to run it again."""

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.checkpoint_folder import checkpoint_path
from tuner.files import PARAMS_FILE, SPEC_FILE, finite, read_json, read_reports, trial_dir, write_atomic


@dataclass(frozen=True)
class Best:
    """The best step that any trial has reached, whatever became of the trial later."""

    number: int
    step: int
    value: float


def is_written(folder: Path, best: Best) -> bool:
    """Whether `best/` holds that very step."""
    written = read_json(folder / "best" / "best.json")
    return (written.get("trial"), written.get("step")) == (best.number, best.step)


def write_best(folder: Path, best: Best, params: Mapping[str, Any], seed: int) -> None:
    """Make `best/` anew, whole or not at all.

    Args:
        folder: the run folder.
        params: that the step was trained with; `seed` is the trial's.
    """
    source = trial_dir(folder, best.number)
    scratch, target = folder / ".best.tmp", folder / "best"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    checkpoint = checkpoint_path(source, best.step)
    if checkpoint.exists():
        shutil.copytree(checkpoint, scratch, dirs_exist_ok=True)
    report = next((r for r in read_reports(source) if r.step == best.step), None)
    write_atomic(scratch / PARAMS_FILE, json.dumps(dict(params), indent=2) + "\n")
    told = {
        "trial": best.number,
        "step": best.step,
        "metrics": {name: finite(value) for name, value in report.metrics.items()} if report else {},
        "checkpoint": checkpoint.exists(),
        "rerun": shlex.join(
            ["tuner", "try", f"{folder / SPEC_FILE}", "--params", f"{target / PARAMS_FILE}", "--seed", f"{seed}"]
        ),
    }
    write_atomic(scratch / "best.json", json.dumps(told, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    scratch.replace(target)
