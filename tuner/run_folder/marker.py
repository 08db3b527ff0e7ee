"""The mark on every place that we write to. A place without it belongs to somebody else and is left alone.

A small JSON file. `identity` is made with the run folder and stays with its files wherever they go: it distinguishes
runs of the same name.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner.errors import OccupiedError

MARKER_FILE = ".tuner.json"
FORMAT = 1


@dataclass(frozen=True)
class Marker:
    """The owner of a place. `kind` is "run", "export" or "scratch"; `id` is its name for people."""

    kind: str
    id: str
    identity: str
    created: str
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def new_marker(kind: str, id: str) -> Marker:
    return Marker(kind, id, secrets.token_hex(16), time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def adopted_marker(id: str, provenance: Mapping[str, Any]) -> Marker:
    """The mark of a run folder from a version without marks: the same on each machine that finds it."""
    known = json.dumps([provenance.get(key) for key in ("study", "seed", "created")])
    identity = hashlib.sha256(known.encode()).hexdigest()[:32]
    return Marker("run", id, identity, str(provenance.get("created", "")))


def parse_marker(data: bytes | None, place: object) -> Marker | None:
    """Parse a mark; None if it is not ours. Raises `OccupiedError` if a later version wrote it."""
    try:
        found = json.loads(data or b"")
        known = {key: found[key] for key in ("kind", "id", "identity", "created", "format")}
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(known["format"], int) or not all(isinstance(known[key], str) for key in ("kind", "identity")):
        return None
    if known["format"] > FORMAT:
        raise OccupiedError(
            f"{place} was written by a later version of tuner: {MARKER_FILE} there has format {known['format']}, and "
            f"this version reads {FORMAT}. Use that version, or name another place."
        )
    return Marker(**known)


def read_marker(folder: Path, place: object = None) -> Marker | None:
    """Read a folder's mark; None if there is none of ours. `place` is the user's name for the folder."""
    try:
        return parse_marker((folder / MARKER_FILE).read_bytes(), place or folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def write_marker(folder: Path, marker: Marker) -> None:
    """Mark a folder atomically, also in a power failure."""
    scratch = folder / f"{MARKER_FILE}.{secrets.token_hex(4)}.tmp"
    with scratch.open("wb") as file:
        file.write(marker.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(folder / MARKER_FILE)
