"""Uploads large files to object storage in parts, so that a retry does not send a part again.

pyarrow sends a part with each write of `PART_BYTES` to a stream that does not write in the background, and after a
failed part leaves its position before it. Closing a stream makes a file of the parts so far, and so does destroying it,
which Python does when nothing refers to it: an incomplete one has to be abandoned.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa

# pyarrow's own.
PART_BYTES = 10 << 20
_TRIED = 3
_PAUSE_S = 1.0
FAILURES = (OSError, pa.ArrowException)


def abandon(stream: Any) -> None:
    """Never turn a stream's parts into a file: the stream is not destroyed, even when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))


class PartUploads:
    """Uploads through a pyarrow file system, which must not write in the background. Safe for several threads."""

    def __init__(self, filesystem: Any) -> None:
        self._fs = filesystem
        # By path: the stream, and what identifies the file whose parts it has sent.
        self._unfinished: dict[str, tuple[Any, tuple[int, int]]] = {}

    def put(self, path: str, source: BinaryIO, size: int, on_bytes: Callable[[int], None]) -> None:
        """Write the first `size` bytes of an open file; resumes where an earlier call for the same file failed.

        Raises what pyarrow raises, and what `on_bytes` raises, which is called with the size of each uploaded part.
        """
        stamp = (os.fstat(source.fileno()).st_mtime_ns, size)
        stream = self._begun(path, stamp)
        try:
            while (done := stream.tell()) < size:
                source.seek(done)
                chunk = source.read(min(PART_BYTES, size - done))
                if not chunk:
                    break  # it has become shorter
                self._write(stream, chunk, done)
                on_bytes(len(chunk))
        except BaseException:
            self._unfinished[path] = stream, stamp
            raise
        # It is complete and may be destroyed.
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(stream))
        sent = stream.tell()
        stream.close()
        if (found := self._fs.get_file_info(path).size) != sent:
            raise OSError(f"{path} has {found} bytes there, but {sent} were sent")

    def _begun(self, path: str, stamp: tuple[int, int]) -> Any:
        stream, before = self._unfinished.pop(path, (None, None))
        if before != stamp:
            stream = self._fs.open_output_stream(path, compression=None)
            abandon(stream)  # until it is complete
        return stream

    def _write(self, stream: Any, chunk: bytes, done: int) -> None:
        for attempt in range(1, _TRIED + 1):
            try:
                stream.write(chunk)
                return
            except FAILURES:
                # A position that has moved would leave a hole; the check of the size at the end finds it.
                if attempt == _TRIED or stream.tell() != done:
                    raise
                time.sleep(attempt * _PAUSE_S)
