"""What a cluster's shell does with the commands that it is given; without Ray, in processes that stand as Ray's do."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.remote import entrypoint

# One that starts Ray's processes, one of these, and the shell.
BETWEEN = "import subprocess, sys; sys.exit(subprocess.run(['sh', '-c', sys.argv[1]]).returncode)"
ABOVE = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {BETWEEN!r}, sys.argv[2]]).returncode)"


def run(command: str, tmp_path: Path, word: str = "nothing") -> tuple[int, str]:
    """The exit code and output of a command below a process that has this word in its own."""
    for place in ("bin", "rays"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "python").write_text(f'#!/bin/sh\necho {place} "$@"\nexit 7\n')
        (tmp_path / place / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    above = [sys.executable, "-c", ABOVE, word, command]
    done = subprocess.run(above, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def test_the_interpreter_is_that_which_ray_starts_its_processes_with(tmp_path: Path) -> None:
    command = entrypoint.ask("status", "/runs/it's here", ("--json", "a b"))
    told = "-m tuner status /runs/it's here --json a b\n"
    word = f"--python_worker_command={tmp_path}/rays/python /x/setup_worker.py --y=python"
    assert run(command, tmp_path, word) == (7, f"rays {told}")
    # Where nothing tells it, that of the PATH.
    for word in ("nothing", "--python_worker_command=/gone x"):
        assert run(command, tmp_path, word) == (7, f"bin {told}")


def test_paths_are_read_by_the_clusters_shell(tmp_path: Path) -> None:
    code, told = run(entrypoint.pack("~/my runs/it", best_only=True), tmp_path)
    assert (code, told) == (7, f"bin -m tuner.remote.folder_archive {tmp_path}/my runs/it --best\n")
    code, told = run(entrypoint.run("it.yaml", "it", "s3://bucket/runs/it", must_exist=False), tmp_path)
    assert told == "bin -m tuner run .tuner/it.yaml --id it --output s3://bucket/runs --address auto\n"


@pytest.mark.parametrize("folder", ["~/it's", "/tmp"])
def test_a_sweep_that_has_run_is_not_begun_anew_where_its_run_folder_is_not(tmp_path: Path, folder: str) -> None:
    folder = folder if folder.startswith("~") else str(tmp_path / "runs")
    command = entrypoint.run("it.yaml", "it", f"{folder}/it", must_exist=True)
    code, told = run(command, tmp_path)
    assert code == 2
    assert told.startswith(f"error: {folder}/it is not on this node, and the node that it ran on before is gone")
    assert "another --id" in told
    assert "at a URI" in told
    there = Path(folder.replace("~", str(tmp_path))) / "it"
    there.mkdir(parents=True)
    (there / "sweep.yaml").touch()
    assert run(command, tmp_path)[0] == 7
    assert shlex.quote(folder.removeprefix("~/")) in command
