"""A run folder as a whole: made, known for ours or not, taken over from versions that marked none, removed."""

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
    """Raise `OccupiedError` where `folder` is not empty and no sweep of ours; `place` is what the user calls it."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    marker = read_marker(folder, place)
    is_whole = _provenance(folder) is not None
    if is_whole and (marker is None or marker.kind == "run"):
        return  # without a mark it is of before there were any
    if marker is not None and marker.kind == "run":
        # One that can't be read is told by who reads it; a run that was refused has left what its trials had written.
        if (folder / SPEC_FILE).exists() or driver_files(folder) == [MARKER_FILE]:
            return
        raise OccupiedError(f"{place} holds a run whose {SPEC_FILE} is missing: bring it back, or name another --id.")
    raise OccupiedError(
        f"{place} is there already and was not made by a sweep; it is left as it is. Name another --id or --output, or "
        "move it away."
    )


def make_run_folder(folder: Path, place: Place, description: str, history: str) -> None:
    """Make a new run folder, there whole or not at all; in an empty one `sweep.yaml`, which makes it one, is last."""
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
        raise SpecError([f"--id {place.name}: {place} was made by somebody else just now; take another."]) from None


def mark_of_run(folder: Path) -> Marker:
    """The mark of a run folder; of one of before there were any the one that it is to get."""
    return read_marker(folder) or adopted_marker(folder.name, _provenance(folder) or {})


def adopt(folder: Path) -> bool:
    """Mark a run folder of before there were marks; False where it is marked already."""
    if read_marker(folder) is not None:
        return False
    write_marker(folder, mark_of_run(folder))
    return True


def has_trials(folder: Path) -> bool:
    """Whether any trial has begun, as far as its folders tell."""
    return any(path.name.isdecimal() for path in folder.glob("trials/*"))


def _provenance(folder: Path) -> dict[str, Any] | None:
    try:
        return parse_provenance((folder / SPEC_FILE).read_bytes())
    except OSError:
        return None
