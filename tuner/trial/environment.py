"""Environment variables of a submitted sweep, hidden from what a cluster shows to everybody.

Ray shows a job's environment in its list of jobs, its dashboard and its logs. So values are sent in a file of the
package that only its owner can read on the nodes; the driver and the trials' processes set them when they begin.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner.errors import SpecError
from tuner.run_folder.credentials import is_secret

# Names the file for a process whose working directory is the package.
POINTER = "TUNER_ENVIRONMENT"
# Variables that are read when a process starts, before the file: by the interpreter, loaders, threads, Ray, CUDA.
_AT_START = re.compile(
    r"(LD_|DYLD_|PYTHON|OMP_|MKL_|KMP_|OPENBLAS_|NUMEXPR_|MALLOC_|RAY_|CUDA_|NVIDIA_|NCCL_|TORCH|PYTORCH_|LC_)"
    r"|(PATH|HOME|TMPDIR|TZ|LANG)$"
)


def read_variables(given: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Parse the values of `--env` into variables that a cluster may show, and variables that it must not.

    Each is NAME=VALUE, or NAME for its value here. Only variables that a process needs at its start are shown, unless
    their name says that they are secret or their value was not written out. Raises `SpecError` with all mistakes.
    """
    shown: dict[str, str] = {}
    hidden: dict[str, str] = {}
    problems = []
    for text in given:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # Not quoted: the text may hold a secret.
            problems.append("--env: write it as NAME=VALUE, or NAME for its value here; one has no NAME.")
        elif not equals and name not in os.environ:
            problems.append(f"--env {name}: there is no such variable here; set it, or write {name}=VALUE.")
        elif equals and _AT_START.match(name) and not is_secret(name):
            shown[name] = value
        else:
            hidden[name] = value if equals else os.environ[name]
    if problems:
        raise SpecError(problems)
    return shown, hidden


def as_text(variables: Mapping[str, str]) -> str:
    return json.dumps(dict(variables))


def adopt() -> None:
    """Set the variables that were sent with the sweep, if any. Call it when a process begins."""
    # Not for processes that this one starts, perhaps elsewhere: they inherit the variables.
    if name := os.environ.pop(POINTER, None):
        os.environ.update(json.loads(Path(name).read_text(encoding="utf-8")))
