"""`best/` of a run folder: the best step's checkpoint, parameters, metrics, and the command to run it again."""

import errno
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.records import BestStep, Report
from tuner.run_folder.checkpoints import CHECKSUMS_FILE, checkpoint_path, checkpoint_steps, damage, digest
from tuner.run_folder.owned_files import checkpoint_files, put_in_place
from tuner.run_folder.trial_files import (
    PARAMS_FILE,
    SPEC_FILE,
    finite,
    read_json,
    read_reports,
    trial_dir,
    write_atomic,
)

_COPY_BYTES = 1 << 30
# The errors of a file system that can't do it, or not between these files.
_CAN_NOT_SHARE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)

# What may be in `best/` beside the checkpoint's files.
BEST_FILES = ("best.json", PARAMS_FILE, "test.json", "error.txt", "evaluation.json", "report.json", "report.txt")


def is_written(folder: Path, best: BestStep) -> bool:
    """Whether `best/` holds that very step, as last reported, with readable parameters."""
    written = read_json(folder / "best" / "best.json")
    is_same = (written.get("trial"), written.get("step")) == (best.number, best.step)
    if not is_same or written.get("value", best.value) != best.value or not read_json(folder / "best" / PARAMS_FILE):
        return False
    source, held = trial_dir(folder, best.number), written.get("digest", "")
    if held == digest(checkpoint_path(source, best.step)):
        return True
    # The present checkpoint may be gone, or belong to an attempt that has not reported it.
    report = _report(source, best.step)
    return report is None or report.digest in ("", held)


def drop_damaged_best(folder: Path) -> None:
    """Have `best/` made anew if its checkpoint is damaged."""
    told = folder / "best" / "best.json"
    if read_json(told).get("checkpoint") and damage(told.parent):
        told.unlink()


def _report(source: Path, step: int) -> Report | None:
    return next((report for report in read_reports(source) if report.step == step), None)


def write_best(folder: Path, best: BestStep, params: Mapping[str, Any], seed: int) -> None:
    """Replace `best/`, atomically.

    Args:
        folder: the run folder.
        params: the configuration that trained the step; `seed` is the trial's.
    """
    source = trial_dir(folder, best.number)
    scratch, target = folder / f".best.{secrets.token_hex(4)}.tmp", folder / "best"
    for left in folder.glob(f".best.{'[0-9a-f]' * 8}.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # left by a killed driver
    scratch.mkdir()
    try:
        checkpoint, report = checkpoint_path(source, best.step), _report(source, best.step)
        is_reported = report is None or report.digest in ("", digest(checkpoint))
        has_checkpoint = is_reported and best.step in checkpoint_steps(source)
        for name in checkpoint_files(checkpoint) if has_checkpoint else ():
            if name == CHECKSUMS_FILE and not (checkpoint / name).exists():
                continue  # from a version before this file existed
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(checkpoint / name, scratch / name)
        write_atomic(scratch / PARAMS_FILE, json.dumps(dict(params), indent=2) + "\n")
        told = {
            "trial": best.number,
            "step": best.step,
            "metrics": {name: finite(value) for name, value in report.metrics.items()} if report else {},
            "value": best.value,
            "checkpoint": has_checkpoint,
            "digest": digest(scratch),
            "rerun": shlex.join(
                ["tuner", "try", f"{folder / SPEC_FILE}", "--params", f"{target / PARAMS_FILE}", "--seed", f"{seed}"]
            ),
        }
        write_atomic(scratch / "best.json", json.dumps(told, indent=2) + "\n")
        put_in_place(scratch, target, (*BEST_FILES, *checkpoint_files(target)), last="best.json")
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _copy(source: Path, target: Path) -> None:
    """Copy a file, so that damage to one spares the other; file systems that can share blocks copy nothing."""
    try:
        with source.open("rb") as file, target.open("wb") as copy:
            while os.copy_file_range(file.fileno(), copy.fileno(), _COPY_BYTES):
                pass
    except OSError as error:
        if error.errno not in _CAN_NOT_SHARE:
            raise
        shutil.copyfile(source, target)
    shutil.copystat(source, target)
