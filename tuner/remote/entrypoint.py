"""The shell commands that a cluster runs for us."""

import shlex
from collections.abc import Sequence

from tuner.remote.code_package import SWEEP_FOLDER
from tuner.run_folder.place import as_place
from tuner.run_folder.trial_files import SPEC_FILE

# If Ray was started by its full path, `python` may be another interpreter or missing. The shell's parent is a Ray
# process; the parent of that one starts Ray's processes, and its command line names their interpreter.
_PYTHON = (
    "raylet=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$PPID/status); "
    "python=$(tr '\\0' '\\n' < /proc/$raylet/cmdline | sed -n 's/^--python_worker_command=\\([^ ]*\\).*/\\1/p'); "
    '[ -x "$python" ] || python=python; '
)


def run(name: str, id: str, folder: str, *, must_exist: bool) -> str:
    """Run the sweep file of this name in the package, or resume its run folder.

    Args:
        must_exist: whether the run folder must exist, since the sweep has run before.
    """
    parent = str(as_place(folder).parent)
    command = f"tuner run {SWEEP_FOLDER}/{name} --id {id} --output {_shell(parent)} --address auto"
    return _is_there(folder, id) + python_m(command) if must_exist else python_m(command)


def ask(verb: str, folder: str, arguments: Sequence[str]) -> str:
    """Run one of our commands on the run folder."""
    return python_m(f"tuner {shlex.quote(verb)} {_shell(folder)} {shlex.join(arguments)}".rstrip())


def pack(folder: str, *, best_only: bool) -> str:
    """Pack the run folder."""
    return python_m(f"tuner.remote.folder_archive {_shell(folder)}{' --best' if best_only else ''}")


def python_m(command: str) -> str:
    """Run a module with arguments, with Ray's interpreter."""
    return f'{_PYTHON}exec "$python" -m {command}'


def _is_there(folder: str, id: str) -> str:
    told = (
        f"error: {folder} is not on this node, and the node that {id} ran on before is gone: it can't be resumed "
        "here. Bring that node back, or submit the sweep with another --id; with --output on a folder that all nodes "
        "share, or at a URI, any node can resume it."
    )
    return f"[ -f {_shell(f'{folder}/{SPEC_FILE}')} ] || {{ echo {shlex.quote(told)} >&2; exit 2; }}; "


def _shell(path: str) -> str:
    """A path for the cluster's shell: ~ is the home of the user who runs Ray there."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)
