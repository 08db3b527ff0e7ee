"""Which files of a run folder the driver writes. All others are the user's, above all those in `trial.dir`."""

import re
from collections.abc import Iterable
from pathlib import Path

from tuner.run_folder.best_folder import BEST_FILES
from tuner.run_folder.control import CONTROL_FILE
from tuner.run_folder.journal import JOURNAL_FILE
from tuner.run_folder.lock import LOCK_FILE
from tuner.run_folder.marker import MARKER_FILE
from tuner.run_folder.owned_files import checkpoint_files, files_in, remove_files
from tuner.run_folder.trial_files import DRIVERS_FILES, SPEC_FILE

# The local copy's record of the run folder at a URI.
RECORD_FILE = ".mirror.json"
# From TensorBoard's writer; a name without "tfevents", so that TensorBoard does not read it.
SCRATCH_FILE = ".scratch.tmp"

_AT_THE_TOP = (
    *(SPEC_FILE, JOURNAL_FILE, LOCK_FILE, CONTROL_FILE, MARKER_FILE, RECORD_FILE),
    *("history.json", "log.txt", ".driver-token", ".tuner-fetched.json"),
)
_CHECKPOINT = re.compile(r"trials/(\d{4,})/checkpoints/step-(\d{4,})")
_NAME = re.compile(
    r"|".join(
        [
            *map(re.escape, _AT_THE_TOP),
            rf"tensorboard/(\d{{4,}}/)?(events\.out\.tfevents\.[^/]*|{re.escape(SCRATCH_FILE)})",
            rf"trials/\d{{4,}}/({'|'.join(map(re.escape, DRIVERS_FILES))})",
        ]
    )
)


def driver_files(folder: Path) -> list[str]:
    """List the driver's files by their names within the run folder."""
    names = files_in(folder)
    found = [name for name in names if _NAME.fullmatch(name)]
    found += [f"best/{name}" for name in (*BEST_FILES, *checkpoint_files(folder / "best"))]
    for unit in sorted({match.group() for name in names if (match := _CHECKPOINT.match(name))}):
        found += [f"{unit}/{name}" for name in checkpoint_files(folder / unit)]
    there = set(names)
    return [name for name in found if name in there]


def remove_run(folder: Path, also: Iterable[str] = ()) -> bool:
    """Delete the driver's files in a run folder, and `also`; True if nothing else is there.

    The mark is deleted last, and stays if other files do: the folder still belongs to the sweep.
    """
    names = {*driver_files(folder), *also} - {MARKER_FILE}
    remove_files(folder, names)
    for place in ("trials", "tensorboard"):
        for path in sorted((folder / place).glob("*")):
            if re.fullmatch(r"\d{4,}", path.name):
                remove_files(path / "checkpoints", ())
                remove_files(path, ())
        remove_files(folder / place, ())
    if folder.exists() and files_in(folder) in ([], [MARKER_FILE]):
        remove_files(folder, [MARKER_FILE])
    return not folder.exists()
