"""Reads, writes and deletes files under a URI, in any storage that pyarrow supports."""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import fs

from tuner.errors import ObjectStoreError
from tuner.object_storage.parts import PART_BYTES, PartUploads, abandon
from tuner.run_folder.place import Uri, is_plain

# A request without an answer for this long has failed; without a limit it would wait forever.
REQUEST_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
_CHUNK_BYTES = 1 << 22
# For each period without any data.
_DOWNLOADS = 8
_DOWNLOADS_TRIED = 3
_PAUSE_S = 1.0
# Of a large file, by Amazon's library, before `PartUploads` tries a part again.
_REQUESTS_TRIED = 3
# Storages in which a file can't be seen before it is complete.
_WRITES_WHOLE = ("s3", "gcs", "abfs")
_NOISE = re.compile(r"^When .*?: (?=AWS Error)|\s*\(Request ID: [^)]*\)|^google::cloud::Status\(")


@dataclass(frozen=True)
class Entry:
    """A file at the URI. `changed_at_s` is by the storage's clock, 0 if it gives none."""

    size: int
    changed_at_s: float


class ObjectStore:
    """The files under a URI, by their names relative to it.

    Every method blocks, for some seconds at most if nothing answers, and raises `ObjectStoreError`. Safe to use from
    several threads.
    """

    def __init__(self, uri: Uri) -> None:
        self.uri = uri
        try:
            self._fs, patient, self._root = _connect(uri)
        except (OSError, pa.ArrowException, ImportError, ValueError) as error:
            raise ObjectStoreError(f"{uri} can't be used: {_reason(error)}{_hint(error)}") from None
        self._parts = PartUploads(patient) if patient is not None else None

    def is_there(self) -> bool:
        """Whether there is anything at the URI, even an empty folder."""
        with self._sentences("be read"):
            return self._fs.get_file_info(self._root).type != fs.FileType.NotFound  # type: ignore[no-any-return]

    def entries(self) -> dict[str, Entry]:
        """All files, recursively; none if there is no such place.

        An object store takes any text as a name. Names that would be written outside of a folder are refused here, so
        callers can write files by these names without checking.
        """
        with self._sentences("be read"):
            infos = self._fs.get_file_info(fs.FileSelector(self._root, recursive=True, allow_not_found=True))
        found = {info.path[len(self._root) + 1 :]: _entry(info) for info in infos if info.type == fs.FileType.File}
        if odd := sorted(name for name in found if not is_plain(name)):
            raise ObjectStoreError(
                f"{self.uri} can't be read: it holds {', '.join(map(repr, odd[:3]))}{' and more' if odd[3:] else ''}, "
                "which is not a valid file name in a folder. tuner did not write it; delete it if it is yours."
            )
        return found

    def folders(self) -> list[str]:
        """The names of its immediate folders."""
        with self._sentences("be read"):
            infos = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return [info.base_name for info in infos if info.type == fs.FileType.Directory]

    def find(self, *names: str) -> list[Entry | None]:
        """The entry of each file, None if it is missing."""
        with self._sentences("be read"):
            infos = self._fs.get_file_info([self._path(name) for name in names])
        return [_entry(info) if info.type == fs.FileType.File else None for info in infos]

    def read(self, name: str) -> bytes | None:
        """Read a file; None if there is no such file."""
        with self._sentences("be read"):
            try:
                with self._fs.open_input_stream(self._path(name), compression=None) as stream:
                    data: bytes = stream.read()
                    return data
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        with self._sentences("be written to"), self._writing(name) as stream:
            stream.write(data)

    def upload(
        self, name: str, source: BinaryIO, size: int, on_bytes: Callable[[int], None] = lambda size: None
    ) -> None:
        """Write the first `size` bytes of an open file; a large one resumes where an earlier call failed.

        Args:
            on_bytes: called with the number of bytes passed on, as it goes.
        """
        if self._parts is not None and size > PART_BYTES:
            with self._sentences("be written to"):
                self._parts.put(self._path(name), source, size, on_bytes)
            return
        with self._sentences("be written to"), self._writing(name) as stream:
            while size and (chunk := source.read(min(size, _CHUNK_BYTES))):
                stream.write(chunk)
                on_bytes(len(chunk))
                size -= len(chunk)

    def download_all(self, names: Sequence[str], folder: Path) -> list[str]:
        """Write files below `folder`, several at a time; return those that still existed."""

        def download(name: str) -> bool:
            try:
                self.download(name, folder / name)
            except FileNotFoundError:
                return False
            return True

        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            return [name for name, is_here in zip(names, pool.map(download, names), strict=True) if is_here]

    def download(self, name: str, target: Path) -> None:
        """Write a file to `target`, atomically; resumes an interrupted download if the file is the same.

        Raises `FileNotFoundError` if it is gone.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        version, size, tried = None, 0, 0
        while True:
            try:
                with (
                    self._sentences("be read"),
                    self._fs.open_input_file(self._path(name)) as stream,
                    scratch.open("ab") as file,
                ):
                    # Downloaded bytes are kept if they are of the present file.
                    now = (stream.metadata() or {}).get("ETag")
                    if now is None or now != version:
                        file.truncate(0)
                    version = now
                    stream.seek(file.seek(0, os.SEEK_END))
                    while chunk := stream.read(_CHUNK_BYTES):
                        file.write(chunk)
                break
            except ObjectStoreError:
                arrived = scratch.stat().st_size if scratch.exists() else 0
                size, tried = max(size, arrived), 1 if arrived > size else tried + 1
                if tried == _DOWNLOADS_TRIED:
                    scratch.unlink(missing_ok=True)
                    raise
                time.sleep(tried * _PAUSE_S)
        scratch.replace(target)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._sentences("be written to"):
            try:
                self._fs.delete_file(self._path(name))
            except FileNotFoundError:
                pass

    def prune(self, name: str = "") -> None:
        """Remove a folder (without a name: the whole place) if it holds no file any more."""
        path = self._path(name) if name else self._root
        with self._sentences("be written to"):
            infos = self._fs.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
            if any(info.type == fs.FileType.File for info in infos):
                return
            if self._fs.type_name != "local":
                # An object that stands for the folder is left.
                if infos or self._fs.get_file_info(path).type == fs.FileType.Directory:
                    self._fs.delete_dir(path)
                return
        for folder in sorted((info.path for info in infos), key=len, reverse=True):
            with suppress(OSError):
                Path(folder).rmdir()
        with suppress(OSError):
            Path(path).rmdir()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _writing(self, name: str) -> Iterator[Any]:
        path = self._path(name)
        if self._fs.type_name in _WRITES_WHOLE:
            stream = self._fs.open_output_stream(path, compression=None)
            try:
                yield stream
            except BaseException:
                abandon(stream)
                raise
            stream.close()
            return
        parent, _, base = path.rpartition("/")
        self._fs.create_dir(parent, recursive=True)
        scratch = f"{parent}/.{base}.{secrets.token_hex(4)}.tmp"
        with self._fs.open_output_stream(scratch, compression=None) as stream:
            yield stream
        self._fs.move(scratch, path)

    @contextmanager
    def _sentences(self, doing: str) -> Iterator[None]:
        """Turn pyarrow's errors into sentences."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise ObjectStoreError(f"{self.uri} can't {doing}: {_reason(error)}") from error


def _connect(uri: Uri) -> tuple[Any, Any, str]:
    """The file system, another one for large files if they are uploaded in parts, and the path."""
    text = uri.text
    if re.match(r"(gs|gcs)://", text) and "retry_limit_seconds=" not in text:
        # Google's library would retry for a quarter of an hour; the mirror retries itself.
        text += f"{'&' if '?' in text else '?'}retry_limit_seconds={REQUEST_TIMEOUT_S:.0f}"
    found, root = fs.FileSystem.from_uri(text)
    if found.type_name == "s3":
        # A URI can't express these: the same file system again, with limits.
        options = found.__reduce__()[1][0]
        limits = {
            "request_timeout": REQUEST_TIMEOUT_S,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "allow_delayed_open": True,
        }
        once, often = (fs.AwsStandardS3RetryStrategy(max_attempts=attempts) for attempts in (1, _REQUESTS_TRIED))
        patient = fs.S3FileSystem(**{**options, **limits, "retry_strategy": often, "background_writes": False})
        return fs.S3FileSystem(**{**options, **limits, "retry_strategy": once}), patient, root.rstrip("/")
    return found, None, root.rstrip("/")


def _entry(info: Any) -> Entry:
    return Entry(info.size or 0, info.mtime.timestamp() if info.mtime else 0.0)


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return _NOISE.sub("", lines[0])[:300].rstrip(" .:")


def _hint(error: BaseException) -> str:
    if "Unrecognized filesystem" in str(error):
        return "; supported are s3, gs, abfs, hdfs, file, and fsspec's as fsspec+NAME://"
    return ""
