"""The folders of checkpoints: finds them, lists them, and checks that their files are intact."""

import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path

STATE_FILE = "state.pt"
RNG_FILE = "rng.pt"
CHECKSUMS_FILE = "checksums.json"
FILES = "files"
_NAME = re.compile(r"step-\d{4,}")
_CHUNK_BYTES = 1 << 22


def checkpoint_path(trial_dir: Path, step: int) -> Path:
    return trial_dir / "checkpoints" / f"step-{step:04d}"


def trial_and_step(path: Path | str) -> tuple[int, int]:
    """The trial's number and the step in a checkpoint's path."""
    folder = Path(path)
    return int(folder.parents[1].name), int(folder.name.removeprefix("step-"))


def checkpoint_steps(trial_dir: Path) -> list[int]:
    """The steps of the checkpoints in a trial's folder, ascending; folders with other files only don't count."""
    found = [path for path in trial_dir.glob("checkpoints/step-*") if _NAME.fullmatch(path.name)]
    return sorted(
        int(path.name.removeprefix("step-"))
        for path in found
        if (path / CHECKSUMS_FILE).exists() or (path / STATE_FILE).exists()
    )


def digest(path: Path) -> str:
    """Identifies a checkpoint, also among those of the same step; empty if there is none with checksums."""
    try:
        return hashlib.sha256((path / CHECKSUMS_FILE).read_bytes()).hexdigest()[:16]
    except (FileNotFoundError, NotADirectoryError):
        return ""


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's files, or an empty text; reads all of them.

    Raises OSError if they can't be read for now: a file that may be readable later is not damaged.
    """
    try:
        text = (path / CHECKSUMS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return _damage_without_checksums(path)
    try:
        wanted: dict[str, list[int]] = json.loads(text)
        for name, (size, checksum) in wanted.items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes in place of {size}"
            if _checksum(path / name) != checksum:
                return f"{name} is not what was written"
    except (FileNotFoundError, ValueError, AttributeError, TypeError) as error:
        return f"it can't be read ({error})"
    return "" if STATE_FILE in wanted and RNG_FILE in wanted else f"{CHECKSUMS_FILE} does not name its files"


def _damage_without_checksums(path: Path) -> str:
    """Older checkpoints without checksums have only two files, which contain their own."""
    if (path / FILES).exists():
        return f"{CHECKSUMS_FILE} is missing"
    for name in (STATE_FILE, RNG_FILE):
        try:
            with zipfile.ZipFile(path / name) as archive:
                if archive.testzip() is not None:
                    return f"{name} is not what was written"
        except (FileNotFoundError, zipfile.BadZipFile) as error:
            return f"it can't be read ({error})"
    return ""


def checksums(folder: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and CRC-32 of each file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, _checksum(path)) for path in files}


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
