"""A sweep's files at a URI: its mark, and the list of the files it uploads, written before them.

Files that are not in the list belong to somebody else: they are never overwritten or deleted.
"""

import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tuner.errors import OccupiedError
from tuner.object_storage.lease import read_holder
from tuner.object_storage.object_store import Entry, ObjectStore
from tuner.run_folder.control import CONTROL_FILE
from tuner.run_folder.journal import JOURNAL_FILE
from tuner.run_folder.lock import LOCK_FILE
from tuner.run_folder.marker import MARKER_FILE, Marker, adopted_marker, parse_marker
from tuner.run_folder.owned_files import is_inside
from tuner.run_folder.provenance import parse_provenance
from tuner.run_folder.trial_files import SPEC_FILE

MANIFEST_FILE = ".tuner-files.json.gz"
_OWN = (MARKER_FILE, MANIFEST_FILE, LOCK_FILE, CONTROL_FILE)
# The files of sweeps at a URI before there were lists.
_OF_BEFORE = re.compile(
    rf"{re.escape(SPEC_FILE)}|{re.escape(JOURNAL_FILE)}|history\.json|log\.txt|(trials|tensorboard|best)/.+"
)
_NAMED = 3


@dataclass(frozen=True)
class There:
    """The state found at a URI.

    Attributes:
        marker: of the run that is there; None if nothing is.
        files: that run's uploaded files, by name.
        is_marked: False for a run of a version without marks.
    """

    marker: Marker | None
    files: dict[str, Entry]
    is_marked: bool


def look(store: ObjectStore) -> There:
    """Look at a URI; writes nothing. Raises `OccupiedError` if its content is not ours."""
    entries = store.entries()
    others = {name: entry for name, entry in entries.items() if name not in _OWN}
    marker = parse_marker(store.read(MARKER_FILE), store.uri) if MARKER_FILE in entries else None
    if marker is not None and marker.kind == "run":
        names = read_manifest(store) if MANIFEST_FILE in entries else set()
        return There(marker, {name: entry for name, entry in others.items() if name in names}, is_marked=True)
    given = parse_provenance(store.read(SPEC_FILE)) if SPEC_FILE in entries else None
    if given is not None and (JOURNAL_FILE in entries or given.get("storage")):
        ours = {name: entry for name, entry in others.items() if _OF_BEFORE.fullmatch(name)}
        return There(adopted_marker(store.uri.name, given), ours, is_marked=False)
    # A driver that died before it uploaded anything has left its lock.
    if others.keys() or MARKER_FILE in entries or CONTROL_FILE in entries or not _is_free(store, entries):
        found = sorted(entries)
        shown = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        raise OccupiedError(
            f"{store.uri} is not empty, and was not written by a sweep ({shown}); it is left as it is. "
            "Name another --output or --id, or move it away."
        )
    return There(None, {}, is_marked=True)


def _is_free(store: ObjectStore, entries: dict[str, Entry]) -> bool:
    return LOCK_FILE not in entries or read_holder(store) is not None


def read_manifest(store: ObjectStore) -> set[str]:
    try:
        names = json.loads(gzip.decompress(store.read(MANIFEST_FILE) or b""))
    except (OSError, EOFError, ValueError):
        raise OccupiedError(
            f"{store.uri}/{MANIFEST_FILE} can't be read, so nobody knows which files there are the sweep's. If all "
            f"are, delete {MARKER_FILE} and {MANIFEST_FILE} there: they are written again."
        ) from None
    return {name for name in names if isinstance(name, str) and is_inside(name)}


def write_manifest(store: ObjectStore, names: Iterable[str]) -> None:
    store.write(MANIFEST_FILE, gzip.compress(json.dumps(sorted(names)).encode(), compresslevel=5, mtime=0))
