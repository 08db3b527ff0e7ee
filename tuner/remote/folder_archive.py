"""Packs a run folder into one file, and unpacks it on another machine.

A cluster runs `python -m tuner.remote.folder_archive FOLDER` for `tuner fetch`: it packs the folder beside its own
output, prints where, and keeps it until it is stopped.
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

# Useless elsewhere: the driver's lock, and requests to it.
_LEFT_OUT = ("driver.lock", "control.json")
_KEEP_S = 3600.0
# The downloaded files, with size and time of the last change.
FETCHED_FILE = ".tuner-fetched.json"


def pack(folder: Path, target: Path, *, best_only: bool = False) -> None:
    """Pack a run folder, even while its sweep runs; leave out files that are deleted meanwhile, and links out of it.

    Args:
        best_only: leave out all checkpoints but the one in `best/`.
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
    """Whether a link points into the folder wherever the folder is; other links are not unpacked."""
    target = link.readlink()
    return not target.is_absolute() and (link.parent / target).resolve().is_relative_to(folder.resolve())


def unpack(archive: Path, folder: Path) -> None:
    """Replace `folder`, of the same run, by a packed run folder, atomically.

    Files in `folder` that come neither from the driver nor from an earlier download are kept. Raises `OccupiedError` if
    it is something else, `ControlError` if the archive would write outside of it.
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
                # On this machine a backslash is a normal character, which a trainable may have used.
                if odd := [one.name for one in members if not is_plain(one.name.replace("\\", "_"))]:
                    raise ControlError(f"{folder} was not fetched: the archive holds {odd[0]!r}, outside of it.")
                file.extractall(new, filter="data")
        except tarfile.TarError as error:
            raise ControlError(f"{folder} was not fetched: the archive can't be unpacked safely: {error}") from error
        if not (new / SPEC_FILE).exists():
            raise ControlError(f"{folder} was not fetched: the archive is not a run folder.")
        adopt(new)
        write_atomic(new / FETCHED_FILE, json.dumps({name: _stamp(new / name) for name in files_in(new)}))
        _replace(folder, new, scratch / "old")
    finally:
        if not (scratch / "old").exists():
            shutil.rmtree(scratch)


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Replace `folder` by `new`; the old one is kept in `old` until everything that is not ours is taken from it."""
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
    """Pack the folder beside this job's output: Ray's dashboard serves files from that folder."""
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
