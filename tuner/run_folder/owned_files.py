"""Takes away what we have written and nothing else: by the names that were written down, never by what is found.

What somebody else has put among our files stays where it is. Knows nothing of sweeps.
"""

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
    """Whether a name from a file leads to a place in the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def files_in(folder: Path) -> list[str]:
    """The names of all that is no folder, links included; none where there is no folder."""
    found = (Path(root) / name for root, folders, names in os.walk(folder) for name in (*names, *_links(root, folders)))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _links(root: str, folders: Iterable[str]) -> list[str]:
    return [name for name in folders if Path(root, name).is_symlink()]


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Delete these files, and the folders that are empty then, `folder` included. What is gone already is no matter."""
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
    """The names of a checkpoint's files, those that its checksums name; without its state, the first, it is none."""
    try:
        named = list(json.loads((folder / CHECKSUMS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        named = []
    # The checksums go last: of what was deleted in part they name the rest.
    return [*dict.fromkeys([STATE_FILE, RNG_FILE, *map(str, named)]), CHECKSUMS_FILE]


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint, if it is there."""
    if folder.is_dir():
        remove_files(folder, checkpoint_files(folder))


def put_in_place(scratch: Path, target: Path, owned: Iterable[str], *, last: str) -> None:
    """Put the folder `scratch` in the place of `target`, of which the files `owned` are ours.

    Where it holds others as well, ours go among them one by one, and `last`, which says that all are there, at last.
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
    """Where what can't be at a path goes, beside it."""
    return path.with_name(f"{path.name}.aside-{secrets.token_hex(4)}")


def set_aside(path: Path) -> Path | None:
    """Rename what is at a path, so that it is free; the new one, None where nothing was there."""
    aside = free_name(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    return aside
