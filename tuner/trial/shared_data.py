"""Data in memory shared by the processes of a node: loaded by one of them, mapped by all.

A value is pickled with the bytes of its arrays apart (pickle's protocol 5) and written to a file without a name.
Another process opens that file through /proc of any process that has it, and maps it. The operating system does the
rest: the pages exist once, stay as long as any process maps them, and vanish with the last one, `kill -9` or not.
Unpickling runs code from the file, so the file and the folder that names it must belong to this user and be writable by
no other.

Ray's object store is not used: trials also run without Ray, an object there is lost with the process that owns it, and
tensors are copied out of it.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import mmap
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
import torch

from tuner.run_folder.file_locks import lock, unlock
from tuner.trial.scratch import Scratch, runtime_folder

T = TypeVar("T")

MEMORY = Path("/dev/shm")
_ALIGNMENT = 64
_MARK_BYTES = 32
_LENGTH_BYTES = 8
_HOLDER = re.compile(r"(?P<pid>[1-9][0-9]{0,9}) (?P<number>[0-9]{1,9})", re.ASCII)


class SharedData:
    """The shared data of a sweep's run, as one process sees them; it keeps what it has loaded until `close`.

    Args:
        name: of the run; processes of a node with the same name share.
        memory: the folder whose files are in memory.
    """

    def __init__(self, name: str, memory: Path = MEMORY) -> None:
        self._name = name
        self._memory = memory
        self._scratch: Scratch | None = None
        self._files: list[IO[bytes]] = []
        self._values: dict[str, Any] = {}

    def get(self, key: str, load: Callable[[], T]) -> T:
        """Return what `load()` returned in the first process to ask for `key`; blocks while another one loads it.

        Raises what `load` raises, TypeError if its value can't be pickled, OSError if there is no room for it.
        """
        if key not in self._values:
            self._values[key] = self._open(key, load)
        return cast(T, self._values[key])

    def close(self) -> None:
        """Release the data; referenced data stay. May be called twice."""
        self._values.clear()
        while self._files:
            self._files.pop().close()
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def _open(self, key: str, load: Callable[[], T]) -> T:
        if self._scratch is not None and not self._scratch.path.is_dir():
            self._scratch.close()  # it has vanished with the login session: share anew from now on
            self._scratch = None
        if self._scratch is None:
            self._scratch = Scratch(f"shared-{self._name}", runtime_folder())
        mark = hashlib.sha256(f"{self._name} {key}".encode()).digest()
        with (self._scratch.path / mark.hex()).open("a+") as holders:
            # If a process dies while loading, the operating system frees its lock, and the next one loads.
            lock(holders.fileno(), fcntl.LOCK_EX)
            try:
                holders.seek(0)
                file = _find(holders.read(), mark) or self._store(key, mark, load())
                self._files.append(file)
                holders.write(f"{os.getpid()} {file.fileno()}\n")
                holders.flush()
            finally:
                unlock(holders.fileno())
        return cast(T, _map(file))

    def _store(self, key: str, mark: bytes, value: Any) -> IO[bytes]:
        buffers: list[pickle.PickleBuffer] = []
        packed = io.BytesIO()
        try:
            _Pickler(packed, protocol=5, buffer_callback=buffers.append).dump(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"trial.shared: the value loaded for {key!r} can't be given to other processes ({error}); return "
                "arrays, tensors, numbers and texts, and tuples, dicts or dataclasses of them, or use trial.cached."
            ) from None
        arrays = [buffer.raw() for buffer in buffers]
        index = pickle.dumps((packed.getvalue(), [array.nbytes for array in arrays]))
        head = mark + len(index).to_bytes(_LENGTH_BYTES, "little") + index
        size = len(head) + sum(array.nbytes + _ALIGNMENT for array in arrays)
        for place in self._places(key, size):
            file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115  # kept only while it is open
            try:
                file.write(head)
                for array in arrays:
                    file.write(bytes(_padding(file.tell())))
                    file.write(array)
                file.flush()
                return file
            except OSError as error:
                file.close()
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
        raise OSError(
            f"trial.shared: {key!r} takes {_told(size)}, and there is no room for it in {tempfile.gettempdir()} "
            "either; free some, or name another folder with TMPDIR."
        )

    def _places(self, key: str, size: int) -> Iterator[str]:
        # Ray's object store and data loaders use it too, and die when it is full: half of it is left to them.
        free = shutil.disk_usage(self._memory).free if self._memory.is_dir() else 0
        if 2 * size <= free:
            yield str(self._memory)
        print(
            f"tuner: {key!r} takes {_told(size)}, and {self._memory} has {_told(free)} free, of which half is used at "
            f"most: it is shared from {tempfile.gettempdir()}, and read from there",
            file=sys.stderr,
        )
        yield tempfile.gettempdir()


class _Pickler(pickle.Pickler):
    """Leaves the bytes of tensors out of the pickle, as numpy does for arrays."""

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is torch.Tensor and _is_plain(thing):
            flat = thing.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
            return _tensor, (pickle.PickleBuffer(flat.data), thing.dtype, tuple(thing.shape))
        if type(thing) is np.ndarray and not (thing.flags.c_contiguous or thing.flags.f_contiguous):
            return np.ascontiguousarray(thing).__reduce_ex__(5)
        return NotImplemented


def _is_plain(tensor: torch.Tensor) -> bool:
    is_bytes = tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized
    return is_bytes and not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg())


def _tensor(buffer: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    if not len(buffer):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape)


def _find(holders: str, mark: bytes) -> IO[bytes] | None:
    """The file with this mark, from a process that holds it; the last processes are the likeliest to live."""
    for line in reversed(holders.splitlines()):
        if not (found := _HOLDER.fullmatch(line)):
            continue
        with contextlib.suppress(OSError):
            # The number may be another process's by now, and be anything, such as a pipe without a writer.
            descriptor = os.open(
                f"/proc/{found['pid']}/fd/{found['number']}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            if _is_own(os.fstat(descriptor)) and os.pread(descriptor, _MARK_BYTES, 0) == mark:
                return os.fdopen(descriptor, "rb")
            os.close(descriptor)
    return None


def _is_own(file: os.stat_result) -> bool:
    """Whether it is a plain file that only this user can have written."""
    is_others = file.st_uid != os.geteuid() or file.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(file.st_mode) and not is_others


def _map(file: IO[bytes]) -> Any:
    # Private, and so writable, since PyTorch has no read-only tensors. A page is copied before it is written to.
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    start = _MARK_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(data[_MARK_BYTES:start], "little")
    packed, sizes = pickle.loads(data[start:end])
    buffers = []
    for size in sizes:
        end += _padding(end)
        buffers.append(data[end : end + size])
        end += size
    return pickle.loads(packed, buffers=buffers)


def _padding(position: int) -> int:
    return -position % _ALIGNMENT


def _told(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
