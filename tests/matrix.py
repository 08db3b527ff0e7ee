"""The engine's contract tests and two sweeps with other versions of Ray and Python: `scripts/test --matrix`.

Each cell of the matrix has an environment of its own in `.matrix/`, made the first time that it is needed: one with
PyTorch for each Python (`.venv` serves for its own), and over that of the oldest Python one for each other Ray, which
finds there what it doesn't hold itself. They take 7 GB for a Python, and 0.2 GB for a Ray.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from shutil import rmtree, which
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, commit, machine
from tuner.results.results import Results

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".matrix"
OLDEST_RAY, NEWEST_RAY = (
    re.search(r"^ray==(.*)$", (ROOT / name).read_text(), re.MULTILINE)[1]
    for name in ("constraints-lowest.txt", "constraints.txt")
)


class Cell(NamedTuple):
    python: str
    ray: str

    def __str__(self) -> str:
        return f"{self.python}-ray-{self.ray}"


CELLS = (
    Cell("3.11", OLDEST_RAY),
    Cell("3.11", "2.54.0"),
    Cell("3.11", NEWEST_RAY),
    Cell("3.12", NEWEST_RAY),
    Cell("3.13", NEWEST_RAY),
)
# Of the engine's tests those that reach furthest into Ray: how trials end, are pruned, paused, retried and resumed;
# several workers; processes, workers, drivers and nodes that die; a cluster that grows; jobs; all names of Ray's.
RUN = "tests/engine/driver/test_run.py"
CONTRACT = (
    "tests/engine/test_ray_compat.py",
    "tests/engine/workers/test_group.py",
    "tests/engine/test_workers.py",
    f"{RUN}::test_asha_prunes_truthfully_and_keeps_the_best_checkpoint",
    f"{RUN}::test_every_way_a_trial_can_end",
    f"{RUN}::test_a_trial_that_is_tried_again_goes_on_from_its_checkpoint",
    f"{RUN}::test_an_actor_with_a_thread_left_in_it_is_replaced",
    f"{RUN}::test_median_and_pbt_and_hyperband_run_to_the_end",
    f"{RUN}::test_a_scheduler_that_pauses_trials_gets_them_back",
    "tests/faults/test_processes.py::test_processes_killed_at_random_moments",
    "tests/faults/test_driver.py::test_a_driver_with_a_cluster_of_its_own_and_a_database_is_killed_and_interrupted",
    "tests/faults/test_nodes.py::test_a_head_that_dies_ends_the_driver_and_the_sweep_goes_on_on_another",
    "tests/faults/test_memory.py",
    "tests/engine/test_cluster.py",
    "tests/remote/test_jobs.py",
)
SWEEPS = {"one worker": (), "two workers": ("--set", "resources.workers=2", "--set", "resources.cpu=0.5")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/test --matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"{', '.join(map(str, CELLS))}; all if none is named")
    names = parser.parse_args().cells
    if unknown := set(names) - set(map(str, CELLS)):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(map(str, CELLS))}")
    results: dict[str, Any] = {}
    for cell in CELLS:
        if not names or str(cell) in names:
            print(f"{cell} ...", flush=True)
            results[str(cell)] = run(cell, environment(cell))
            keep(cell, results[str(cell)])
    show(results)
    if any(row["failed"] or "failed" in row["sweeps"].values() for row in results.values()):
        sys.exit(1)


def environment(cell: Cell) -> Path:
    """The cell's interpreter; makes its environment where there is none."""
    ours = version_of(ROOT / ".venv" / "bin" / "python")
    if ours == cell:
        return ROOT / ".venv" / "bin" / "python"
    base = environment(cell._replace(ray=NEWEST_RAY)) if cell.ray != NEWEST_RAY else None
    folder = ENVIRONMENTS / str(cell)
    python = folder / "bin" / "python"
    if version_of(python) == cell:
        return python
    print(f"{cell}: installing into {folder.relative_to(ROOT)} ...", flush=True)
    rmtree(folder, ignore_errors=True)
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    if base is None:
        check_call(interpreter(cell.python), "-m", "venv", folder)
        check_call(python, *pip, "-c", "constraints.txt", "-e", ".[test]")
    else:
        check_call(base, "-m", "venv", "--without-pip", folder)
        site = folder / "lib" / f"python{cell.python}" / "site-packages"
        inherited = output_of(base, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        (site / "base.pth").write_text(f"import site; site.addsitedir({inherited!r})\n")
        check_call(base, *pip, "--no-deps", "--target", site, f"ray=={cell.ray}")
    return python


def version_of(python: Path) -> Cell | None:
    """The versions of Python and Ray of an interpreter, if it is there and has both."""
    program = "import sys; from importlib.metadata import version; print(*sys.version_info[:2], version('ray'))"
    try:
        major, minor, ray = output_of(python, "-c", program).split()
    except (OSError, subprocess.CalledProcessError):
        return None
    return Cell(f"{major}.{minor}", ray)


def interpreter(version: str) -> Path:
    """An interpreter of this version of Python, on the path or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = next(iter(sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)), None) or which(f"python{version}")
    if not found:
        sys.exit(f"Python {version} is not installed: put python{version} on the path, or `pyenv install {version}`.")
    return Path(found)


def run(cell: Cell, python: Path) -> dict[str, Any]:
    """Tests and sweeps of one cell: what passed, what did not, and why something was skipped."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "junit.xml", ENVIRONMENTS / f"{cell}.log"
        log.parent.mkdir(exist_ok=True)
        tests = [test for test in CONTRACT if (ROOT / test.partition("::")[0]).is_file()]
        with log.open("w") as output:
            pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", "-v", f"--junitxml={report}", *tests]
            subprocess.run(pytest, cwd=ROOT, env=variables(), stdout=output, stderr=output, check=False)
            cases = list(ElementTree.parse(report).iter("testcase"))
            sweeps = {name: digits(python, Path(folder), name, output) for name in SWEEPS}
    skipped = [(case.get("name"), why.get("message")) for case in cases for why in case.iter("skipped")]
    failed = [case.get("name") for case in cases if list(case.iter("failure")) or list(case.iter("error"))]
    return {
        "passed": len(cases) - len(skipped) - len(failed),
        "failed": failed,
        "skipped": dict(skipped),
        "sweeps": sweeps,
        "seconds": round(time.monotonic() - began),
    }


def digits(python: Path, folder: Path, name: str, output: Any) -> str:
    """The best accuracy of a short sweep, or `failed`."""
    given = ("run", "search_spaces/digits.yaml", "--output", folder, "--id", name.replace(" ", "-"))
    command = [python, "-m", "tuner", *given, "--set", "run_cap=12", *SWEEPS[name]]
    code = subprocess.run(command, cwd=ROOT, env=variables(), stdout=output, stderr=output, check=False).returncode
    if code:
        return "failed"
    results = Results(folder / name.replace(" ", "-"))
    is_whole = len(results.trials) == 12 and all(trial.state.is_final and not trial.reason for trial in results.trials)
    return f"{results.best.value:.3f}" if is_whole and results.best else "failed"


def keep(cell: Cell, row: dict[str, Any]) -> None:
    """Put a cell that was run beside the others in `matrix.json`."""
    path = RESULTS / "matrix.json"
    cells = json.loads(path.read_text())["cells"] if path.is_file() else {}
    described = {name: machine()[name] for name in ("date", "cores", "platform", "torch", "optuna")}
    cells[str(cell)] = {"commit": commit(), **described, **row}
    ordered = {str(cell): cells[str(cell)] for cell in CELLS if str(cell) in cells}
    path.write_text(json.dumps({"benchmark": "matrix", "tests": CONTRACT, "cells": ordered}, indent=2) + "\n")


def show(results: dict[str, Any]) -> None:
    """Print a table of what passed in which cell."""
    print(f"\n{'Python':8}{'Ray':9}{'passed':>8}{'failed':>8}{'skipped':>9}  {'  '.join(SWEEPS)}")
    for cell in CELLS:
        if row := results.get(str(cell)):
            sweeps = "  ".join(f"{row['sweeps'][name]:>{len(name)}}" for name in SWEEPS)
            counts = f"{row['passed']:8}{len(row['failed']):8}{len(row['skipped']):9}"
            print(f"{cell.python:8}{cell.ray:9}{counts}  {sweeps}")
            print(*(f"    failed: {name}" for name in row["failed"]), sep="\n", end="\n" * bool(row["failed"]))


def variables() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def check_call(*command: object) -> None:
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def output_of(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
