"""Large files on their way to object storage, part by part: what has arrived is not sent again.

pyarrow sends a part with each write of `PART_BYTES` to a stream whose writes are not in the background, and leaves its
position in front of a part that has failed. Closing a stream makes a file of the parts that are there, and so does
destroying it, which Python does where nothing refers to it: one that is not whole has to be abandoned.
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
    """Never make a file of what was written to a stream: also at the process' end it is not destroyed."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))


class PartUploads:
    """Uploads through a file system of pyarrow's, which must not write in the background. For several threads."""

    def __init__(self, filesystem: Any) -> None:
        self._fs = filesystem
        # By path: the stream, and what tells whether the file is still the one whose parts it has sent.
        self._unfinished: dict[str, tuple[Any, tuple[int, int]]] = {}

    def put(self, path: str, source: BinaryIO, size: int, on_bytes: Callable[[int], None]) -> None:
        """Write the first `size` bytes of an open file; goes on where an earlier call for the same file has failed.

        Raises what pyarrow raises, and what `on_bytes` does, which is called with the size of each part that is there.
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
        # It is whole, and may go.
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(stream))
        sent = stream.tell()
        stream.close()
        if (found := self._fs.get_file_info(path).size) != sent:
            raise OSError(f"{path} has {found} bytes there, and {sent} were sent")

    def _begun(self, path: str, stamp: tuple[int, int]) -> Any:
        stream, before = self._unfinished.pop(path, (None, None))
        if before != stamp:
            stream = self._fs.open_output_stream(path, compression=None)
            abandon(stream)  # as long as it is not whole
        return stream

    def _write(self, stream: Any, chunk: bytes, done: int) -> None:
        for attempt in range(1, _TRIED + 1):
            try:
                stream.write(chunk)
                return
            except FAILURES:
                # A position that has moved would leave a hole; the size that is checked at the end tells of it.
                if attempt == _TRIED or stream.tell() != done:
                    raise
                time.sleep(attempt * _PAUSE_S)
