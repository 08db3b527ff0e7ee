"""A run folder as one file: packed on one machine, unpacked on another.

`python -m tuner.remote.folder_archive FOLDER` is what a cluster runs for `tuner fetch`: it packs the folder beside its
own output, says where, and keeps it until it is told to end.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from tuner.errors import ControlError, OccupiedError
from tuner.object_storage.run_at_uri import open_run
from tuner.run_folder.folder import adopt, check_ours, mark_of_run
from tuner.run_folder.layout import driver_files
from tuner.run_folder.marker import MARKER_FILE
from tuner.run_folder.owned_files import files_in, free_name
from tuner.run_folder.place import as_place, is_plain
from tuner.run_folder.trial_files import SPEC_FILE, read_json, write_atomic

# Of no use elsewhere: who runs the sweep there, and what is asked of it.
_LEFT_OUT = ("driver.lock", "control.json")
_KEEP_S = 3600.0
# What was brought here, with size and time of the last change.
FETCHED_FILE = ".tuner-fetched.json"


def pack(folder: Path, target: Path, *, best_only: bool = False) -> None:
    """Pack a run folder, also while its sweep runs: what is deleted meanwhile is left out, as is a link out of it.

    Args:
        best_only: no checkpoints but the one in `best/`, which holds the best.
    """
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            is_hidden = any(part.startswith(".") for part in name.parts) and str(name) != MARKER_FILE
            if is_hidden or str(name) in _LEFT_OUT:
                continue
            if best_only and name.parts[0] == "trials" and name.parts[2:3] == ("checkpoints",):
                continue
            if path.is_symlink() and not _stays(path, folder):
                continue
            try:
                archive.add(path, str(name), recursive=False)
            except FileNotFoundError:
                continue


def _stays(link: Path, folder: Path) -> bool:
    """Whether a link points into the folder wherever the folder is; no other is unpacked."""
    target = link.readlink()
    return not target.is_absolute() and (link.parent / target).resolve().is_relative_to(folder.resolve())


def unpack(archive: Path, folder: Path) -> None:
    """Put a packed run folder in the place of `folder`, of the same run; it is there whole or not at all.

    Files in `folder` that neither the driver has written nor were brought here before are kept. Raises `OccupiedError`
    where it is something else, `ControlError` where the archive would write outside of it.
    """
    check_ours(folder, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        try:
            with tarfile.open(archive) as file:
                members = file.getmembers()
                # To this machine's file system a backslash is a letter, and a trainable may have used it.
                if odd := [one.name for one in members if not is_plain(one.name.replace("\\", "_"))]:
                    raise ControlError(f"{folder} was not fetched: what was sent holds {odd[0]!r}, outside of it.")
                file.extractall(new, filter="data")
        except tarfile.TarError as error:
            raise ControlError(f"{folder} was not fetched: what was sent can't be unpacked safely: {error}") from error
        if not (new / SPEC_FILE).exists():
            raise ControlError(f"{folder} was not fetched: what was sent is no run folder.")
        adopt(new)
        write_atomic(new / FETCHED_FILE, json.dumps({name: _stamp(new / name) for name in files_in(new)}))
        _replace(folder, new, scratch / "old")
    finally:
        if not (scratch / "old").exists():
            shutil.rmtree(scratch)


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which comes to lie in `old` until all that is not ours was taken from it."""
    if not folder.exists() or not any(folder.iterdir()):
        new.replace(folder)
        return
    if mark_of_run(folder).identity != mark_of_run(new).identity:
        raise OccupiedError(
            f"{folder} holds another sweep and is left as it is: name another --output, or move it away."
        )
    fetched = read_json(folder / FETCHED_FILE)
    ours = {*driver_files(folder), *(name for name, stamp in fetched.items() if _stamp(folder / name) == stamp)}
    others = [name for name in files_in(folder) if name not in ours]
    folder.replace(old)
    try:
        new.replace(folder)
    except BaseException:
        old.replace(folder)
        raise
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            (old / name).replace(free_name(folder / name))
        else:
            (old / name).replace(folder / name)
    shutil.rmtree(old)


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.lstat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> None:
    """Ray writes a job's output into the folder that its dashboard hands out files from."""
    place, best_only = as_place(arguments[0]), "--best" in arguments
    logs = Path("/proc/self/fd/1").readlink().parent
    handle, name = tempfile.mkstemp(prefix="tuner-fetch-", suffix=".tar.gz", dir=logs)
    os.close(handle)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        target = Path(name)
        pack(open_run(place).bring("*"), target, best_only=best_only)
        told = {"file": target.name, "bytes": target.stat().st_size, "sha256": digest(target)}
        print(json.dumps(told), flush=True)
        time.sleep(_KEEP_S)
    finally:
        Path(name).unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
