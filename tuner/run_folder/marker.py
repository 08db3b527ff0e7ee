"""The mark on every place that we write in: what is there without it is somebody's, and is left alone.

A small JSON file. `identity` is made with the run folder and goes wherever its files go: it tells one run from another
of the same name. Knows nothing of what else is in the place.
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
    """Whose a place is. `kind` is "run", "export" or "scratch"; `id` is what people call it."""

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
    """Of a run folder of before there were any: the same on each machine that finds it."""
    known = json.dumps([provenance.get(key) for key in ("study", "seed", "created")])
    identity = hashlib.sha256(known.encode()).hexdigest()[:32]
    return Marker("run", id, identity, str(provenance.get("created", "")))


def parse_marker(data: bytes | None, place: object) -> Marker | None:
    """None where it is no mark of ours. Raises `OccupiedError` for one of a later version."""
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
            f"this version knows {FORMAT}. Use that version, or name another place."
        )
    return Marker(**known)


def read_marker(folder: Path, place: object = None) -> Marker | None:
    """None where there is none of ours; `place` is what the user calls the folder."""
    try:
        return parse_marker((folder / MARKER_FILE).read_bytes(), place or folder)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def write_marker(folder: Path, marker: Marker) -> None:
    """Mark a folder; it is marked whole or not at all, also after a power failure."""
    scratch = folder / f"{MARKER_FILE}.{secrets.token_hex(4)}.tmp"
    with scratch.open("wb") as file:
        file.write(marker.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(folder / MARKER_FILE)
