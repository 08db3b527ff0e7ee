"""A sweep's provenance: what `sweep.yaml` holds beside the description."""

import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tuner.version import VERSION

# Its key in `sweep.yaml`.
PROVENANCE = "provenance"
# The format of descriptions in run folders. Before 2, when there was no number, `bayes` was today's `tpe`, and
# `multifidelity` today's `bayes`; no early stopping given meant none.
FORMAT = 2


def provenance(study: str, storage: str | None, seed: int, instances: Sequence[object]) -> dict[str, Any]:
    """Collect a sweep's provenance; docs/reference/json.md describes each field.

    Args:
        instances: the sampler and scheduler instances that were passed in Python.
    """
    return {
        "format": FORMAT,
        "study": study,
        "storage": storage,
        "seed": seed,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
        # A file can't describe these, so `tuner resume` can't resume with them.
        "instances": [type(given).__name__ for given in instances],
        "git_commit": _git_commit(),
        "versions": versions(),
    }


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    names = ("ray", "optuna", "torch", "torchvision", "tensorboard", "numpy")
    return {"python": platform.python_version(), "tuner": VERSION, **{name: version(name) for name in names}}


def parse_provenance(data: bytes | None) -> dict[str, Any] | None:
    """Parse the provenance of a run folder's `sweep.yaml`; None if the file is somebody else's."""
    try:
        text = (data or b"").decode()
        values = YAML(typ="safe", pure=True).load(text)
        found = dict(values[PROVENANCE])
        return found if isinstance(found["study"], str) and "seed" in found else None
    except (ValueError, TypeError, KeyError, YAMLError):
        return None
