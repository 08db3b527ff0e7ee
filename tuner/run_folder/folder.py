"""A run folder as a whole: creates it, checks that it is ours, and adopts those of versions without marks."""

import secrets
import shutil
from pathlib import Path
from typing import Any

from tuner.errors import OccupiedError, SpecError
from tuner.run_folder.layout import driver_files
from tuner.run_folder.marker import MARKER_FILE, Marker, adopted_marker, new_marker, read_marker, write_marker
from tuner.run_folder.place import Place
from tuner.run_folder.provenance import parse_provenance
from tuner.run_folder.trial_files import HISTORY_FILE, SPEC_FILE, write_atomic


def check_ours(folder: Path, place: Place) -> None:
    """Raise `OccupiedError` if `folder` is not empty and not a run folder; `place` is the user's name for it."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    marker = read_marker(folder, place)
    is_whole = _provenance(folder) is not None
    if is_whole and (marker is None or marker.kind == "run"):
        return  # without a mark: from a version that wrote none
    if marker is not None and marker.kind == "run":
        # Whoever reads an unreadable one reports it; a refused run leaves what its trials had written.
        if (folder / SPEC_FILE).exists() or driver_files(folder) == [MARKER_FILE]:
            return
        raise OccupiedError(f"{place} holds a run whose {SPEC_FILE} is missing: restore it, or name another --id.")
    raise OccupiedError(
        f"{place} exists already and was not made by a sweep; it is left as it is. Name another --id or --output, or "
        "move it away."
    )


def make_run_folder(folder: Path, place: Place, description: str, history: str) -> None:
    """Create a new run folder atomically; in an existing empty folder `sweep.yaml` is written last."""
    target = folder if folder.exists() else folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.tmp")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError([f"output: {folder} can't be made: {error.strerror}; name a folder to write to."]) from None
    write_marker(target, new_marker("run", place.name))
    for name in ("trials", "tensorboard"):
        (target / name).mkdir(exist_ok=True)
    if history:
        write_atomic(target / HISTORY_FILE, history)
    write_atomic(target / SPEC_FILE, description)
    if target == folder:
        return
    try:
        target.rename(folder)
    except OSError:
        shutil.rmtree(target)
        raise SpecError([f"--id {place.name}: another process has just created {place}; choose another."]) from None


def mark_of_run(folder: Path) -> Marker:
    """The mark of a run folder, or the one it is to get if an older version wrote none."""
    return read_marker(folder) or adopted_marker(folder.name, _provenance(folder) or {})


def adopt(folder: Path) -> bool:
    """Mark a run folder of a version without marks; False if it is marked already."""
    if read_marker(folder) is not None:
        return False
    write_marker(folder, mark_of_run(folder))
    return True


def has_trials(folder: Path) -> bool:
    """Whether there is a folder of any trial."""
    return any(path.name.isdecimal() for path in folder.glob("trials/*"))


def _provenance(folder: Path) -> dict[str, Any] | None:
    try:
        return parse_provenance((folder / SPEC_FILE).read_bytes())
    except OSError:
        return None
