"""Transfers files between machines: in messages of bounded size, put in place atomically."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuner.run_folder.checkpoints import CHECKSUMS_FILE
from tuner.run_folder.outage import sync
from tuner.run_folder.owned_files import checkpoint_files, files_in, put_in_place

# The size of one message, so that a large file does not fill the memory.
MESSAGE_BYTES = 32 << 20


@dataclass(frozen=True)
class Part:
    """A part of a file. `name` is its path within the sent folder."""

    name: str
    offset: int
    size: int


Message = Sequence[tuple[Part, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class Upload:
    """A folder in transfer.

    Attributes:
        target: the folder to write to.
        scratch: a temporary folder on the same file system.
        is_whole: whether it replaces the target; otherwise its files are added.
    """

    target: Path
    scratch: Path
    is_whole: bool


def list_files(folder: Path, *, with_links: bool = False) -> dict[str, int]:
    """The plain files below a folder, by relative path, with their sizes; empty if there is no folder.

    Args:
        with_links: also include the targets of links.
    """
    found = sorted(Path(root) / name for root, _, names in os.walk(folder, followlinks=with_links) for name in names)
    plain = (path for path in found if path.is_file() and (with_links or not path.is_symlink()))
    return {str(path.relative_to(folder)): path.stat().st_size for path in plain}


def plan(sizes: Mapping[str, int], limit: int) -> list[list[Part]]:
    """The parts for each message: files of these sizes, empty ones included, in messages of at most `limit` bytes."""
    messages: list[list[Part]] = [[]]
    room = limit
    for name, size in sizes.items():
        offset = 0
        while True:
            part = Part(name, offset, min(size - offset, room))
            messages[-1].append(part)
            offset, room = offset + part.size, room - part.size
            if not room:
                messages.append([])
                room = limit
            if offset == size:
                break
    return messages if messages[-1] or len(messages) == 1 else messages[:-1]


def read(folder: Path, parts: Sequence[Part]) -> Message:
    """Read the content of a message."""
    return [
        (part, np.fromfile(folder / part.name, dtype=np.uint8, count=part.size, offset=part.offset)) for part in parts
    ]


def write(upload: Upload, message: Message, *, is_first: bool, is_last: bool) -> None:
    """Write a message; the last one puts the files in place. Messages may come twice, after lost answers."""
    if is_first:
        upload.scratch.mkdir(parents=True, exist_ok=True)
    elif is_last and not upload.scratch.exists() and all((upload.target / part.name).exists() for part, _ in message):
        return
    for part, data in message:
        path = upload.scratch / part.name
        if part.offset == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if part.offset else "wb") as file:
            file.seek(part.offset)
            data.tofile(file)
    if is_last:
        _put_in_place(upload)


def send(folder: Path, sizes: Mapping[str, int]) -> Iterator[tuple[Message, bool, bool]]:
    """Yield messages with files of these sizes, each with whether it is the first and the last."""
    messages = plan(sizes, MESSAGE_BYTES)
    for index, parts in enumerate(messages):
        yield read(folder, parts), index == 0, index == len(messages) - 1


def _put_in_place(upload: Upload) -> None:
    if upload.is_whole:
        if upload.target.name.startswith("."):  # a worker's files, still in transfer
            shutil.rmtree(upload.target, ignore_errors=True)
        for name in files_in(upload.scratch):
            sync(upload.scratch / name)
        put_in_place(upload.scratch, upload.target, checkpoint_files(upload.target), last=CHECKSUMS_FILE)
        return
    for name in list_files(upload.scratch):
        (upload.target / name).parent.mkdir(parents=True, exist_ok=True)
        (upload.scratch / name).replace(upload.target / name)
    shutil.rmtree(upload.scratch)
