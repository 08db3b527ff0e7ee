"""The run folder as a trial's process sees it: the driver's own, or a local folder whose files are transferred."""

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from tuner.engine.files.transfer import MESSAGE_BYTES, Message, Part, Upload, list_files, plan, read, send, write
from tuner.errors import NodeStorageError, StopTrial, StorageError
from tuner.records import Report
from tuner.run_folder.checkpoints import checkpoint_path
from tuner.run_folder.outage import outage, storing
from tuner.run_folder.trial_files import DRIVERS_FILES, trial_dir
from tuner.trial.group import Deliver
from tuner.trial.scratch import Scratch

MARKER = ".driver-token"
# How much a trial may leave in its folder beside its checkpoints, if the folder is not shared.
MAX_FILES_BYTES = 1 << 30
LEFT_OUT_FILE = "left-out.txt"
RESTORED = "restored"


class RunFolder(Protocol):
    """The files of trials."""

    def open(self, number: int, checkpoint: Path | None) -> tuple[Path, Path | None]:
        """Prepare a trial: return its folder with its own files, and the path of its checkpoint.

        `checkpoint` is its path on the driver's machine.
        """

    def delivering(self, number: int, deliver: Deliver) -> Deliver:
        """Wrap `deliver` so that a report's checkpoint reaches the driver before the report."""

    def closing(self, number: int) -> Any:
        """A context manager for the trial's loop, at whose end the other files have reached the driver too."""

    def find_checkpoint(self, number: int, step: int) -> Path:
        """The path of a trial's checkpoint, valid until the next call."""

    def put_shard(self, number: int, name: str, files: Path) -> None:
        """Give a worker's files to the driver, for another worker of the trial."""

    def shards(self, number: int, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Folders with those files, which are removed at the end of the `with`."""


def put_marker(folder: Path) -> str:
    """Mark a run folder as this driver's; return the token that distinguishes it from others of the same name."""
    token = secrets.token_hex(16)
    (folder / "trials").mkdir(exist_ok=True)
    (folder / MARKER).write_text(token)
    return token


def is_shared(folder: Path, token: str) -> bool:
    """Whether this is the folder that the driver has marked, and this process can write to it."""
    try:
        return (folder / MARKER).read_text() == token and os.access(folder / "trials", os.W_OK)
    except (OSError, UnicodeDecodeError):
        return False


class SharedFolder:
    """The driver's own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, number: int, checkpoint: Path | None) -> tuple[Path, Path | None]:
        return trial_dir(self._folder, number), checkpoint

    def delivering(self, number: int, deliver: Deliver) -> Deliver:
        return deliver

    @contextmanager
    def closing(self, number: int) -> Iterator[None]:
        yield

    def find_checkpoint(self, number: int, step: int) -> Path:
        path = checkpoint_path(trial_dir(self._folder, number), step)
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not there any more")
        return path

    def put_shard(self, number: int, name: str, files: Path) -> None:
        target = trial_dir(self._folder, number) / name
        with storing():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()  # not its parents, as with a checkpoint
        try:
            shutil.copytree(files, target, dirs_exist_ok=True)
        except OSError as error:
            if away := outage(target):  # not an unreadable file of the trial
                raise StorageError(f"the files of a worker can't be saved: {away}") from error
            raise

    @contextmanager
    def shards(self, number: int, names: Sequence[str]) -> Iterator[list[Path]]:
        folders = [trial_dir(self._folder, number) / name for name in names]
        try:
            yield folders
        finally:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)


class FileKeeper:
    """Reads and writes the run folder's files on the driver's machine. Paths are relative to the run folder."""

    def __init__(self, folder: str, token: str) -> None:
        self._folder = Path(folder)
        if not is_shared(self._folder, token):
            raise RuntimeError(
                f"Ray's processes on the driver's own machine can't write to {folder}: "
                "run Ray and the driver as one user and in one container."
            )

    def list_files(self, path: str) -> dict[str, int]:
        return list_files(self._folder / path)

    def read(self, path: str, parts: Sequence[Part]) -> Message:
        return read(self._folder / path, parts)

    @storing()
    def write(self, path: str, key: str, is_whole: bool, message: Message, is_first: bool, is_last: bool) -> None:
        """Write a message of the upload with this key. Raises `StorageError` if it can't be written."""
        (self._folder / "trials").stat()  # folders made while a share is not mounted would be lost
        target = self._folder / path
        # Names that `TrialFiles.tidy` removes.
        scratch = target.with_name(f".{target.name}.{key}.tmp") if is_whole else target / f".files-{key}.tmp"
        write(Upload(target, scratch, is_whole), message, is_first=is_first, is_last=is_last)

    def remove(self, path: str) -> None:
        shutil.rmtree(self._folder / path, ignore_errors=True)


class RemoteFolder:
    """A folder on this machine; its files are transferred to the driver's machine and removed here.

    Args:
        folder: the run folder, on the driver's machine.
        call: calls a method of the driver's `FileKeeper` and returns its result.
    """

    def __init__(self, folder: Path, call: Callable[..., Any]) -> None:
        self._folder = folder
        self._call = call
        self._scratch = Scratch(f"files-{os.getpid()}-{secrets.token_hex(4)}")
        # The trial's own files on the driver's machine, by path: unchanged files are not sent.
        self._sent: dict[str, tuple[int, int]] = {}
        # An error of the driver's machine, which could not write.
        self._refusal: StorageError | None = None

    def open(self, number: int, checkpoint: Path | None) -> tuple[Path, Path | None]:
        local = trial_dir(self._scratch.path, number)
        shutil.rmtree(local, ignore_errors=True)
        with _storing_here():
            local.mkdir(parents=True)
        path = self._path(trial_dir(self._folder, number))
        sizes: dict[str, int] = self._call("list_files", path)
        own = {name: size for name, size in sizes.items() if _is_own(name)}
        if own:
            self._bring(path, own, local)
        self._sent = _stamps(local)
        return local, self._fetch(checkpoint, self._scratch.path / RESTORED) if checkpoint else None

    def delivering(self, number: int, deliver: Deliver) -> Deliver:
        def send_and_deliver(report: Report, stop: StopTrial | None) -> None:
            local = checkpoint_path(trial_dir(self._scratch.path, number), report.step)
            # Only the first worker of a trial has saved one.
            if report.has_checkpoint and local.exists():
                target = checkpoint_path(trial_dir(self._folder, number), report.step)
                self._send(local, list_files(local), self._path(target), is_whole=True)
                shutil.rmtree(local)
            deliver(report, stop)

        return send_and_deliver

    @contextmanager
    def closing(self, number: int) -> Iterator[None]:
        try:
            with self._telling_whose():
                yield
        except BaseException:
            try:
                self._send_own(number)
            except Exception as error:
                print(f"tuner: the files of trial {number:04d} could not be sent: {error!r}", file=sys.stderr)
            raise
        else:
            self._send_own(number)
        finally:
            for path in (trial_dir(self._scratch.path, number), self._scratch.path / RESTORED):
                shutil.rmtree(path, ignore_errors=True)

    def find_checkpoint(self, number: int, step: int) -> Path:
        return self._fetch(checkpoint_path(trial_dir(self._folder, number), step), self._scratch.path / RESTORED)

    def put_shard(self, number: int, name: str, files: Path) -> None:
        target = trial_dir(self._folder, number) / name
        self._send(files, list_files(files, with_links=True), self._path(target), is_whole=True)

    @contextmanager
    def shards(self, number: int, names: Sequence[str]) -> Iterator[list[Path]]:
        shards = [trial_dir(self._folder, number) / name for name in names]
        folders = [self._scratch.path / name for name in names]
        try:
            for shard, folder in zip(shards, folders, strict=True):
                self._fetch(shard, folder)
            yield folders
        finally:
            for shard, folder in zip(shards, folders, strict=True):
                self._call("remove", self._path(shard))
                shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, folder: Path, local: Path) -> Path:
        path = self._path(folder)
        shutil.rmtree(local, ignore_errors=True)
        with _storing_here():
            local.mkdir()
        sizes = self._call("list_files", path)
        if not sizes:
            raise FileNotFoundError(f"{folder} is not there any more")
        self._bring(path, sizes, local)
        return local

    def _send_own(self, number: int) -> None:
        local = trial_dir(self._scratch.path, number)
        changed = {
            name: size
            for name, (size, changed_at) in _stamps(local).items()
            if self._sent.get(name) != (size, changed_at)
        }
        total, left_out = 0, []
        for name in sorted(changed, key=lambda name: changed[name]):
            total += changed[name]
            if total > MAX_FILES_BYTES:
                left_out.append(f"{name} ({changed.pop(name)} bytes)\n")
        if left_out:
            text = f"Not copied to the run folder, since a trial's files exceed {MAX_FILES_BYTES} bytes:\n"
            (local / LEFT_OUT_FILE).write_text(text + "".join(left_out))
            changed[LEFT_OUT_FILE] = (local / LEFT_OUT_FILE).stat().st_size
        if changed:
            self._send(local, changed, self._path(trial_dir(self._folder, number)), is_whole=False)

    def _send(self, local: Path, sizes: dict[str, int], path: str, *, is_whole: bool) -> None:
        key = secrets.token_hex(4)
        for message, is_first, is_last in send(local, sizes):
            try:
                self._call("write", path, key, is_whole, message, is_first, is_last)
            except StorageError as error:
                self._refusal = error
                raise

    def _bring(self, path: str, sizes: dict[str, int], local: Path) -> None:
        upload = Upload(local, self._scratch.path / "coming", is_whole=False)
        shutil.rmtree(upload.scratch, ignore_errors=True)
        messages = plan(sizes, MESSAGE_BYTES)
        for index, parts in enumerate(messages):
            message = self._call("read", path, parts)
            with _storing_here():
                write(upload, message, is_first=index == 0, is_last=index == len(messages) - 1)

    @contextmanager
    def _telling_whose(self) -> Iterator[None]:
        """Attribute storage errors to this machine, unless the driver's machine has reported them."""
        try:
            yield
        except StorageError as error:
            if error is self._refusal or isinstance(error, NodeStorageError):
                raise
            raise NodeStorageError(str(error)) from error

    def _path(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


@contextmanager
def _storing_here() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NodeStorageError(f"{error.strerror or error} on this node") from error


def _is_own(name: str) -> bool:
    """Whether the trainable wrote a file in a trial's folder."""
    first = Path(name).parts[0]
    is_scratch = first.startswith(".") and first.endswith(".tmp")
    return first != "checkpoints" and not is_scratch and name not in DRIVERS_FILES


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of a trial's own files."""
    return {
        name: (size, (folder / name).stat().st_mtime_ns) for name, size in list_files(folder).items() if _is_own(name)
    }
