"""Deletes the files that we wrote and nothing else: by their recorded names, never by what is found."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tuner.run_folder.checkpoints import CHECKSUMS_FILE, RNG_FILE, STATE_FILE

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def is_inside(name: str) -> bool:
    """Whether a relative name stays inside its folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def files_in(folder: Path) -> list[str]:
    """The names of all files and links below a folder; none if there is no folder."""
    found = (Path(root) / name for root, folders, names in os.walk(folder) for name in (*names, *_links(root, folders)))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _links(root: str, folders: Iterable[str]) -> list[str]:
    return [name for name in folders if Path(root, name).is_symlink()]


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Delete these files, and folders that become empty, `folder` included. Missing files are ignored."""
    emptied = {folder}
    for name in names:
        if is_inside(name):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
            emptied |= {folder / parent for parent in PurePosixPath(name).parents}
    for path in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


def checkpoint_files(folder: Path) -> list[str]:
    """The names of a checkpoint's files, from its checksums; none without its state, the first file."""
    try:
        named = list(json.loads((folder / CHECKSUMS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        named = []
    # The checksums are deleted last: they name what is left after an interrupted deletion.
    return [*dict.fromkeys([STATE_FILE, RNG_FILE, *map(str, named)]), CHECKSUMS_FILE]


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, if it is there."""
    if folder.is_dir():
        remove_files(folder, checkpoint_files(folder))


def put_in_place(scratch: Path, target: Path, owned: Iterable[str], *, last: str) -> None:
    """Replace `target`, of which the files `owned` are ours, by the folder `scratch`.

    If `target` holds other files too, ours are moved in one by one, with `last`, which marks them complete, at the end.
    """
    if target.is_dir():
        remove_files(target, owned)
    else:
        set_aside(target)
    try:
        scratch.replace(target)
    except OSError as error:
        if error.errno not in _NOT_EMPTY:
            raise
        for name in sorted(files_in(scratch), key=lambda name: name == last):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            set_aside(target / name)
            (scratch / name).replace(target / name)
        shutil.rmtree(scratch)


def free_name(path: Path) -> Path:
    """A free name beside a path, for what has to move away from it."""
    return path.with_name(f"{path.name}.aside-{secrets.token_hex(4)}")


def set_aside(path: Path) -> Path | None:
    """Free a path by renaming what is there; return the new path, or None if nothing was there."""
    aside = free_name(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside
